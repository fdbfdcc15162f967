"""Changes of a plan's versions while calls fail, or while others change the plan: no version is lost or invented."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynamodb.exceptions import PynamoDBException

from tests.builders import NEW_YEAR, NOW, make_quota
from tests.clocks import stop_start_clocks
from tests.faults import Killed, When, conflict, every_fault, watched
from tests.ledgers import clear, rows
from tests.quotas import save_quota
from usage_billing.kernel.errors import BillingError, DatabaseUnavailable, QuotaVersionNotFound
from usage_billing.kernel.instants import soon
from usage_billing.plans import store as quota_store
from usage_billing.plans.model import DeletedVersion, Quota, QuotaAt
from usage_billing.platform import clock
from usage_billing.platform.retries import MAX_ATTEMPTS
from usage_billing.platform.start_times import MAX_READ_SECONDS

PLANNED = datetime(2027, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.usefixtures("aws", "no_pauses")


def now() -> datetime:
    return NOW


@dataclass(frozen=True)
class Put:
    """A caller sets a version: from `effective_from`, or from now on."""

    caller: str
    limit: int
    effective_from: datetime | None = None

    def __call__(self) -> QuotaAt:
        def make(read_at: datetime) -> Quota:
            effective_from = self.effective_from or soon(read_at)
            return make_quota(monthly_limit=self.limit, effective_from=effective_from, changed_by=self.caller)

        return quota_store.save_version(make, now)


@dataclass(frozen=True)
class Delete:
    """A caller deletes the planned version."""

    caller: str

    def __call__(self) -> DeletedVersion:
        return quota_store.delete_version("business", "assessment", PLANNED, self.caller, now)


Change = Put | Delete


def from_new_year() -> None:
    save_quota(make_quota(monthly_limit=50))


def with_planned_version() -> None:
    from_new_year()
    save_quota(make_quota(monthly_limit=1, effective_from=PLANNED))


STARTS: dict[str, Callable[[], None]] = {
    "no quota": lambda: None,
    "one version": from_new_year,
    "a planned version too": with_planned_version,
}


def outcome(change: Change) -> Any:
    """What a caller learns: the answer, or the type of the error."""
    try:
        return change()
    except BillingError as error:
        return type(error)


def stored() -> list[Any]:
    """All items, without the revision, which counts changes."""
    items = [{name: value for name, value in row.items() if name != "revision"} for row in rows("USAGE_QUOTA_TABLE")]
    return sorted(items, key=lambda row: str(row["version"]))


# --- Races ---


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("change", "other"),
    [
        pytest.param(one, other, id=f"{first}, {second}")
        for (first, one), (second, other) in itertools.product(
            {
                "PUT": Put("one", 10),
                "PUT planned": Put("one", 20, PLANNED),
                "PUT equal to the planned one": Put("one", 1, PLANNED + SECOND),
                "DELETE": Delete("one"),
            }.items(),
            {
                "PUT": Put("other", 11),
                "PUT planned": Put("other", 21, PLANNED),
                "DELETE": Delete("other"),
            }.items(),
        )
    ],
)
def test_two_changes_that_race_take_effect_one_after_the_other(start: str, change: Change, other: Change) -> None:
    """At each call of a change in turn, the other one comes in between. What each caller learns is checked too."""
    in_turn = []
    for first, second in ((change, other), (other, change)):
        clear()
        STARTS[start]()
        answers = {each: outcome(each) for each in (first, second)}
        in_turn.append((answers[change], answers[other], stored()))
    whens: tuple[When, When] = ("before", "after")
    for number, when in ((number, when) for number in itertools.count(1) for when in whens):
        clear()
        STARTS[start]()
        others: list[Any] = []
        with watched() as calls:
            calls.at(number, when, lambda _: others.append(outcome(other)))  # noqa: B023 - called in this iteration
            answer = outcome(change)
        if not others:
            break
        assert (answer, others[0], stored()) in in_turn, (number, when)
    assert number > 2


def test_a_change_that_loses_every_race_gives_up_and_writes_nothing() -> None:
    from_new_year()
    before = stored()
    others: list[QuotaAt] = []

    def interfere(parameters: dict[str, Any]) -> bool:
        """Before each transaction of `change`, change another quota of the plan."""
        if "assessment" in str(parameters.get("TransactItems")):
            others.append(save_quota(make_quota("report", monthly_limit=len(others))))
        return False

    with watched() as calls:
        calls.fail_where(interfere, Killed)
        with pytest.raises(DatabaseUnavailable, match="Too many concurrent changes to this plan"):
            Put("one", 10)()
    assert len(others) == MAX_ATTEMPTS
    assert [row for row in stored() if "report" not in row["version"]] == before


# --- Faults ---


@pytest.mark.parametrize(("when", "error"), every_fault())
@pytest.mark.parametrize("change", [Put("one", 10), Put("one", 20, PLANNED), Delete("one")], ids=repr)
def test_a_change_that_failed_at_any_call_is_made_once_when_it_is_repeated(
    when: When, error: Callable[[], BaseException], change: Change
) -> None:
    with_planned_version()
    before = stored()
    expected = outcome(change)
    after = stored()
    assert after != before
    for number in itertools.count(1):
        clear()
        with_planned_version()
        with watched() as calls:
            calls.fail(number, when, error)
            with suppress(DatabaseUnavailable, PynamoDBException, Killed):
                change()
        assert stored() in (before, after), "a change is made completely or not at all"
        assert outcome(change) == expected
        assert stored() == after
        assert plan_revision() == 3, "it was made once"
        if len(calls.made) < number:
            break
    assert number > 3


def plan_revision() -> Any:
    [plan] = [row for row in rows("USAGE_QUOTA_TABLE") if "revision" in row]
    return plan["revision"]


@pytest.mark.parametrize("change", [Put("one", 10), Put("one", 20, PLANNED), Delete("one")], ids=repr)
def test_a_change_that_meets_another_transaction_is_tried_again(change: Change) -> None:
    with_planned_version()
    with watched() as calls:
        calls.at(3, "before", conflict)
        change()
    assert calls.made.count("TransactWriteItems") == 2
    assert plan_revision() == 3


@pytest.mark.parametrize("change", ["put", "delete"])
def test_a_change_that_was_read_five_seconds_ago_is_decided_again(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then another version may be in effect, or the change could take effect before it is written."""
    with_planned_version()
    clocks = stop_start_clocks(monkeypatch)
    began = clocks.monotonic

    def now() -> datetime:
        return NOW + timedelta(seconds=clocks.monotonic - began)

    def read_slowly(_: object) -> None:
        clocks.pass_time(MAX_READ_SECONDS)
        calls.at(2, "after", lambda _: clocks.pass_time(MAX_READ_SECONDS - 0.5))

    with watched() as calls:
        calls.at(2, "after", read_slowly)
        if change == "put":
            saved = quota_store.save_version(lambda at: make_quota(effective_from=soon(at), monthly_limit=9), now)
            assert saved.version.effective_from == NOW + timedelta(seconds=20)
        else:
            deleted = quota_store.delete_version("business", "assessment", PLANNED, "one", now)
            assert deleted.deleted_at == NOW + timedelta(seconds=5)
    assert (len(calls.made), calls.made.count("TransactWriteItems")) == (5, 1)


