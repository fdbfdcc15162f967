"""Sixteen recorders, three consumers, two billing runs and two redrives at once, and any call may fail.

Nothing is lost or doubled.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from threading import Event, Lock, local
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from tests import ledgers, queue
from tests.deadlines import stopped
from tests.faults import FAULTS, Killed, conflict, hooked
from usage_billing.access.callers import Caller, Role
from usage_billing.billing import model as billing_model
from usage_billing.billing import runner
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, QueueUnavailable
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import Quota
from usage_billing.pricing.unit import UnitPriced
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage import consumer
from usage_billing.usage.dead_events import model, redriving
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.intake import take

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SERVICE = Caller("key:test", Role.INTERNAL)
SEED = int(os.environ.get("CHAOS_SEED", "1"))
LATE = "late"
RECORDERS = 16
SINGLES, BATCHES, BATCH_SIZE = 12, 3, 30
CHANCE = 0.05

pytestmark = pytest.mark.usefixtures("account")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed comes again at once."""
    monkeypatch.setattr(consumer, "SOONEST_SECONDS", 0)


@contextmanager
def random_faults() -> Iterator[None]:
    """Let one call in twenty fail in some way, before or after it took effect."""
    random, lock, busy = Random(SEED), Lock(), local()

    def strike(when: str, parameters: dict[str, Any]) -> None:
        with lock:
            hit = random.random() < CHANCE / 2
            name = random.choice([*FAULTS, "conflict"])
        if hit and name == "conflict":
            if when == "before":
                conflict(parameters)
        elif hit:
            raise FAULTS[name]()  # noqa: RSE102 - a function that makes the exception

    def before(params: dict[str, Any], **_: Any) -> None:
        busy.parameters = json.loads(params["body"] or "{}")
        strike("before", busy.parameters)

    def after(**_: Any) -> None:
        strike("after", busy.parameters)

    with hooked(before, after):
        yield


def event(recorder: int, number: int, occurred_at: datetime | None = None) -> UsageEvent:
    subscription = f"sub-{number % 4 // 2}"  # two ledgers, each with half of everything
    return UsageEvent(f"event-{recorder}-{number}", "user-1", subscription, "assessment", Decimal("0.7"), occurred_at)


def report_all(recorder: int) -> list[UsageEvent]:
    """Report this recorder's events, alone and in batches, each until it is acknowledged."""
    numbers = iter(range(10_000))
    groups = [[event(recorder, next(numbers))] for _ in range(SINGLES)]
    groups += [[event(recorder, next(numbers)) for _ in range(BATCH_SIZE)] for _ in range(BATCHES)]
    Random(recorder).shuffle(groups)
    for group in groups:
        todo = group
        while todo:
            try:
                outcomes = take(todo, SERVICE, NOW)
            except Killed:
                continue
            passing = (DatabaseUnavailable, QueueUnavailable)
            refused = [each for each in outcomes if isinstance(each, BillingError) and not isinstance(each, passing)]
            assert refused == []
            todo = [each for each, outcome in zip(todo, outcomes, strict=True) if isinstance(outcome, passing)]
    return [each for group in groups for each in group]


def doom(recorder: int) -> list[UsageEvent]:
    """Queue events of a subscription that does not exist, each until it is accepted."""
    events = [UsageEvent(f"doomed-{recorder}-{n}", "user-1", LATE, "assessment", Decimal("0.7")) for n in range(3)]
    for each in events:
        accepted = False
        while not accepted:
            with suppress(Killed):
                [outcome] = take([each], SERVICE, NOW, respond_async=True)
                accepted = not isinstance(outcome, BillingError)
    return events


def redrive_until(over: Event) -> None:
    """Send back what died, in vain, again and again."""
    while not over.is_set():
        with suppress(Killed, PynamoDBException, BotoCoreError, ClientError):
            redrive_all()
        time.sleep(0.05)


def redrive_all() -> None:
    found, _ = redriving.chosen(model.Selection(subscription_id=LATE), None, None, datetime.now(UTC))
    redriving.redrive(found)


def consume_until(over: Event, seed: int) -> None:
    """Consume the queue; one delivery in four is made again though it was consumed."""
    sqs, random = boto3.client("sqs"), Random(seed)
    while not over.is_set():
        messages = sqs.receive_message(
            QueueUrl=os.environ["USAGE_QUEUE_URL"], MaxNumberOfMessages=10, VisibilityTimeout=2
        ).get("Messages", [])
        if not messages:
            time.sleep(0.05)
            continue
        try:
            failed = queue.deliver(messages, NOW)
        except Killed:
            continue
        if random.random() < 0.75:
            queue.delete([message for message in messages if message["MessageId"] not in failed])


def bill() -> billing_model.RunTotals:
    return runner.run(
        billing_model.whole_run(), now=lambda: NOW, deadline=stopped(900), hand_over=lambda _: pytest.fail("no time")
    )


def bill_until(over: Event) -> None:
    while not over.is_set():
        try:
            bill()
        except Killed:
            continue


def test_whatever_fails_nothing_is_lost_or_doubled() -> None:
    terms = {"monthly_limit": Decimal(20), "price": UnitPriced(Decimal("0.333")), "unit_name": "assessment"}
    quota_store.save_quota(Quota(plan_id="business", usage_type="assessment", **terms))
    for name in ("sub-0", "sub-1"):
        subscription_store.save_subscription(Subscription(subscription_id=name, user_id="user-1", plan_id="business"))
    over = Event()
    with random_faults(), ThreadPoolExecutor(RECORDERS + 7) as pool:
        helpers = [pool.submit(consume_until, over, seed) for seed in range(3)]
        helpers += [pool.submit(bill_until, over) for _ in range(2)]
        helpers += [pool.submit(redrive_until, over) for _ in range(2)]
        try:
            doomed = {each.event_id for events in pool.map(doom, range(RECORDERS)) for each in events}
            reported = [each for events in pool.map(report_all, range(RECORDERS)) for each in events]
        finally:
            over.set()
        for each in helpers:
            each.result()
    ledgers.check()

    drain()
    assert {row["event_id"] for row in queue.dead()} == doomed
    subscription_store.save_subscription(Subscription(subscription_id=LATE, user_id="user-1", plan_id="business"))
    redrive_all()
    drain()
    assert bill().failures == 0
    found = ledgers.check()
    assert list(ledgers.unsettled(found)) == []
    recorded = {e["event_id"] for ledger in found for e in ledger.entries}
    assert recorded == {each.event_id for each in reported} | doomed
    assert queue.dead() == []


def drain() -> None:
    """Consume what waits until nothing does any more, not even out of sight."""
    sqs, url = boto3.client("sqs"), os.environ["USAGE_QUEUE_URL"]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    deadline = time.monotonic() + 60
    while any(int(n) for n in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()):
        messages = queue.receive()
        assert queue.deliver(messages, NOW) == []
        queue.delete(messages)
        assert time.monotonic() < deadline, "the queue does not run empty"
        time.sleep(0.2)
