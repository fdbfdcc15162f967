"""Changing the anchor day keeps the history and gives no included units twice."""

import pytest

from tests import ledgers
from tests.api import Api
from tests.clocks import At


@pytest.fixture
def changed(ready: Api, at: At) -> Api:
    """60 assessments on 5 October, billed. On 20 October the anchor day changes from 1 to 15."""
    at("2026-10-05T12:00:00Z")
    ready.record("october", 60)
    ready.bill()
    at("2026-10-20T12:00:00Z")
    assert ready.subscribe(billingAnchorDay=15).json["billingAnchorDay"] == 15
    return ready


def test_periods_that_were_billed_keep_their_dates(changed: Api) -> None:
    for day in ("2026-10-01", "2026-10-05", "2026-10-20", "2026-10-31"):
        usage = changed.get("/api/usage/subscription/sub-1", query={"period": day}).json
        assert (usage["periodStart"], usage["periodEnd"]) == ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z")
        assert usage["usage"][0]["used"] == 60
    records = changed.get("/api/usage/subscription/sub-1/records", query={"period": "2026-10-07"}).json["records"]
    assert len(records) == 1


def test_a_late_event_is_recorded_in_the_old_period(changed: Api) -> None:
    late = changed.record("late", 1, occurredAt="2026-10-06T00:00:00Z").json
    assert (late["quota"]["used"], late["billableQuantity"]) == (61, 1)
    [ledger] = ledgers.check()
    assert ledger.head["used"] == 61


def test_a_short_period_ends_on_the_new_anchor_day(changed: Api, at: At) -> None:
    at("2026-11-02T12:00:00Z")
    between = changed.record("between", 1).json["quota"]
    assert (between["periodStart"], between["periodEnd"]) == ("2026-11-01T00:00:00Z", "2026-11-15T00:00:00Z")
    at("2026-11-15T00:00:00Z")
    then = changed.record("then", 1).json["quota"]
    assert (then["periodStart"], then["periodEnd"]) == ("2026-11-15T00:00:00Z", "2026-12-15T00:00:00Z")
    ledgers.check()


def test_anchor_days_30_and_31_do_not_share_a_ledger(ready: Api, at: At) -> None:
    """Both start a period on 30 November, but the periods end on different days."""
    ready.subscribe("sub-2", billingAnchorDay=30)
    at("2026-11-30T12:00:00Z")
    ready.record("e1", 60, subscriptionId="sub-2")
    ready.bill()
    ready.subscribe("sub-2", billingAnchorDay=31)
    at("2026-12-30T12:00:00Z")
    quota = ready.record("e2", 60, subscriptionId="sub-2").json["quota"]
    assert (quota["periodStart"], quota["periodEnd"]) == ("2026-12-30T00:00:00Z", "2026-12-31T00:00:00Z")
    ready.bill()
    ledgers.check()


def test_fields_left_out_of_a_put_keep_their_values(ready: Api) -> None:
    ready.subscribe(billingAnchorDay=15, status="paused")
    body = ready.subscribe(plan="enterprise").json
    assert (body["planId"], body["status"], body["billingAnchorDay"]) == ("enterprise", "paused", 15)
