"""Events, replays, conflicts, versions of quotas and billing runs in random order: the invariants hold at each step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests import ledgers
from tests.builders import NEW_YEAR, make_event, make_quota, make_subscription
from tests.deadlines import stopped
from tests.machines import run_machine
from tests.prices import EXAMPLES
from tests.quotas import save_quota, terms_of
from tests.recording import record
from tests.runs import refuse_hand_over
from usage_billing.billing import model, runner
from usage_billing.kernel.errors import EventIdConflict, SubscriptionInactive
from usage_billing.kernel.instants import soon
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import Quota
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.price_models import PRICE_MODELS
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import SubscriptionStatus
from usage_billing.usage.events import UsageEvent

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
TURN = datetime(2026, 12, 1, tzinfo=UTC)
INSTANTS = st.sampled_from([NOON, TURN - timedelta(microseconds=1), TURN, TURN + timedelta(minutes=5)])
QUANTITIES = st.sampled_from([Decimal(text) for text in ("1", "2.5", "7", "0.000000001", "40", "1234.56789")])
TYPES = st.sampled_from(["report", "assessment", "analysis"])
EVENT_IDS = st.integers(1, 12).map("event-{}".format)
QUOTAS = {
    "report": ("USD", "10", "0.0033"),
    "assessment": ("USD", "5", "10.005"),
    "analysis": ("USD", "0", "0"),
}
_numbers = count()


class Billing(RuleBasedStateMachine):
    """One user with one subscription. Its plan has no quota for reports at first."""

    @initialize(anchor=st.sampled_from([1, 15, 31]))
    def subscribe(self, anchor: int) -> None:
        self.name = f"sub-{next(_numbers)}"
        self.plan = f"plan-of-{self.name}"
        self.known: dict[str, UsageEvent] = {}
        self.versions: dict[tuple[str, datetime], Quota] = {}
        self.pinned: dict[str, ledgers.Item] = {}
        self.now = NOON
        self.subscription = make_subscription(self.name, plan_id=self.plan, billing_anchor_day=anchor)
        subscription_store.save_subscription(self.subscription)
        self.add_quota("assessment")
        self.add_quota("analysis")

    @rule(usage_type=TYPES)
    def add_quota(self, usage_type: str) -> None:
        currency, limit, price = QUOTAS[usage_type]
        quota = make_quota(usage_type, plan_id=self.plan, monthly_limit=limit, unit_price=price, currency=currency)
        self.save(quota)

    @rule(
        usage_type=TYPES,
        limit=st.integers(0, 50),
        price=st.sampled_from(EXAMPLES),
        maximum=st.sampled_from([None, "0", "20.005"]),
        effective_from=st.sampled_from([NEW_YEAR, TURN - timedelta(days=15), TURN, TURN + timedelta(days=14)]),
    )
    def change_quota(
        self, usage_type: str, limit: int, price: PriceModel, maximum: str | None, effective_from: datetime
    ) -> None:
        if terms_of(self.plan, usage_type):
            self.save(
                make_quota(
                    usage_type,
                    plan_id=self.plan,
                    monthly_limit=limit,
                    price=price,
                    maximum_charge=maximum,
                    effective_from=effective_from,
                )
            )

    def save(self, version: Quota) -> None:
        saved = save_quota(version).version
        assert saved.same_terms(version)
        self.versions[version.usage_type, saved.effective_from] = saved

    @precondition(lambda self: any(moment > soon(self.now) for _, moment in self.versions))
    @rule(data=st.data())
    def delete_planned_version(self, data: st.DataObject) -> None:
        planned = sorted(name for name in self.versions if name[1] > soon(self.now))
        usage_type, effective_from = data.draw(st.sampled_from(planned))
        quota_store.delete_version(self.plan, usage_type, effective_from, "admin-1", lambda: self.now)
        del self.versions[usage_type, effective_from]

    @rule(minutes=st.sampled_from([1, 600, 3000]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(
        event_id=EVENT_IDS,
        usage_type=TYPES,
        quantity=QUANTITIES,
        occurred_at=st.none() | INSTANTS,
        reported_at=st.none() | INSTANTS,
    )
    def report(
        self,
        event_id: str,
        usage_type: str,
        quantity: Decimal,
        occurred_at: datetime | None,
        reported_at: datetime | None,
    ) -> None:
        """Report an event with an id that the same event or another may already use."""
        self.now = max(self.now, occurred_at or self.now)
        event = self.event(event_id, quantity, usage_type, occurred_at, reported_at)
        first = self.known.get(event_id)
        if first and (
            (first.usage_type, first.quantity) != (usage_type, quantity) or occurred_at not in (None, first.occurred_at)
        ):
            with pytest.raises(EventIdConflict):
                record(event, self.now)
            return
        recorded = record(event, self.now)
        assert recorded.replayed == bool(first)
        if not first:
            when = occurred_at or min(reported_at or self.now, self.now)
            assert recorded.entry.occurred_at == when
            self.known[event_id] = self.event(event_id, quantity, usage_type, when)

    def event(
        self,
        event_id: str,
        quantity: Decimal,
        usage_type: str,
        occurred_at: datetime | None = None,
        reported_at: datetime | None = None,
    ) -> UsageEvent:
        return make_event(
            event_id,
            quantity,
            subscription_id=self.name,
            usage_type=usage_type,
            occurred_at=occurred_at,
            reported_at=reported_at,
        )

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        event = self.known[data.draw(st.sampled_from(sorted(self.known)))]
        assert record(event, self.now).replayed

    @rule(quantity=QUANTITIES)
    def report_while_paused(self, quantity: Decimal) -> None:
        paused = replace(self.subscription, status=SubscriptionStatus.PAUSED)
        subscription_store.change_subscription(self.name, lambda _: paused)
        with pytest.raises(SubscriptionInactive):
            record(self.event("never", quantity, "report"), self.now)
        subscription_store.change_subscription(self.name, lambda _: self.subscription)

    @rule(whole=st.booleans(), cut=st.booleans())
    def bill(self, whole: bool, cut: bool) -> None:
        """Run billing for all ledgers or for this subscription, completely or with too little time."""
        handed_over: list[model.RunSegment] = []
        totals = runner.run(
            runner.whole_run(None if whole else self.name),
            now=lambda: self.now,
            deadline=stopped(0 if cut else 900),
            hand_over=handed_over.append,
        )
        assert totals.failures == 0
        if not cut:
            assert not handed_over

    @invariant()
    def the_ledgers_are_consistent(self) -> None:
        found = ledgers.check(self.name) if hasattr(self, "name") else []
        entries = {e["event_id"]: e for ledger in found for e in ledger.entries if e["subscription_id"] == self.name}
        assert {name: entry["quantity"] for name, entry in entries.items()} == {
            name: event.quantity for name, event in getattr(self, "known", {}).items()
        }

    @invariant()
    def a_ledger_keeps_the_terms_in_force_when_its_period_starts(self) -> None:
        for ledger in ledgers.read(self.name) if hasattr(self, "name") else []:
            terms = ledger.head.get("terms")
            if terms and ledger.name not in self.pinned:
                self.pinned[ledger.name] = terms
                period_start, usage_type = ledger.head["ledger"].split("#")
                instants = sorted(moment for name, moment in self.versions if name == usage_type)
                past = [moment for moment in instants if moment <= datetime.fromisoformat(period_start)]
                version = self.versions[usage_type, past[-1] if past else instants[0]]
                assert (terms["included"], terms["price"]) == (
                    version.monthly_limit,
                    PRICE_MODELS.dumps(version.price),
                )
            assert terms == self.pinned.get(ledger.name)

    def teardown(self) -> None:
        """Once every quota exists, one run settles everything, and another has nothing to do."""
        if not hasattr(self, "name"):
            return
        for usage_type in QUOTAS:
            if not terms_of(self.plan, usage_type):
                self.add_quota(usage_type)
        for expected in (None, 0):
            totals = runner.run(
                runner.whole_run(), now=lambda: self.now, deadline=stopped(900), hand_over=refuse_hand_over
            )
            assert (totals.failures, totals.unrated) == (0, 0)
            assert expected is None or totals.settled == expected
        assert list(ledgers.unsettled(ledgers.check(self.name))) == []
        ledgers.clear()


@pytest.fixture
def machine(aws: None) -> type[Billing]:
    return Billing


def test_invariants_hold_after_every_step(machine: type[Billing]) -> None:
    run_machine(machine, examples=30)
