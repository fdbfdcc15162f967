"""Reading usage: every field, page and period."""

import json
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from tests.api import Api
from tests.clocks import At
from tests.faults import watched
from usage_billing.kernel import cursors
from usage_billing.kernel.exact_json import dumps
from usage_billing.platform import recent_reads
from usage_billing.pricing.terms import Terms
from usage_billing.pricing.unit_price import UnitPriced
from usage_billing.statements.api import SubscriptionUsage
from usage_billing.statements.usage import UsagePage
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.ledger import Head, LedgerKey

NOON = "2026-11-20T12:00:00Z"
USAGE = "/api/usage/subscription/sub-1"
RECORDS = "/api/usage/subscription/sub-1/records"
EMPTY = {
    "subscriptionId": "sub-1",
    "userId": "user-1",
    "planId": "business",
    "periodStart": "2026-11-01T00:00:00Z",
    "periodEnd": "2026-12-01T00:00:00Z",
    "usage": [],
}
UNUSED = {
    "usageType": "assessment",
    "unitName": "assessment",
    "used": 0,
    "limit": 50,
    "remaining": 50,
    "exceeded": False,
    "billableQuantity": 0,
    "billedQuantity": 0,
    "unitPrice": "10.00",
    "charge": "0.00",
    "currency": "USD",
}


def test_without_usage_the_quotas_of_the_plan_are_shown(ready: Api, at: At) -> None:
    at(NOON)
    unused = EMPTY | {"usage": [UNUSED]}
    assert ready.get(USAGE).json == unused
    assert ready.get(USAGE, query={"period": "2027-01-01"}).json["usage"] == [UNUSED]
    assert ready.get("/api/usage/user/user-1").json == {"userId": "user-1", "subscriptions": [unused]}
    assert ready.get("/api/usage/user/nobody").json == {"userId": "nobody", "subscriptions": []}
    assert ready.get(RECORDS).json == {"records": []}


def test_a_past_period_shows_only_used_types(ready: Api, at: At) -> None:
    at(NOON)
    ready.plan(usage_type="report")
    ready.record("e1", 7, occurredAt="2026-10-20T00:00:00Z")
    october = ready.get(USAGE, query={"period": "2026-10-20"}).json["usage"]
    assert [(each["usageType"], each["used"]) for each in october] == [("assessment", 7)]
    assert ready.get(USAGE, query={"period": "2026-09-01"}).json["usage"] == []
    at("2026-11-30T23:59:59.999Z")
    assert [each["usageType"] for each in ready.get(USAGE).json["usage"]] == ["assessment", "report"]
    at("2026-12-01T00:00:00Z")
    assert ready.get(USAGE, query={"period": "2026-11-30"}).json["usage"] == []


def test_a_subscription_on_a_plan_without_quotas_has_an_empty_list(api: Api, at: At) -> None:
    at(NOON)
    api.subscribe()
    assert api.get(USAGE).json == EMPTY


def test_used_types_show_their_ledgers_terms_and_unused_types_the_current_quota(ready: Api, at: At) -> None:
    at(NOON)
    ready.plan(usage_type="report", limit=5)
    ready.record("e1", 7)
    ready.record("e2", usageType="unrated")
    for usage_type in ("assessment", "report", "unrated"):
        ready.plan(usage_type=usage_type, limit=1, price="99.00")
    shown = ready.get(USAGE).json["usage"]
    assert [(each["usageType"], each["used"], each["limit"], each["unitPrice"]) for each in shown] == [
        ("assessment", 7, 50, "10.00"), ("report", 0, 1, "99.00"), ("unrated", 1, None, None)]  # fmt: skip
    ready.plan("starter", "photo", limit=9)
    ready.subscribe(plan="starter")
    moved = [(each["usageType"], each["limit"]) for each in ready.get(USAGE).json["usage"]]
    assert moved == [("assessment", 50), ("photo", 9), ("unrated", None)], "of the old plan only used types are shown"


def test_quotas_are_cached_for_a_minute(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 59.9, 60.0])
    monkeypatch.setattr(recent_reads, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    first = ["GetItem", "Query", "Query"]
    for calls_made in (first, ["GetItem", "Query"], first):
        with watched() as calls:
            assert ready.get(USAGE).json["usage"] == [UNUSED]
        assert calls.made == calls_made


@pytest.fixture
def mixed(ready: Api, at: At) -> Api:
    """Usage types with ledger and quota (assessment, report), only a ledger (c, x), only a quota (b, report+, z)."""
    at(NOON)
    for usage_type in ("b", "report", "report+", "z"):
        ready.plan(usage_type=usage_type)
    for usage_type in ("assessment", "c", "report", "x"):
        ready.record(f"e-{usage_type}", usageType=usage_type)
    return ready


MIXED = ["assessment", "b", "c", "report", "report+", "x", "z"]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100])
def test_usage_is_listed_by_usage_type_in_pages(mixed: Api, limit: int) -> None:
    pages = mixed.walk(USAGE, "usage", limit=limit)
    assert [each["usageType"] for page in pages for each in page] == MIXED
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert [each["used"] for page in pages for each in page] == [1, 0, 1, 1, 0, 1, 0]


