"""`python -m usage_recorder`: list, retry and drop the parked events of a spool."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from usage_recorder.errors import SpoolFailed
from usage_recorder.parking import ParkedEvent, text_to_retry
from usage_recorder.spool import Spool


class NoSuchEvent(Exception):
    """A requested event is not parked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status: 0, or 1 if it failed. An invalid command exits with 2."""
    options = _parser().parse_args(arguments)
    try:
        if not options.spool.is_file():  # opening it would create the file
            raise SpoolFailed(f"there is no spool at {options.spool}")
        spool = Spool(options.spool, 0, existing=True)
        try:
            _COMMANDS[options.command](spool, options)
        finally:
            spool.close()
    except (NoSuchEvent, SpoolFailed) as error:
        print(f"usage_recorder: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m usage_recorder", description="Tools for the usage recorder.")
    areas = parser.add_subparsers(required=True, metavar="parked")
    parked = areas.add_parser(
        "parked",
        help="manage events that the service refused",
        description="List, retry and drop events that the service refused. A recorder may use the spool meanwhile.",
    )
    commands = parked.add_subparsers(dest="command", required=True, metavar="list|retry|drop")
    listing = commands.add_parser("list", help="show parked events and the reason for each")
    retrying = commands.add_parser("retry", help="send parked events again, after the cause is fixed")
    dropping = commands.add_parser("drop", help="delete parked events; they will never be billed")
    for command in (listing, retrying, dropping):
        command.add_argument("--spool", type=Path, required=True, metavar="PATH", help="the recorder's spool file")
        command.add_argument("--subscription", metavar="ID", help="only events of this subscription")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    for command in (retrying, dropping):
        chosen = command.add_mutually_exclusive_group(required=True)
        chosen.add_argument("event_ids", nargs="*", default=[], metavar="EVENT_ID", help="the events' ids")
        chosen.add_argument("--all", action="store_true", help="all parked events (of the subscription, if given)")
    return parser


def _list(spool: Spool, options: argparse.Namespace) -> None:
    found = _parked(spool, options)
    if options.json:
        for each in found:
            print(_json(each))
        return
    for each in found:
        event = each.event
        retry = f"next retry {_minute(each.retry_at)}" if each.retry_at else "no automatic retry"
        print(
            f"{event.event_id}  {event.subscription_id}  {event.quantity:f} {event.usage_type}  {_minute(event.when)}"
        )
        print(f"    refused since {_minute(each.since)}, {retry}: {each.problem}")
    print(f"{_events(len(found))} parked in {options.spool}.")


def _retry(spool: Spool, options: argparse.Namespace) -> None:
    now = datetime.now(UTC)
    count = spool.unpark([each.number for each in _chosen(spool, options)], lambda each: text_to_retry(each, now))
    print(f"{_events(count)} will be sent again by the recorder that uses {options.spool}.")


def _drop(spool: Spool, options: argparse.Namespace) -> None:
    """Print the dropped events, so that they can still be recorded by hand."""
    chosen = _chosen(spool, options)
    for each in chosen:
        print(_json(each))
    count = spool.drop([each.number for each in chosen])
    print(f"{_events(count)} dropped from {options.spool}.")


_COMMANDS = {"list": _list, "retry": _retry, "drop": _drop}


def _parked(spool: Spool, options: argparse.Namespace) -> list[ParkedEvent]:
    found = [ParkedEvent.of(each) for each in spool.parked()]
    return [each for each in found if options.subscription in (None, each.event.subscription_id)]


def _chosen(spool: Spool, options: argparse.Namespace) -> list[ParkedEvent]:
    """Return the requested events, all or none.

    Raises:
        NoSuchEvent: one of them is not parked.
    """
    found = _parked(spool, options)
    if options.all:
        return found
    missing = set(options.event_ids) - {each.event.event_id for each in found}
    if missing:
        raise NoSuchEvent(f"not parked: {', '.join(sorted(missing))}; nothing was changed")
    return [each for each in found if each.event.event_id in options.event_ids]


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _json(each: ParkedEvent) -> str:
    retry_at = f'"{each.retry_at.isoformat()}"' if each.retry_at else "null"
    return (
        f'{{"event":{each.event.to_json()},"problem":{each.problem.to_json()},'
        f'"since":"{each.since.isoformat()}","retryAt":{retry_at}}}'
    )


if __name__ == "__main__":
    sys.exit(main())
