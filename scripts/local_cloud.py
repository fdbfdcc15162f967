"""A private cloud on this machine, with the stack of template.yaml deployed to it.

python -m scripts.local_cloud start | deploy | stop | status [--dir DIR] [--auth]
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from scripts import local_stack
from scripts.emulator import Emulator
from scripts.progress import Failure

if TYPE_CHECKING:
    from scripts.local_stack import Stack


class LocalCloud(Emulator):
    """What `make demo`, `make local` and the tests use.

    Each directory holds a cloud of its own, with its own port, so that several run side by side.
    """

    def deploy(self) -> Stack:
        """Deploy what has changed; gives what is written to stack.json."""
        if not self.is_running():
            raise Failure("The local cloud is not running. Start it with: make local")
        return local_stack.deploy(self)

    def stack(self) -> Stack:
        """What the last deployment wrote to stack.json."""
        try:
            stack: Stack = json.loads(self.stack_file.read_text())
        except FileNotFoundError:
            raise Failure("Nothing is deployed. Deploy it with: make local") from None
        return stack


def main() -> int:
    arguments = _arguments()
    cloud = LocalCloud(arguments.dir, enforce_iam=arguments.auth)
    try:
        if arguments.command == "status":
            return _print_status(cloud)
        getattr(cloud, arguments.command)()
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A private cloud on this machine.")
    parser.add_argument("command", choices=["start", "deploy", "stop", "status"])
    parser.add_argument("--dir", default=".local", help="where its state is kept (default: .local)")
    parser.add_argument("--auth", action="store_true", help="start: enforce IAM policies")
    return parser.parse_args()


def _print_status(cloud: LocalCloud) -> int:
    """Exit code 0 if it runs, 1 if it does not."""
    if not cloud.is_running():
        print("The local cloud is not running")
        return 1
    print(f"The local cloud is running at {cloud.url}")
    print(f"The API answers at {cloud.stack()['apiUrl']}" if cloud.stack_file.exists() else "Nothing is deployed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
