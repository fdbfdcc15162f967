"""Versions of quotas: which one a ledger takes, and how they are set, listed and deleted."""

from typing import Any

import pytest

from tests.api import Api, bearer, invalid_fields
from tests.builders import quota_body
from tests.clocks import At
from tests.ledgers import check, rows
from usage_billing.platform import caches

QUOTA = "/api/usage/quotas/business/assessment"
VERSIONS = f"{QUOTA}/versions"
NOON = "2026-11-20T12:00:00Z"
PLANNED = "2027-01-01T00:00:00Z"


@pytest.fixture
def sold(api: Api, at: At) -> Api:
    """At noon on 20 November: since October, 50 assessments have been included, and each one more is 10.00 USD."""
    at(NOON)
    put(api, effectiveFrom="2026-10-01T00:00:00Z")
    return api


def put(api: Api, **change: Any) -> Any:
    answer = api.put(QUOTA, quota_body(**change))
    assert answer.status == 200, answer.text
    return answer.json


def versions(api: Api) -> list[tuple[str, Any]]:
    """Each version's instant and limit."""
    listed = api.get(VERSIONS).json["versions"]
    return [(version["effectiveFrom"], version["monthlyLimit"]) for version in listed]


# --- Which version a ledger takes ---


def limit_of(api: Api, subscription: str, **event: Any) -> Any:
    """Record an event of a new subscription, and return the limit of the ledger that it opened."""
    api.subscribe(subscription)
    answer = api.record(f"of-{subscription}", subscriptionId=subscription, **event)
    assert answer.status == 201, answer.text
    return answer.json["quota"]["limit"]


def test_a_ledger_takes_the_version_in_force_when_its_period_starts(sold: Api, at: At) -> None:
    put(sold, monthlyLimit=10)
    at("2026-11-30T23:59:59Z")
    assert limit_of(sold, "opened-after-the-change") == 50
    at("2026-12-01T00:00:00Z")
    assert limit_of(sold, "next-period") == 10
    assert limit_of(sold, "late-event", occurredAt="2026-11-25T00:00:00Z") == 50
    assert limit_of(sold, "before-the-first-version", occurredAt="2026-09-30T00:00:00Z") == 50
    check()


def test_a_version_from_the_first_instant_of_a_period_holds_for_it(sold: Api, at: At) -> None:
    put(sold, monthlyLimit=10, effectiveFrom="2026-12-01T00:00:00Z")
    put(sold, monthlyLimit=20, effectiveFrom="2026-12-01T00:00:01Z")
    at("2026-12-31T00:00:00Z")
    assert limit_of(sold, "december") == 10
    at("2027-01-01T00:00:00Z")
    assert limit_of(sold, "january") == 20


def test_an_open_ledger_keeps_its_terms(sold: Api, at: At) -> None:
    assert limit_of(sold, "sub-1") == 50
    put(sold, monthlyLimit=10, effectiveFrom="2026-11-01T00:00:00Z")
    assert sold.record("later").json["quota"]["limit"] == 50
    assert limit_of(sold, "not-open-yet") == 10, "versions may also be from the past"


def test_the_first_version_holds_for_every_period(api: Api, at: At) -> None:
    at(NOON)
    api.subscribe()
    assert api.record("unrated", 60).json["quota"]["limit"] is None
    put(api)
    assert api.record("rated").json["quota"]["limit"] == 50
    assert limit_of(api, "last-month", occurredAt="2026-10-05T00:00:00Z") == 50
    assert api.bill().json["totals"] == {"USD": "110.00"}
    check()


def test_unused_usage_types_are_shown_with_the_terms_of_the_period(sold: Api, at: At) -> None:
    sold.subscribe()
    put(sold, monthlyLimit=10)
    put(sold, monthlyLimit=20, effectiveFrom=PLANNED)
    at("2026-11-28T00:00:00Z")
    caches.clear_all()
    for day, limit in (("2026-11-28", 50), ("2026-12-01", 10), ("2027-01-31", 20)):
        [usage] = sold.get("/api/usage/subscription/sub-1", query={"period": day}).json["usage"]
        assert usage["limit"] == limit


