"""Make, list or revoke the API keys of a stack.

python -m scripts.api_key [--id ID | --revoke ID | --list] [--scope SCOPE] [--stack NAME]
"""

from __future__ import annotations

import argparse
import os
import sys

from botocore.exceptions import BotoCoreError, ClientError

from scripts.credentials import ApiKeys
from scripts.progress import Failure
from scripts.stacks import DeployedStack
from usage_billing.access.callers import Scope


def main() -> int:
    arguments = _arguments()
    try:
        _do(arguments, DeployedStack.named(arguments.stack).api_keys)
    except (Failure, BotoCoreError, ClientError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _do(arguments: argparse.Namespace, keys: ApiKeys) -> None:
    """Only a new key goes to stdout, so that it can be piped to where it is kept."""
    if arguments.list:
        for key in keys.all():
            print(f"{key['id']}  {key.get('scope', Scope.OPERATE)}")
    elif arguments.revoke:
        keys.revoke(arguments.revoke)
        print(f"The key {arguments.revoke} is refused within five minutes.", file=sys.stderr)
    else:
        print(keys.add(arguments.id, Scope(arguments.scope)))
        print(
            f"This is the key {arguments.id}, with the scope {arguments.scope}. "
            "It is shown once, and accepted within 15 seconds; until then it is answered with 401.",
            file=sys.stderr,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make, list or revoke API keys.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--id", help="names the new key, such as the service that will hold it")
    what.add_argument("--revoke", metavar="ID", help="revoke a key")
    what.add_argument("--list", action="store_true", help="list ids and scopes")
    parser.add_argument(
        "--scope",
        default=Scope.RECORD.value,
        choices=[scope.value for scope in Scope],
        help="what the new key is good for: read; record (and read); or operate, which is everything that the role "
        "internal may do (default: record)",
    )
    parser.add_argument(
        "--stack",
        default=os.environ.get("STACK"),
        help="a deployed stack's name (default: $STACK, else the local cloud's)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
