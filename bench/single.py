"""Throughput of `record_usage` with a single caller, against bare code that makes the same reads and writes."""

import time
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median
from typing import Any

from bench import bare, fixtures
from bench.fixtures import Environment, context, record_request
from bench.workers import quiet


def measure(environment: Environment, rounds: int, events: int) -> dict[str, Any]:
    fixtures.use_account(environment)
    fixtures.subscribe("ours")
    names = (f"event-{number}" for number in count())
    ledger = bare.Ledger(environment, "bare")
    ledger.open()
    ours, theirs = _ours(names), _bare(ledger, names)
    _rate(ours, 50), _rate(theirs, 50)
    pairs = [(_rate(ours, events), _rate(theirs, events)) for _ in range(rounds)]
    return rates(pairs) | {"how": f"{rounds} rounds of {events} events, handler in process, one caller, median"}


def rates(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Return the medians and the ratio of pairs (ours, bare) that were measured in turns."""
    ours, theirs = (median(column) for column in zip(*pairs, strict=True))
    return {
        "ours_per_second": ours,
        "bare_per_second": theirs,
        "ratio": ours / theirs,
        "rounds": [[round(each, 1) for each in pair] for pair in pairs],
    }


def _rate(work: Callable[[int], None], events: int) -> float:
    started = time.perf_counter()
    with quiet():
        work(events)
    return events / (time.perf_counter() - started)


def _ours(names: Iterator[str]) -> Callable[[int], None]:
    import record_usage  # noqa: PLC0415 - after fixtures.use_account

    def record(events: int) -> None:
        for _ in range(events):
            response = record_usage.handler(record_request("ours", next(names)), context())
            assert response["statusCode"] == 201, response

    return record


def _bare(ledger: bare.Ledger, names: Iterator[str]) -> Callable[[int], None]:
    def append(events: int) -> None:
        for _ in range(events):
            ledger.append(ledger.read(), [next(names)])

    return append