# --- Setting versions ---


def test_a_change_is_in_force_fifteen_seconds_later(sold: Api, at: At) -> None:
    at("2026-11-20T12:00:00.001Z")
    changed = put(sold, monthlyLimit=10)
    assert (changed["effectiveFrom"], changed["changedAt"]) == ("2026-11-20T12:00:16Z", "2026-11-20T12:00:00.001Z")
    assert changed["next"] is None
    at("2026-11-20T12:00:15.999Z")
    before = sold.get(QUOTA).json
    assert (before["monthlyLimit"], before["next"]) == (50, {k: v for k, v in changed.items() if k != "next"})
    at("2026-11-20T12:00:16Z")
    assert sold.get(QUOTA).json == changed


def test_a_planned_version_is_shown_with_the_one_in_force(sold: Api) -> None:
    planned = put(sold, monthlyLimit=20, effectiveFrom=PLANNED)
    assert planned["effectiveFrom"] == PLANNED
    assert versions(sold) == [(PLANNED, 20), ("2026-10-01T00:00:00Z", 50)]
    for quota in (sold.get(QUOTA).json, *sold.get("/api/usage/quotas/business").json["quotas"]):
        assert (quota["monthlyLimit"], quota["next"]["monthlyLimit"]) == (50, 20)
    changed = put(sold, monthlyLimit=10)
    assert changed["next"]["effectiveFrom"] == PLANNED, "a change does not replace what is planned"


def test_the_first_version_is_shown_even_before_it_takes_effect(api: Api, at: At) -> None:
    at(NOON)
    put(api, effectiveFrom="2027-02-01T00:00:00Z")
    assert api.get(QUOTA).json["next"] is None
    first = put(api, monthlyLimit=20, effectiveFrom=PLANNED)
    assert (first["monthlyLimit"], first["next"]["monthlyLimit"]) == (20, 50)
    assert api.get(QUOTA).json == first
    assert api.get("/api/usage/quotas/business").json["quotas"] == [first]


@pytest.mark.parametrize(
    "effective_from",
    [
        pytest.param(None, id="from now on"),
        pytest.param("2026-10-01T00:00:00Z", id="from the same instant"),
        pytest.param("2026-10-02T00:00:00Z", id="from later"),
        pytest.param("1970-01-01T00:00:00Z", id="from before, where it holds as the first version"),
    ],
)
def test_a_version_equal_to_the_one_in_force_is_not_written(sold: Api, at: At, effective_from: str | None) -> None:
    stored, written = sold.get(QUOTA).json, rows("USAGE_QUOTA_TABLE")
    at("2026-11-21T00:00:00Z")
    body = quota_body(effectiveFrom=effective_from, currency="USD", unitPrice=10, monthlyLimit=50.0)
    answer = sold.put(QUOTA, body, headers=bearer("admin-1", "admin"))
    assert (answer.status, answer.json) == (200, stored)
    assert rows("USAGE_QUOTA_TABLE") == written


@pytest.mark.parametrize("change", [{"monthlyLimit": 51}, {"unitPrice": "10.001"}, {"unitName": "other"}])
def test_a_version_that_differs_in_any_term_is_written(sold: Api, change: dict[str, Any]) -> None:
    put(sold, **change)
    assert len(versions(sold)) == 2


def test_a_version_equal_to_an_earlier_one_is_written_if_another_is_in_force(sold: Api) -> None:
    put(sold, monthlyLimit=10, effectiveFrom="2026-11-01T00:00:00Z")
    put(sold)
    assert [limit for _, limit in versions(sold)] == [50, 10, 50]


