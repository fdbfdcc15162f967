"""Create, list or revoke the API keys of a stack.

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
    """Run the command. Only a new key is printed to stdout, so that it can be piped into a secret store."""
    if arguments.list:
        for key in keys.all():
            print(f"{key['id']}  {key.get('scope', Scope.OPERATE)}")
    elif arguments.revoke:
        keys.revoke(arguments.revoke)
        print(f"Revoked the key {arguments.revoke}. It stops working within five minutes.", file=sys.stderr)
    else:
        print(keys.add(arguments.id, Scope(arguments.scope)))
        print(
            f"Created the key {arguments.id} with the scope {arguments.scope}. Store it now: it is not shown again.\n"
            "It works within 15 seconds; until then, requests with it get 401.",
            file=sys.stderr,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Create, list or revoke API keys.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--id", help="create a key with this id, such as the name of the service that will use it")
    what.add_argument("--revoke", metavar="ID", help="revoke the key with this id")
    what.add_argument("--list", action="store_true", help="list the ids and scopes of all keys")
    parser.add_argument(
        "--scope",
        default=Scope.RECORD.value,
        choices=[scope.value for scope in Scope],
        help="what the new key allows: read, record (which includes read), or operate, which is everything that the "
        "role internal may do (default: record)",
    )
    parser.add_argument(
        "--stack",
        default=os.environ.get("STACK"),
        help="name of a deployed stack (default: $STACK, else the stack of the local cloud)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