def test_usage_of_a_past_period_has_pages_too(mixed: Api, at: At) -> None:
    at("2026-12-20T00:00:00Z")
    pages = mixed.walk(USAGE, "usage", limit=3, period="2026-11-20")
    assert [[each["usageType"] for each in page] for page in pages] == [["assessment", "c", "report"], ["x"]]


def test_a_cursor_stays_in_its_period(mixed: Api, at: At) -> None:
    first = mixed.get(USAGE, query={"limit": "1"}).json
    at("2026-12-01T00:00:00Z")
    rest = mixed.get(USAGE, query={"cursor": first["nextCursor"]}).json
    assert rest["periodStart"] == first["periodStart"]
    assert [each["usageType"] for each in rest["usage"]] == ["c", "report", "x"], (
        "the period has ended, so unused types are not shown"
    )
    answer = mixed.get(USAGE, query={"cursor": first["nextCursor"], "period": "2026-12-01"})
    assert (answer.status, answer.code) == (422, "validation_error")


def test_the_usage_of_a_user_has_a_cursor_for_each_long_subscription(mixed: Api, monkeypatch: Any) -> None:
    import get_user_usage

    monkeypatch.setattr(get_user_usage, "USAGE_TYPES", 3)
    mixed.plan("starter", "photo")
    mixed.subscribe("sub-2", plan="starter")
    first, other = mixed.get("/api/usage/user/user-1").json["subscriptions"]
    assert [each["usageType"] for each in first["usage"]] == MIXED[:3]
    assert "nextCursor" not in other
    rest = mixed.get(USAGE, query={"cursor": first["nextCursor"]}).json
    assert [each["usageType"] for each in rest["usage"]] == MIXED[3:]


def test_the_largest_responses_fit_the_limit_of_lambda() -> None:
    """With the longest ids, names and numbers, encoded as Lambda does: JSON in a JSON string."""
    import get_user_usage

    subscription = Subscription(subscription_id="s" * 128, user_id="u" * 128, plan_id="p" * 128)
    period = subscription.cycle.period_of(datetime.fromisoformat(NOON))
    nines = Decimal("999999999999.999999999")
    terms = Terms("p" * 128, nines, UnitPriced(nines), "\U0001f600" * 128, "CLF")
    head = Head(LedgerKey.of("s" * 128, period, "t" * 128), "u" * 128, period, terms, 10**12, nines * 10**9,
                10**12, nines * 10**9, nines * 10**18)  # fmt: skip

    def size(usage_types: int) -> int:
        of_one = SubscriptionUsage.of(UsagePage(subscription, period, [head] * usage_types, "c" * 512))
        return len(json.dumps({"body": dumps(of_one.model_dump(by_alias=True))}))

    limit = 6 * 1024 * 1024 * 9 // 10
    assert size(100) < limit, "a page"
    assert 100 * size(get_user_usage.USAGE_TYPES) < limit, "a hundred subscriptions"


@pytest.mark.parametrize("after", ["", "!", "#", "#plan", "zzz", "\U0010ffff"])
def test_a_made_up_cursor_causes_no_error(mixed: Api, after: str) -> None:
    for path, cursor in [
        (USAGE, ("2026-11-01T00:00:00Z", after)),
        ("/api/usage/quotas/business", (after,)),
        ("/api/usage/user/user-1", (after,)),
    ]:
        assert mixed.get(path, query={"cursor": cursors.encode(*cursor)}).status == 200
    for start in (after, "2026-11-01", "2026-11-01T00:00:00", "0001-01-15T00:00:00Z", "9999-12-31T00:00:00Z",
                  "2026-11-02T00:00:00Z"):  # fmt: skip
        answer = mixed.get(USAGE, query={"cursor": cursors.encode(start, "report")})
        assert (answer.status, answer.code) == (422, "validation_error")