def test_a_version_from_the_same_instant_is_corrected(sold: Api, at: At) -> None:
    at("2026-11-21T00:00:00Z")
    body = quota_body(monthlyLimit=60, effectiveFrom="2026-10-01T02:00:00+02:00")
    corrected = sold.put(QUOTA, body, headers=bearer("admin-1", "admin")).json
    assert corrected == sold.get(QUOTA).json
    assert (corrected["monthlyLimit"], corrected["effectiveFrom"]) == (60, "2026-10-01T00:00:00Z")
    assert (corrected["changedBy"], corrected["changedAt"]) == ("admin-1", "2026-11-21T00:00:00Z")
    assert len(versions(sold)) == 1


@pytest.mark.parametrize("instant", ["1970-01-01T00:00:00Z", "2200-12-31T23:59:59Z", "2026-02-28T23:30:00.000-05:00"])
def test_a_version_can_be_from_any_whole_second_of_many_years(sold: Api, instant: str) -> None:
    put(sold, monthlyLimit=10, effectiveFrom=instant)
    assert len(versions(sold)) == 2


@pytest.mark.parametrize(
    ("instant", "message"),
    [
        ("2026-11-01T00:00:00.5Z", "must be a whole second, without a fraction"),
        ("2026-11-01T00:00:00.000001Z", "must be a whole second, without a fraction"),
        ("1969-12-31T23:59:59Z", "must be in the years 1970 to 2200"),
        ("1970-01-01T00:00:00+00:01", "must be in the years 1970 to 2200"),
        ("2201-01-01T00:00:00Z", "must be in the years 1970 to 2200"),
        ("2026-11-01T00:00:00", "must be an ISO 8601 instant with a time zone, such as 2026-11-01T12:00:00Z"),
        ("2026-11-01", "must be an ISO 8601 instant with a time zone, such as 2026-11-01T12:00:00Z"),
        (1793534400, "must be an ISO 8601 instant with a time zone, such as 2026-11-01T12:00:00Z"),
    ],
)
def test_an_invalid_instant_is_refused_with_a_reason(sold: Api, instant: object, message: str) -> None:
    answer = sold.put(QUOTA, quota_body(monthlyLimit=10, effectiveFrom=instant))
    assert invalid_fields(answer) == ["effectiveFrom"]
    assert answer.json["errors"][0]["message"] == message
    if isinstance(instant, str):
        assert invalid_fields(sold.delete(f"{VERSIONS}/{instant}")) == ["effectiveFrom"]
    assert len(versions(sold)) == 1


# --- Lists ---


