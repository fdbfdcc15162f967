"""List, redrive or drop dead events: events that were accepted but could not be recorded.

python -m scripts.dead_events [list|redrive|drop] [ID ...] [--code CODE] [--subscription ID] [--event ID] [--all]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scripts.client import API_KEY, TOKEN, Client, bearer, body_of, target
from scripts.local_cloud import API_URL, STACK, LocalCloud
from scripts.progress import Failure
from usage_billing.kernel.exact_json import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scripts.client import Target

PATH = "/api/usage/dead-events"
MAX_IDS = 100
"""Maximum ids per API call."""

DONE = {"redrive": "redriven", "drop": "dropped"}
"""The field of the response that counts the events."""


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _arguments(arguments)
    try:
        with Client(_target()) as api:
            if asked.action == "list":
                _show(api, asked)
            else:
                _move(api, asked)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dead_events", description="List, redrive or drop accepted events that could not be recorded."
    )
    parser.add_argument(
        "action", nargs="?", default="list", choices=["list", "redrive", "drop"], help="the command (default: list)"
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these events; `list` prints the ids")
    parser.add_argument("--code", help="only events with this reason")
    parser.add_argument("--subscription", metavar="ID", help="only events of this subscription")
    parser.add_argument("--event", metavar="ID", help="only events with this event id")
    parser.add_argument("--all", action="store_true", help="redrive or drop all dead events")
    asked = parser.parse_args(arguments)
    chosen = bool(asked.ids or asked.code or asked.subscription or asked.event)
    if asked.action == "list" and (asked.ids or asked.all):
        parser.error("list takes only --code, --subscription and --event")
    if asked.action != "list" and chosen == asked.all:
        parser.error(f"{asked.action} needs ids, --code, --subscription or --event, or else --all")
    return asked


def _target() -> Target:
    """Return the API with an admin token: TEST_AUTH_TOKEN, or one signed with the secret of the stack.

    Raises:
        Failure: there is no admin token.
    """
    if os.environ.get(TOKEN) or (os.environ.get(STACK) and not os.environ.get(API_KEY)):
        return target()
    if os.environ.get(API_URL) or os.environ.get(API_KEY):
        raise Failure(
            f"Dead events require the role admin: set {TOKEN} to such a token (make token USER=... ROLE=admin)."
        )
    return replace(target(), credentials=bearer(LocalCloud().stack()["adminToken"]))


def _show(api: Client, asked: argparse.Namespace) -> None:
    codes: Counter[str] = Counter()
    for dead in _listed(api, asked):
        codes[dead["code"]] += 1
        times = f"{dead['attempts']} times, last" if dead["attempts"] > 1 else "once,"
        print(f"{dead['code']}: {dead['detail']}")
        print(f"  id {dead['id']}")
        print(f"  dead-lettered {times} {dead['lastDeadAt']}")
        print(f"  {dumps(dead['event']) if dead['event'] else dead['body']}")
    print(f"{codes.total()} dead events" + _by_code(codes))


def _by_code(codes: Counter[str]) -> str:
    return ": " + ", ".join(f"{number} {code}" for code, number in sorted(codes.items())) if codes else ""


def _move(api: Client, asked: argparse.Namespace) -> None:
    """Redrive or drop the selected events, in as many calls as it takes.

    Raises:
        Failure: a call failed, some events are kept, or no dead event has one of the ids.
    """
    done = kept = 0
    pending = list(_bodies(api, asked))
    while pending:
        body = pending.pop()
        response = body_of(api.post(f"{PATH}/{asked.action}", body), f"{asked.action.capitalize()} dead events")
        done += response[DONE[asked.action]]
        kept += response["kept"]
        if "nextCursor" in response:
            pending.append(body | {"cursor": response["nextCursor"]})
    print(f"{done} dead events {DONE[asked.action]}")
    if kept:
        raise Failure(
            f"{kept} are kept: they were dead-lettered again in the meantime, or could not be moved. Try again."
        )
    given = len(set(asked.ids))
    if done < given:
        raise Failure(
            f"{given - done} of {given} ids match no dead event. They are mistyped, or the events are no longer dead."
        )


def _bodies(api: Client, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the request bodies: one for a selection, or one for each MAX_IDS ids."""
    selection = _selection(asked)
    ids = [dead["id"] for dead in _listed(api, asked)] if asked.all else asked.ids
    if not (ids or asked.all):
        yield selection
    for start in range(0, len(ids), MAX_IDS):
        yield selection | {"ids": ids[start : start + MAX_IDS]}


def _selection(asked: argparse.Namespace) -> dict[str, str]:
    given = {"code": asked.code, "subscriptionId": asked.subscription, "eventId": asked.event}
    return {name: value for name, value in given.items() if value}


def _listed(api: Client, asked: argparse.Namespace) -> Iterator[Any]:
    query = _selection(asked)
    while True:
        page = body_of(api.get(PATH, **query), "List dead events")
        yield from page["deadEvents"]
        if "nextCursor" not in page:
            return
        query |= {"cursor": page["nextCursor"]}


if __name__ == "__main__":
    sys.exit(main())
