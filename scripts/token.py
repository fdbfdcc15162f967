"""Print a token that a stack accepts.

python -m scripts.token --user USER [--role ROLE] [--hours HOURS] [--stack NAME]
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError

from scripts.credentials import signed
from scripts.progress import Failure
from scripts.stacks import DeployedStack
from usage_billing.access.callers import Role

HOURS = 24.0


def main() -> int:
    arguments = _arguments()
    try:
        issuer = DeployedStack.named(arguments.stack).jwt()
    except (Failure, BotoCoreError, ClientError) as failure:
        print(failure, file=sys.stderr)
        return 1
    print(signed(issuer, arguments.user, arguments.role, timedelta(hours=arguments.hours)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Print a token that a stack accepts.")
    parser.add_argument("--user", required=True, help="the user's id, which becomes the token's sub")
    parser.add_argument(
        "--role",
        default=Role.USER.value,
        choices=[role.value for role in Role],
        help="role of the token (default: user)",
    )
    parser.add_argument("--hours", type=float, default=HOURS, help=f"how long the token is valid (default: {HOURS:g})")
    parser.add_argument(
        "--stack",
        default=os.environ.get("STACK"),
        help="name of a deployed stack (default: $STACK, else the stack of the local cloud)",
    )
    arguments = parser.parse_args()
    if not arguments.user:
        parser.error("USER is empty: make token USER=user-1")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
