"""A local cloud on this machine. It emulates AWS, and the stack of template.yaml is deployed to it.

python -m scripts.local_cloud start | deploy | stop [--fresh] | status [--dir DIR] [--auth]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from scripts import local_stack
from scripts.emulator import Emulator
from scripts.progress import Failure

if TYPE_CHECKING:
    from scripts.local_stack import Stack

STACK, API_URL = "STACK", "API_URL"
"""The environment variables that name a stack other than the local cloud's."""


class LocalCloud(Emulator):
    """The cloud that `make demo`, `make local` and the tests use.

    Each directory has its own cloud with its own port, so several clouds can run side by side.
    """

    def deploy(self) -> Stack:
        """Deploy what has changed. Return the contents of stack.json."""
        self._must_run()
        return local_stack.deploy(self)

    def stack(self) -> Stack:
        """Return the contents of stack.json, which the last deployment wrote.

        Raises:
            Failure: the cloud is not running, or nothing is deployed.
        """
        self._must_run()
        try:
            stack: Stack = json.loads(self.stack_file.read_text())
        except FileNotFoundError:
            raise Failure("The stack is not deployed to the local cloud. Deploy it with: make local") from None
        return stack

    def _must_run(self) -> None:
        if not self.is_running():
            raise Failure("The local cloud is not running. Start it with: make local")


def refuse_other_stacks() -> None:
    """Refuse to run a command for the local cloud if the environment names another stack.

    Raises:
        Failure: STACK is set, or API_URL is not the URL of a local API.
    """
    named = [STACK] if os.environ.get(STACK) else []
    if not is_local(os.environ.get(API_URL) or "http://127.0.0.1:"):
        named.append(API_URL)
    if named:
        values = " and ".join(f"{name}={os.environ[name]}" for name in named)
        unset = " ".join(f"-u {name}" for name in named)
        raise Failure(
            f"This command works only with the local cloud, but {values} names another stack.\n"
            f"Unset it, or run: env {unset} make ..."
        )


def is_local(url: str) -> bool:
    return url.startswith("http://127.0.0.1:")


def main() -> int:
    arguments = _arguments()
    cloud = LocalCloud(arguments.dir, enforce_iam=arguments.auth, keeps_data=True)
    try:
        refuse_other_stacks()
        if arguments.command == "status":
            _print_status(cloud)
        elif arguments.command == "stop":
            _stop(cloud, fresh=arguments.fresh)
        else:
            getattr(cloud, arguments.command)()
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A local cloud on this machine.")
    parser.add_argument("command", choices=["start", "deploy", "stop", "status"])
    parser.add_argument("--dir", default=".local", help="directory of the cloud's state (default: .local)")
    parser.add_argument("--auth", action="store_true", help="with start: enforce IAM policies")
    parser.add_argument("--fresh", action="store_true", help="with stop: also delete the data")
    return parser.parse_args()


def _stop(cloud: LocalCloud, *, fresh: bool) -> None:
    cloud.stop(fresh=fresh)
    print("  Deleted its data" if fresh else "  Kept its data for the next start (make stop FRESH=1 deletes it)")


def _print_status(cloud: LocalCloud) -> None:
    if not cloud.is_running():
        print("  The local cloud is not running. Start it with: make local")
    elif not cloud.stack_file.exists():
        print(f"  The local cloud is running at {cloud.url}, without the stack. Deploy it with: make local")
    else:
        stack = cloud.stack()
        print(
            f"""
API='{stack["apiUrl"]}'
KEY='{stack["internalApiKey"]}'

  API reference   {stack["apiUrl"]}/docs
  try it          make smoke, make demo, or curl "$API/api/usage/quotas/business" -H "x-api-key: $KEY"
  follow logs     make logs
  stop it         make stop (keeps the data; make stop FRESH=1 deletes it)"""
        )


if __name__ == "__main__":
    sys.exit(main())
