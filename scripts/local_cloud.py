"""A local cloud on this machine, with the stack of template.yaml deployed to it.

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
"""The variables that name another stack than the local cloud's."""


class LocalCloud(Emulator):
    """What `make demo`, `make local` and the tests use.

    Each directory holds a cloud of its own, with its own port, so that several run side by side.
    """

    def deploy(self) -> Stack:
        """Deploy what has changed; return what is written to stack.json."""
        self._must_run()
        return local_stack.deploy(self)

    def stack(self) -> Stack:
        """Return what the last deployment wrote to stack.json.

        Raises:
            Failure: the cloud is not running, or nothing is deployed.
        """
        self._must_run()
        try:
            stack: Stack = json.loads(self.stack_file.read_text())
        except FileNotFoundError:
            raise Failure("Nothing is deployed. Deploy it with: make local") from None
        return stack

    def _must_run(self) -> None:
        if not self.is_running():
            raise Failure("The local cloud is not running. Start it with: make local")


def refuse_other_stacks() -> None:
    """Fail if the environment names another stack, for a command that acts on the local cloud alone.

    Raises:
        Failure: STACK is set, or API_URL to an API elsewhere.
    """
    named = [STACK] if os.environ.get(STACK) else []
    if not is_local(os.environ.get(API_URL) or "http://127.0.0.1:"):
        named.append(API_URL)
    if named:
        values = " and ".join(f"{name}={os.environ[name]}" for name in named)
        unset = " ".join(f"-u {name}" for name in named)
        raise Failure(
            f"This command acts on the local cloud alone, but {values} names another stack.\n"
            f"Unset it first, or for one command: env {unset} make ..."
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
    parser.add_argument("--dir", default=".local", help="where its state is kept (default: .local)")
    parser.add_argument("--auth", action="store_true", help="start: enforce IAM policies")
    parser.add_argument("--fresh", action="store_true", help="stop: delete its data, too")
    return parser.parse_args()


def _stop(cloud: LocalCloud, *, fresh: bool) -> None:
    cloud.stop(fresh=fresh)
    print("  Its data is deleted" if fresh else "  Its data is kept for the next start (make stop FRESH=1 deletes it)")


def _print_status(cloud: LocalCloud) -> None:
    if not cloud.is_running():
        print("  The local cloud is not running. Start it with: make local")
    elif not cloud.stack_file.exists():
        print(f"  The local cloud is running at {cloud.url}; nothing is deployed. Deploy with: make local")
    else:
        stack = cloud.stack()
        print(
            f"""
API='{stack["apiUrl"]}'
KEY='{stack["internalApiKey"]}'

  docs       {stack["apiUrl"]}/docs
  try it     make smoke, make demo, or curl "$API/api/usage/quotas/business" -H "x-api-key: $KEY"
  watch it   make logs
  end it     make stop (keeps the data; make stop FRESH=1 deletes it)"""
        )


if __name__ == "__main__":
    sys.exit(main())