def test_versions_are_listed_newest_first_in_pages(sold: Api) -> None:
    for limit, instant in enumerate(("2026-12-01T00:00:00Z", "2026-01-01T00:00:00Z", PLANNED), 1):
        put(sold, monthlyLimit=limit, effectiveFrom=instant)
    sold.plan(usage_type="assessment-2")
    sold.plan("other")
    whole = sold.get(VERSIONS).json
    assert versions(sold) == [
        (PLANNED, 3), ("2026-12-01T00:00:00Z", 1), ("2026-10-01T00:00:00Z", 50), ("2026-01-01T00:00:00Z", 2),
    ]  # fmt: skip
    assert "nextCursor" not in whole
    assert whole["versions"][0] == {
        "planId": "business", "usageType": "assessment", "monthlyLimit": 3, "unitPrice": "10.00",
        "price": {"model": "unit", "unitPrice": "10.00"}, "minimumCharge": None, "maximumCharge": None,
        "unitName": "assessment", "currency": "USD", "effectiveFrom": PLANNED, "changedBy": "key:first",
        "changedAt": NOON,
    }  # fmt: skip
    for limit in (1, 2, 3, 4):
        pages = sold.walk(VERSIONS, "versions", limit=limit)
        assert [version for page in pages for version in page] == whole["versions"]
        assert len(pages) == -(-4 // limit)
    cursor = sold.get(VERSIONS, query={"limit": "2"}).json["nextCursor"]
    for other in ("business/assessment-2", "other/assessment"):
        answer = sold.get(f"/api/usage/quotas/{other}/versions", query={"cursor": cursor})
        assert invalid_fields(answer) == ["cursor"]


def test_a_usage_type_without_versions_is_not_found(sold: Api) -> None:
    for path in (QUOTA, VERSIONS):
        assert sold.get(path.replace("assessment", "assess")).code == "quota_not_found"


def test_a_version_that_is_deleted_between_two_pages_ends_the_list(sold: Api) -> None:
    put(sold, monthlyLimit=1, effectiveFrom="2027-01-01T00:00:00Z")
    put(sold, monthlyLimit=2, effectiveFrom="2027-02-01T00:00:00Z")
    first = sold.get(VERSIONS, query={"limit": "1"}).json
    sold.delete(f"{VERSIONS}/2027-01-01T00:00:00Z")
    rest = sold.get(VERSIONS, query={"cursor": first["nextCursor"]}).json
    assert [version["monthlyLimit"] for version in rest["versions"]] == [50]


def test_quotas_are_listed_once_however_many_versions_they_have(sold: Api) -> None:
    for usage_type in ("assessment", "assessment-2", "report"):
        for month in range(1, 13):
            body = quota_body(usage_type, monthlyLimit=month, effectiveFrom=f"2026-{month:02}-02T00:00:00Z")
            assert sold.put(f"/api/usage/quotas/business/{usage_type}", body).status == 200
    for limit in (1, 2, 3):
        pages = sold.walk("/api/usage/quotas/business", "quotas", limit=limit)
        quotas = [quota for page in pages for quota in page]
        assert [quota["usageType"] for quota in quotas] == ["assessment", "assessment-2", "report"]
        assert {(quota["monthlyLimit"], quota["next"]["monthlyLimit"]) for quota in quotas} == {(11, 12)}


def test_plans_are_listed_with_their_currency_and_who_fixed_it(sold: Api, at: At) -> None:
    at("2026-11-21T00:00:00Z")
    for plan, currency in (("zebra", "EUR"), ("alpha", "JPY")):
        body = quota_body(currency=currency, effectiveFrom=PLANNED)
        assert sold.put(f"/api/usage/quotas/{plan}/x", body, headers=bearer("admin-1", "admin")).status == 200
    put(sold, monthlyLimit=10)
    assert sold.delete(f"/api/usage/quotas/zebra/x/versions/{PLANNED}").status == 200
    plans = sold.get("/api/plans").json
    assert plans == {"plans": [
        {"planId": "alpha", "currency": "JPY", "changedBy": "admin-1", "changedAt": "2026-11-21T00:00:00Z"},
        {"planId": "business", "currency": "USD", "changedBy": "key:first", "changedAt": NOON},
        {"planId": "zebra", "currency": "EUR", "changedBy": "admin-1", "changedAt": "2026-11-21T00:00:00Z"},
    ]}  # fmt: skip
    assert sold.walk("/api/plans", "plans", limit=1) == [[plan] for plan in plans["plans"]]
    assert sold.walk("/api/plans", "plans", limit=2) == [plans["plans"][:2], plans["plans"][2:]]


def test_without_a_quota_there_are_no_plans(api: Api) -> None:
    assert api.get("/api/plans").json == {"plans": []}


# --- Deleting versions ---


def test_a_planned_version_can_be_deleted(sold: Api, at: At) -> None:
    planned = put(sold, monthlyLimit=20, effectiveFrom=PLANNED)
    at("2026-11-21T00:00:00Z")
    answer = sold.delete(f"{VERSIONS}/{PLANNED}", headers=bearer("admin-1", "admin"))
    shown = {name: value for name, value in planned.items() if name != "next"}
    assert (answer.status, answer.json) == (200, shown | {"deletedBy": "admin-1", "deletedAt": "2026-11-21T00:00:00Z"})
    assert versions(sold) == [("2026-10-01T00:00:00Z", 50)]
    assert sold.get(QUOTA).json["next"] is None
    at(PLANNED)
    assert limit_of(sold, "january") == 50


def test_deleting_a_version_again_answers_the_same(sold: Api, at: At) -> None:
    put(sold, monthlyLimit=20, effectiveFrom=PLANNED)
    deleted = sold.delete(f"{VERSIONS}/{PLANNED}")
    at("2028-01-01T00:00:00Z")
    again = sold.delete(f"{VERSIONS}/2027-01-01T01:00:00+01:00", headers=bearer("admin-1", "admin"))
    assert (again.status, again.json) == (200, deleted.json)


def test_a_version_can_be_planned_and_deleted_again(sold: Api, at: At) -> None:
    for limit, now in ((20, "2026-11-21T00:00:00Z"), (30, "2026-11-22T00:00:00Z")):
        at(now)
        put(sold, monthlyLimit=limit, effectiveFrom=PLANNED)
        assert versions(sold)[0] == (PLANNED, limit)
        deleted = sold.delete(f"{VERSIONS}/{PLANNED}").json
        assert (deleted["monthlyLimit"], deleted["deletedAt"]) == (limit, now)
        assert len(versions(sold)) == 1


@pytest.mark.parametrize(
    ("now", "status"),
    [
        pytest.param("2026-12-31T23:59:44Z", 200, id="16 seconds before it takes effect"),
        pytest.param("2026-12-31T23:59:44.001Z", 409, id="less: a change from now on takes effect at the same instant"),
        pytest.param(PLANNED, 409, id="when it takes effect"),
        pytest.param("2030-01-01T00:00:00Z", 409, id="years later"),
    ],
)
def test_a_version_can_be_deleted_until_it_takes_effect(sold: Api, at: At, now: str, status: int) -> None:
    put(sold, monthlyLimit=20, effectiveFrom=PLANNED)
    at(now)
    answer = sold.delete(f"{VERSIONS}/{PLANNED}")
    assert (answer.status, answer.code) == (status, "quota_version_in_effect" if status == 409 else None)
    assert len(versions(sold)) == (2 if status == 409 else 1)


def test_a_version_from_now_on_cannot_be_deleted(sold: Api) -> None:
    changed = put(sold, monthlyLimit=20)
    assert sold.delete(f"{VERSIONS}/{changed['effectiveFrom']}").code == "quota_version_in_effect"


@pytest.mark.parametrize("path", ["business/assessment", "business/report", "other/assessment"])
def test_a_version_that_never_existed_is_not_found(sold: Api, path: str) -> None:
    put(sold, monthlyLimit=20, effectiveFrom=PLANNED)
    answer = sold.delete(f"/api/usage/quotas/{path}/versions/2027-01-01T00:00:01Z")
    assert (answer.status, answer.code) == (404, "quota_version_not_found")
    assert len(versions(sold)) == 2


def test_without_its_only_version_there_is_no_quota_but_the_plan_keeps_its_currency(api: Api, at: At) -> None:
    at(NOON)
    put(api, effectiveFrom=PLANNED)
    assert api.delete(f"{VERSIONS}/{PLANNED}").status == 200
    assert (api.get(QUOTA).code, api.get(VERSIONS).code) == ("quota_not_found", "quota_not_found")
    assert api.get("/api/usage/quotas/business").json == {"quotas": []}
    assert api.put(QUOTA, quota_body(currency="EUR")).code == "plan_currency_mismatch"
    api.subscribe()
    assert api.record("unrated").json["quota"]["limit"] is None
    put(api, monthlyLimit=7)
    assert api.record("rated").json["quota"]["limit"] == 7


def test_the_next_version_holds_where_the_first_one_was_deleted(api: Api, at: At) -> None:
    at(NOON)
    put(api, monthlyLimit=20, effectiveFrom=PLANNED)
    put(api, monthlyLimit=30, effectiveFrom="2027-02-01T00:00:00Z")
    assert limit_of(api, "one") == 20
    api.delete(f"{VERSIONS}/{PLANNED}")
    assert limit_of(api, "other") == 30
    assert api.record("more", subscriptionId="one").json["quota"]["limit"] == 20, "an open ledger keeps its terms"


def test_a_delete_with_a_parameter_is_refused(sold: Api) -> None:
    answer = sold.delete(f"{VERSIONS}/{PLANNED}", query={"force": "true"})
    assert invalid_fields(answer) == ["force"]