# --- Which version is found ---

USAGE_TYPES = st.sampled_from(["a", "a+", "a.b", "ab", "plan", "~"])
"""Some begin with others, and the last one sorts like the end of a range of keys."""

MOMENTS = st.integers(-4, 4).map(lambda seconds: NEW_YEAR + seconds * SECOND)
_plans = itertools.count(1)


@given(st.sets(st.tuples(USAGE_TYPES, MOMENTS), max_size=10), st.lists(MOMENTS, min_size=1, max_size=2))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_version_that_is_found_equals_that_of_a_naive_search(
    aws: None, keys: set[tuple[str, datetime]], moments: list[datetime]
) -> None:
    plan_id = f"plan-{next(_plans)}"
    limits = {key: number for number, key in enumerate(sorted(keys, key=str), 1)}
    for (usage_type, effective_from), limit in limits.items():
        save_quota(make_quota(usage_type, plan_id=plan_id, monthly_limit=limit, effective_from=effective_from))
    for moment in [*moments, moments[0] + timedelta(milliseconds=1)]:
        in_force: dict[str, Any] = {}
        for usage_type in sorted({usage_type for usage_type, _ in keys}):
            instants = sorted(instant for name, instant in keys if name == usage_type)
            past = [instant for instant in instants if instant <= moment]
            at = past[-1] if past else instants[0]
            following = [instant for instant in instants if instant > at]
            expected = (limits[usage_type, at], limits[usage_type, following[0]] if following else None)
            in_force[usage_type] = expected
            version = quota_store.version_for(plan_id, usage_type, moment)
            assert version
            assert version.monthly_limit == expected[0]
            assert shown(quota_store.quota(plan_id, usage_type, moment)) == expected
        listed = quota_store.quotas(plan_id, moment)
        assert {each.version.usage_type: shown(each) for each in listed} == in_force
        assert [each.version.usage_type for each in listed] == sorted(in_force), "in order"
        for number, usage_type in enumerate(sorted(in_force), 1):
            assert quota_store.quotas(plan_id, moment, usage_type) == listed[number:]
            assert quota_store.quotas(plan_id, moment, limit=number) == listed[:number]
    assert quota_store.version_for(plan_id, "b", NOW) is None


def shown(found: QuotaAt) -> tuple[Any, Any]:
    return found.version.monthly_limit, found.next and found.next.monthly_limit


def test_a_ledger_costs_one_query_where_a_version_is_in_force_and_two_where_none_is() -> None:
    from_new_year()
    for moment, queries in ((NOW, 1), (NEW_YEAR, 1), (NEW_YEAR - SECOND, 2)):
        with watched() as calls:
            assert quota_store.version_for("business", "assessment", moment)
        assert calls.made == ["Query"] * queries


def test_a_usage_type_with_many_versions_is_read_in_several_pages() -> None:
    for number in range(25):
        save_quota(make_quota(monthly_limit=number, effective_from=PLANNED + number * SECOND))
    found = quota_store.quota("business", "assessment", clock.now())
    assert shown(found) == (0, 1)
    assert [shown(each) for each in quota_store.quotas("business", clock.now(), limit=1)] == [(0, 1)]
    with pytest.raises(QuotaVersionNotFound):
        quota_store.delete_version("business", "report", PLANNED, "one", now)
