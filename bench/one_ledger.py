"""Throughput of 16 concurrent callers on ONE ledger, with batches and with single events that spill over."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import boto3
from botocore.config import Config

from bench import bare, fixtures
from bench.fixtures import Environment, batch_request, record_request, report
from bench.single import rates
from bench.workers import CALLERS, CONSUMERS, Done, WorkerPool, call, consume, totals
from tests import ledgers
from usage_billing.kernel.exact_json import dumps

BATCH = 100
FULL = 99
HOW = (
    f"{CALLERS} callers and {CONSUMERS} consumers of the queue, each in its own process with the handler; "
    "until all events are recorded"
)


def measure(ours: Environment, theirs: Environment, rounds: int, batches: int, singles: int) -> dict[str, Any]:
    """Measure both. `batches` and `singles` are the numbers of requests per caller and round."""
    fixtures.use_account(ours)
    with WorkerPool(ours, CALLERS) as callers, WorkerPool(ours, CONSUMERS) as consumers:
        scenario = _Scenario(ours, theirs, callers, consumers)
        scenario.warm_up()
        batch_rounds = [scenario.compare("record_batch", batches) for _ in range(rounds)]
        single_rounds = [scenario.compare("record_usage", singles) for _ in range(rounds)]
    return {"batches": _summary(batch_rounds), "singles": _summary(single_rounds)}


def _summary(outcomes: Sequence[tuple[float, float, "Done", "Done", int]]) -> dict[str, Any]:
    events = sum(each[4] for each in outcomes)
    called, consumed = totals([each[2] for each in outcomes]), totals([each[3] for each in outcomes])
    units = called.units + consumed.units
    return rates([(each[0], each[1]) for each in outcomes]) | {
        "how": HOW,
        "events": events,
        "lost": 0,
        "duplicates": 0,
        "responses": dict(called.statuses),
        "consumer_invocations": consumed.invocations,
        "messages": dict(consumed.statuses),
        "write_units_per_event": units.charged / events,
        "refused_write_units_per_event": units.refused / events,
        "read_units_per_event": units.read / events,
        "refused_transactions": units.refusals,
        "log_bytes_per_event": (called.log_bytes + consumed.log_bytes) / events,
    }


class _Scenario:
    def __init__(self, ours: Environment, theirs: Environment, callers: WorkerPool, consumers: WorkerPool) -> None:
        self.ours, self.theirs, self.callers, self.consumers = ours, theirs, callers, consumers
        self.sqs = boto3.client("sqs", config=Config(max_pool_connections=CALLERS))
        self.bare_queue = self.sqs.create_queue(QueueName="bare")["QueueUrl"]
        self.numbers = count()

    def warm_up(self) -> None:
        """Let each process load its code and create its clients, as in a warm Lambda environment."""
        names = [f"warm-{number}" for number in range(CALLERS)]
        fixtures.subscribe(*names)
        requests = []
        for name in names:
            queued = record_request(name, "queued")
            queued["headers"]["prefer"] = "respond-async"
            requests.append([record_request(name, "recorded"), queued])
        self._call("record_usage", requests)
        self._call("record_batch", [[batch_request(name, ["in-a-batch"])] for name in names])

    def compare(self, module: str, requests: int) -> tuple[float, float, Done, Done, int]:
        """Return events per second (ours, bare), the work of callers and consumers, and the number of events."""
        name = f"ledger-{next(self.numbers)}"
        fixtures.subscribe(name)
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
        self.consumers.tell("stop when the queue is empty")
        return began, called, totals(self.consumers.results())

    def _write_bare(self, name: str, events: int) -> float:
        """Write with full transactions from a single writer. It never loses a race, so it reads the head only once."""
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
    """Check that no event is lost or duplicated and that the ledger's invariants hold.

    Raises:
        AssertionError: a check failed.
    """
    [ledger] = ledgers.check(name)
    assert len(ledger.entries) == int(ledger.head["used"]) == events, f"{events} sent, {len(ledger.entries)} recorded"