def test_every_field_of_usage(ready: Api, at: At) -> None:
    at(NOON)
    ready.plan(usage_type="report", limit=Decimal("2.5"), price="0.0033")
    ready.record("e1", 45)
    ready.record("e2", 15)
    ready.record("e3", 2, usageType="report")
    ready.record("e4", 1, usageType="unknown")
    ready.bill()
    ready.record("e5", 5)
    assert ready.get(USAGE).json == EMPTY | {
        "usage": [
            {
                "usageType": "assessment",
                "unitName": "assessment",
                "used": 65,
                "limit": 50,
                "remaining": 0,
                "exceeded": True,
                "billableQuantity": 15,
                "billedQuantity": 10,
                "unitPrice": "10.00",
                "charge": "150.00",
                "currency": "USD",
            },
            {
                "usageType": "report",
                "unitName": "report",
                "used": 2,
                "limit": Decimal("2.5"),
                "remaining": Decimal("0.5"),
                "exceeded": False,
                "billableQuantity": 0,
                "billedQuantity": 0,
                "unitPrice": "0.0033",
                "charge": "0.00",
                "currency": "USD",
            },
            {
                "usageType": "unknown",
                "unitName": None,
                "used": 1,
                "limit": None,
                "remaining": None,
                "exceeded": None,
                "billableQuantity": None,
                "billedQuantity": 0,
                "unitPrice": None,
                "charge": None,
                "currency": None,
            },
        ]
    }


def test_quantities_are_numbers_and_amounts_are_strings(ready: Api) -> None:
    ready.record(quantity=60)
    text = ready.get(USAGE).text
    assert '"used":60,' in text
    assert '"charge":"100.00"' in text


@pytest.mark.parametrize(
    ("day", "start", "end", "used"),
    [
        pytest.param("2026-10-15", "2026-10-15", "2026-11-15", 7, id="the first day of a period"),
        pytest.param("2026-11-14", "2026-10-15", "2026-11-15", 7, id="the last day of a period"),
        pytest.param("2026-11-15", "2026-11-15", "2026-12-15", 1, id="the first day of the next period"),
        pytest.param("2026-12-24", "2026-12-15", "2027-01-15", None, id="a future day"),
        pytest.param("2001-01-01", "2000-12-15", "2001-01-15", None, id="a day long ago"),
    ],
)
def test_a_day_selects_the_period_that_contains_it(
    api: Api, at: At, *, day: str, start: str, end: str, used: int | None
) -> None:
    at(NOON)
    api.plan()
    api.subscribe(billingAnchorDay=15)
    api.record("e1", 7, occurredAt="2026-11-14T23:59:59.999Z")
    api.record("e2", 1, occurredAt="2026-11-15T00:00:00Z")
    usage = api.get(USAGE, query={"period": day}).json
    assert (usage["periodStart"], usage["periodEnd"]) == (f"{start}T00:00:00Z", f"{end}T00:00:00Z")
    assert [each["used"] for each in usage["usage"] if each["used"]] == ([] if used is None else [used])
    records = api.get(RECORDS, query={"period": day}).json["records"]
    assert [record["quantity"] for record in records] == ([] if used is None else [used])


def test_without_a_day_the_current_period_is_shown(ready: Api, at: At) -> None:
    at("2026-11-30T23:59:59Z")
    ready.record("e1", 7)
    at("2026-12-01T00:00:00Z")
    assert ready.get(USAGE).json["usage"] == [UNUSED]
    assert ready.get("/api/usage/user/user-1").json["subscriptions"][0]["usage"] == [UNUSED]
    assert ready.get(RECORDS).json == {"records": []}


def test_the_usage_of_a_user_lists_each_subscription_in_pages(ready: Api, at: At) -> None:
    at(NOON)
    for name, anchor in (("sub-3", 31), ("sub-2", 15)):
        ready.subscribe(name, billingAnchorDay=anchor)
        ready.record(f"e-{name}", anchor, subscriptionId=name)
    ready.subscribe("sub-of-another", "user-2")
    path = "/api/usage/user/user-1"
    whole = ready.get(path).json
    assert whole == {
        "userId": "user-1",
        "subscriptions": [ready.get(f"/api/usage/subscription/sub-{number}").json for number in (1, 2, 3)],
    }
    assert [each["periodStart"][:10] for each in whole["subscriptions"]] == ["2026-11-01", "2026-11-15", "2026-10-31"]
    assert ready.walk(path, "subscriptions", limit=1) == [[each] for each in whole["subscriptions"]]
    assert ready.walk(path, "subscriptions", limit=2) == [whole["subscriptions"][:2], whole["subscriptions"][2:]]
    assert ready.walk(path, "subscriptions", limit=3) == [whole["subscriptions"]]
