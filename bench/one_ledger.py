"""Sixteen callers at once on ONE ledger, until all of it is recorded: batches, and single events that spill over."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import boto3
from botocore.config import Config

from bench import bare, surroundings
from bench.crowd import CALLERS, CONSUMERS, Crowd, Done, call, consume, totals
from bench.single import rates
from bench.surroundings import Environment, batch_request, record_request, report
from tests import ledgers
from usage_billing.kernel.exact_json import dumps

BATCH = 100
FULL = 99
HOW = (
    f"{CALLERS} callers and {CONSUMERS} consumers of the queue, each a process of its own with the handler in it; "
    "until everything is recorded"
)


def measure(ours: Environment, theirs: Environment, rounds: int, batches: int, singles: int) -> dict[str, Any]:
    """`batches` and `singles` are those of one caller in one round."""
    surroundings.enter(ours)
    with Crowd(ours, CALLERS) as callers, Crowd(ours, CONSUMERS) as consumers:
        scene = _Scene(ours, theirs, callers, consumers)
        scene.warm_up()
        together = [scene.compare("record_batch", batches) for _ in range(rounds)]
        alone = [scene.compare("record_usage", singles) for _ in range(rounds)]
    return {"batches": _told(together), "singles": _told(alone)}


def _told(outcomes: Sequence[tuple[float, float, "Done", "Done", int]]) -> dict[str, Any]:
    events = sum(each[4] for each in outcomes)
    called, consumed = totals([each[2] for each in outcomes]), totals([each[3] for each in outcomes])
    units = called.units + consumed.units
    return rates([(each[0], each[1]) for each in outcomes]) | {
        "how": HOW,
        "events": events,
        "lost": 0,
        "double": 0,
        "answers": dict(called.statuses),
        "consumer_invocations": consumed.invocations,
        "messages": dict(consumed.statuses),
        "write_units_an_event": units.charged / events,
        "of_which_refused": units.refused / events,
        "read_units_an_event": units.read / events,
        "refused_transactions": units.refusals,
        "log_bytes_an_event": (called.log_bytes + consumed.log_bytes) / events,
    }


class _Scene:
    def __init__(self, ours: Environment, theirs: Environment, callers: Crowd, consumers: Crowd) -> None:
        self.ours, self.theirs, self.callers, self.consumers = ours, theirs, callers, consumers
        self.sqs = boto3.client("sqs", config=Config(max_pool_connections=CALLERS))
        self.bare_queue = self.sqs.create_queue(QueueName="bare")["QueueUrl"]
        self.numbers = count()

    def warm_up(self) -> None:
        """Let every process load its code and make its clients, as a warm Lambda environment has."""
        names = [f"warm-{number}" for number in range(CALLERS)]
        surroundings.subscribe(*names)
        requests = []
        for name in names:
            queued = record_request(name, "queued")
            queued["headers"]["prefer"] = "respond-async"
            requests.append([record_request(name, "recorded"), queued])
        self._call("record_usage", requests)
        self._call("record_batch", [[batch_request(name, ["in-a-batch"])] for name in names])

    def compare(self, module: str, requests: int) -> tuple[float, float, Done, Done, int]:
        """Events a second, of ours and of the bare code; what callers and consumers did; how many events."""
        name = f"ledger-{next(self.numbers)}"
        surroundings.subscribe(name)
        single = module == "record_usage"
        sent = [[_request(single, name, caller, number) for number in range(requests)] for caller in range(CALLERS)]
        events = CALLERS * requests * (1 if single else BATCH)
        began, called, consumed = self._call(module, sent)
        ended = max(called.ended_at, consumed.ended_at)
        _check(name, events)
        theirs = self._send_bare(events) if single else self._write_bare(name, events)
        return events / (ended - began), theirs, called, consumed, events

    def _call(self, module: str, requests: list[list[dict[str, Any]]]) -> tuple[float, Done, Done]:
        began = time.monotonic() + 0.5
        self.consumers.begin(consume, [(self.ours["USAGE_QUEUE_URL"],)] * CONSUMERS, began)
        self.callers.begin(call, [(module, each) for each in requests], began)
        called = totals(self.callers.results())
        self.consumers.tell("stop when nothing is left")
        return began, called, totals(self.consumers.results())

    def _write_bare(self, name: str, events: int) -> float:
        """One writer, who never loses a race: full transactions, and the head is read once."""
        ledger = bare.Ledger(self.theirs, name)
        ledger.open()
        seen = ledger.read()

        def write() -> None:
            nonlocal seen
            for start in range(0, events, FULL):
                seen = ledger.append(seen, (f"event-{number}" for number in range(start, min(start + FULL, events))))

        return _rate(write, events)

    def _send_bare(self, events: int) -> float:
        body = dumps(report("bare", "event-000000"))

        def send(_: int) -> None:
            self.sqs.send_message(QueueUrl=self.bare_queue, MessageBody=body)

        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(send, range(CALLERS)))
            return _rate(lambda: list(pool.map(send, range(events))), events)


def _request(single: bool, name: str, caller: int, number: int) -> dict[str, Any]:
    if single:
        return record_request(name, f"event-{caller}-{number}")
    return batch_request(name, [f"event-{caller}-{number}-{each}" for each in range(BATCH)])


def _rate(work: Callable[[], object], events: int) -> float:
    started = time.perf_counter()
    work()
    return events / (time.perf_counter() - started)


def _check(name: str, events: int) -> None:
    """Nothing lost, nothing double, every invariant of the ledger holds.

    Raises:
        AssertionError: something does not.
    """
    [ledger] = ledgers.check(name)
    assert len(ledger.entries) == int(ledger.head["used"]) == events, f"{events} sent, {len(ledger.entries)} recorded"
