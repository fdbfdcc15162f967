"""Sixteen recorders, three consumers, two billing runs and two redrives run at once, and any call may fail.

No event is lost, and none is recorded or billed twice.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from random import Random
from threading import Event, Lock, local
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from tests import ledgers, queue
from tests.builders import NOW, SERVICE, make_event
from tests.e2e.in_process import bill, subscribe
from tests.faults import FAULTS, Killed, conflict, hooked
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, QueueUnavailable
from usage_billing.usage import redelivery
from usage_billing.usage.dead_events import model, redriving
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.intake import ingest

SEED = int(os.environ.get("CHAOS_SEED", "1"))
LATE = "late"
RECORDERS = 16
SINGLES, BATCHES, BATCH_SIZE = 12, 3, 30
CHANCE = 0.05

pytestmark = pytest.mark.usefixtures("account")


@pytest.fixture(autouse=True)
def redeliver_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver failed messages again without a delay."""
    monkeypatch.setattr(redelivery, "MIN_DELAY_SECONDS", 0)


@contextmanager
def random_faults() -> Iterator[None]:
    """Make one call in twenty fail with a random fault, before or after it takes effect."""
    random, lock, current = Random(SEED), Lock(), local()

    def maybe_fail(when: str, parameters: dict[str, Any]) -> None:
        with lock:
            hit = random.random() < CHANCE / 2
            name = random.choice([*FAULTS, "conflict"])
        if hit and name == "conflict":
            if when == "before":
                conflict(parameters)
        elif hit:
            raise FAULTS[name]()  # noqa: RSE102 - a function that makes the exception

    def before(params: dict[str, Any], **_: Any) -> None:
        current.parameters = json.loads(params["body"] or "{}")
        maybe_fail("before", current.parameters)

    def after(**_: Any) -> None:
        maybe_fail("after", current.parameters)

    with hooked(before, after):
        yield


def event(recorder: int, number: int, occurred_at: datetime | None = None) -> UsageEvent:
    subscription = f"sub-{number % 4 // 2}"  # two ledgers, each with half of the events
    return make_event(f"event-{recorder}-{number}", "0.7", subscription_id=subscription, occurred_at=occurred_at)


def report_all(recorder: int) -> list[UsageEvent]:
    """Report the events of a recorder, single ones and batches, each until it is acknowledged."""
    numbers = iter(range(10_000))
    groups = [[event(recorder, next(numbers))] for _ in range(SINGLES)]
    groups += [[event(recorder, next(numbers)) for _ in range(BATCH_SIZE)] for _ in range(BATCHES)]
    Random(recorder).shuffle(groups)
    for group in groups:
        todo = group
        while todo:
            try:
                outcomes = ingest(todo, SERVICE, NOW)
            except Killed:
                continue
            temporary = (DatabaseUnavailable, QueueUnavailable)
            refused = [each for each in outcomes if isinstance(each, BillingError) and not isinstance(each, temporary)]
            assert refused == []
            todo = [each for each, outcome in zip(todo, outcomes, strict=True) if isinstance(outcome, temporary)]
    return [each for group in groups for each in group]


def report_early(recorder: int) -> list[UsageEvent]:
    """Queue events of a subscription that does not exist yet, each until it is accepted."""
    events = [make_event(f"early-{recorder}-{n}", "0.7", subscription_id=LATE) for n in range(3)]
    for each in events:
        accepted = False
        while not accepted:
            with suppress(Killed):
                [outcome] = ingest([each], SERVICE, NOW, respond_async=True)
                accepted = not isinstance(outcome, BillingError)
    return events


def redrive_until(over: Event) -> None:
    """Redrive the dead events again and again, although their subscription does not exist yet."""
    while not over.is_set():
        with suppress(Killed, PynamoDBException, BotoCoreError, ClientError):
            redrive_all()
        time.sleep(0.05)


def redrive_all() -> None:
    found, _ = redriving.select(model.Selection(subscription_id=LATE), None, None, datetime.now(UTC))
    redriving.redrive(found)


def consume_until(over: Event, seed: int) -> None:
    """Consume the queue. One delivery in four is repeated although it was consumed."""
    sqs, random = boto3.client("sqs"), Random(seed)
    while not over.is_set():
        received = sqs.receive_message(
            QueueUrl=os.environ["USAGE_QUEUE_URL"], MaxNumberOfMessages=10, VisibilityTimeout=2
        )
        messages = received.get("Messages", [])
        if not messages:
            time.sleep(0.05)
            continue
        try:
            failed = queue.deliver(messages, NOW)
        except Killed:
            continue
        if random.random() < 0.75:
            queue.delete([message for message in messages if message["MessageId"] not in failed])


def bill_until(over: Event) -> None:
    while not over.is_set():
        try:
            bill()
        except Killed:
            continue


def test_under_random_faults_every_event_is_recorded_and_billed_exactly_once() -> None:
    for name in ("sub-0", "sub-1"):
        subscribe(name, monthly_limit=20, unit_price="0.333")
    over = Event()
    with random_faults(), ThreadPoolExecutor(RECORDERS + 7) as pool:
        helpers = [pool.submit(consume_until, over, seed) for seed in range(3)]
        helpers += [pool.submit(bill_until, over) for _ in range(2)]
        helpers += [pool.submit(redrive_until, over) for _ in range(2)]
        try:
            early = {each.event_id for events in pool.map(report_early, range(RECORDERS)) for each in events}
            reported = [each for events in pool.map(report_all, range(RECORDERS)) for each in events]
        finally:
            over.set()
        for each in helpers:
            each.result()
    ledgers.check()

    drain()
    assert {row["event_id"] for row in queue.dead()} == early
    subscribe(LATE, monthly_limit=20, unit_price="0.333")
    redrive_all()
    drain()
    assert bill().failures == 0
    found = ledgers.check()
    assert list(ledgers.unsettled(found)) == []
    recorded = {e["event_id"] for ledger in found for e in ledger.entries}
    assert recorded == {each.event_id for each in reported} | early
    assert queue.dead() == []


def drain() -> None:
    """Consume messages until the queue is empty, invisible messages included."""
    deadline = time.monotonic() + 60
    while not queue_is_empty():
        messages = queue.receive()
        assert queue.deliver(messages, NOW) == []
        queue.delete(messages)
        assert time.monotonic() < deadline, "the queue does not become empty"
        time.sleep(0.2)


def queue_is_empty() -> bool:
    counts = boto3.client("sqs").get_queue_attributes(
        QueueUrl=os.environ["USAGE_QUEUE_URL"],
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )
    return not any(int(count) for count in counts["Attributes"].values())
