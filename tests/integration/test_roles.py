"""Every endpoint, called by every kind of caller."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api import INTERNAL, Answer, Api, bearer, routes
from tests.builders import event_body, quota_body, subscription_body
from tests.cloud import SCOPED_KEYS

Body = dict[str, Any] | None

CALLERS = {
    "owner": bearer("user-1"),
    "owner with the role user": bearer("user-1", "user"),
    "other user": bearer("user-2"),
    "admin": bearer("admin-1", "admin"),
    "internal token": bearer("service-1", "internal"),
    "key without a scope": INTERNAL,
    **{f"key that may {scope}": {"x-api-key": key} for scope, key in SCOPED_KEYS.items()},
}

EVENT = event_body("new")
QUOTA = quota_body("report")
PREVIEW = {"quota": QUOTA, "quantities": [60]}
PLANNED = "2199-01-01T00:00:00Z"
PLANNED_PATH = f"/api/usage/quotas/business/assessment/versions/{PLANNED}"
SUBSCRIPTION = subscription_body()
DEAD = {"code": "undelivered"}

# For each route: a request for data of user-1, and the statuses for the owner and for operators. Others get 403.
ROUTES: dict[tuple[str, str], tuple[str, Body, int, int]] = {
    ("POST", "/api/usage/record"): ("/api/usage/record", EVENT, 403, 201),
    ("POST", "/api/usage/batch"): ("/api/usage/batch", {"events": [EVENT]}, 403, 200),
    ("GET", "/api/usage/user/{userId}"): ("/api/usage/user/user-1", None, 200, 200),
    ("GET", "/api/usage/subscription/{subscriptionId}"): ("/api/usage/subscription/sub-1", None, 200, 200),
    ("GET", "/api/usage/subscription/{subscriptionId}/records"): (
        "/api/usage/subscription/sub-1/records", None, 200, 200),
    ("GET", "/api/usage/subscription/{subscriptionId}/records/{eventId}"): (
        "/api/usage/subscription/sub-1/records/e1", None, 200, 200),
    ("GET", "/api/usage/dead-events"): ("/api/usage/dead-events", None, 403, 200),
    ("POST", "/api/usage/dead-events/redrive"): ("/api/usage/dead-events/redrive", DEAD, 403, 200),
    ("POST", "/api/usage/dead-events/drop"): ("/api/usage/dead-events/drop", DEAD, 403, 200),
    ("POST", "/api/usage/process-billing"): ("/api/usage/process-billing", None, 403, 200),
    ("POST", "/api/usage/quotas/preview"): ("/api/usage/quotas/preview", PREVIEW, 403, 200),
    ("GET", "/api/usage/quotas/{planId}"): ("/api/usage/quotas/business", None, 200, 200),
    ("GET", "/api/usage/quotas/{planId}/{usageType}"): ("/api/usage/quotas/business/assessment", None, 200, 200),
    ("GET", "/api/usage/quotas/{planId}/{usageType}/versions"): (
        "/api/usage/quotas/business/assessment/versions", None, 200, 200),
    ("DELETE", "/api/usage/quotas/{planId}/{usageType}/versions/{effectiveFrom}"): (PLANNED_PATH, None, 403, 200),
    ("GET", "/api/plans"): ("/api/plans", None, 403, 200),
    ("GET", "/api/billing/runs"): ("/api/billing/runs", None, 403, 200),
    ("GET", "/api/billing/runs/{runId}"): ("/api/billing/runs/{run}", None, 403, 200),
    ("PUT", "/api/usage/quotas/{planId}/{usageType}"): ("/api/usage/quotas/business/report", QUOTA, 403, 200),
    ("GET", "/api/subscriptions/{subscriptionId}"): ("/api/subscriptions/sub-1", None, 403, 200),
    ("PUT", "/api/subscriptions/{subscriptionId}"): ("/api/subscriptions/sub-1", SUBSCRIPTION, 403, 200),
    ("GET", "/api/invoices/{invoiceId}"): ("/api/invoices/{invoice}", None, 200, 200),
    ("GET", "/api/invoices/{invoiceId}/items"): ("/api/invoices/{invoice}/items", None, 200, 200),
    ("GET", "/api/invoices"): ("/api/invoices?subscriptionId=sub-1", None, 200, 200),
}  # fmt: skip

RECORD_ROUTES = {("POST", "/api/usage/record"), ("POST", "/api/usage/batch")}
PUBLIC_ROUTES = {("GET", "/"), ("GET", "/openapi.json"), ("GET", "/docs")}
ADMIN_ROUTES = {route for route in ROUTES if "dead-events" in route[1]}

# Requests for what does not exist, and the status for operators. Users get 403.
MISSING: dict[str, tuple[str, str, Body, int]] = {
    "record": ("POST", "/api/usage/record", EVENT | {"subscriptionId": "nothing"}, 404),
    "usage of a subscription": ("GET", "/api/usage/subscription/nothing", None, 404),
    "records": ("GET", "/api/usage/subscription/nothing/records", None, 404),
    "an event of an unknown subscription": ("GET", "/api/usage/subscription/nothing/records/e1", None, 404),
    "an invoice of an existing subscription": ("GET", "/api/invoices/sub-1-20200101T000000Z", None, 404),
    "an invoice of an unknown subscription": ("GET", "/api/invoices/nothing-20261101T000000Z", None, 404),
    "an invalid invoice id": ("GET", "/api/invoices/nothing", None, 404),
    "items of an invoice of an existing subscription": ("GET", "/api/invoices/sub-1-20200101T000000Z/items", None, 404),
    "items of an unknown invoice": ("GET", "/api/invoices/nothing/items", None, 404),
    "invoices": ("GET", "/api/invoices?subscriptionId=nothing", None, 404),
    "billing": ("POST", "/api/usage/process-billing", {"subscriptionId": "nothing"}, 404),
    "a quota of another plan": ("GET", "/api/usage/quotas/nothing/assessment", None, 404),
    "versions of a quota of another plan": ("GET", "/api/usage/quotas/nothing/assessment/versions", None, 404),
    "a version of a quota": (
        "DELETE",
        "/api/usage/quotas/business/assessment/versions/2198-01-01T00:00:00Z",
        None,
        404,
    ),
    "a billing run": ("GET", "/api/billing/runs/nothing", None, 404),
    "a subscription": ("GET", "/api/subscriptions/nothing", None, 404),
}


@pytest.fixture
def invoice(api: Api) -> str:
    """user-1 has a subscription with a billed invoice; user-2 has a subscription of their own.

    The quota of user-1's plan has a planned version.
    """
    api.plan()
    planned = quota_body(monthlyLimit=10, effectiveFrom=PLANNED)
    assert api.put("/api/usage/quotas/business/assessment", planned).status == 200
    api.subscribe()
    api.plan("starter")
    api.subscribe("sub-2", "user-2", "starter")
    api.record(quantity=60)
    api.bill(subscriptionId="sub-1")
    [found] = api.get("/api/invoices", query={"subscriptionId": "sub-1"}).json["invoices"]
    return str(found["invoiceId"])


def with_new_event_id(body: Body) -> Body:
    """The body, with a new event id if it has one."""
    return body | {"eventId": uuid4().hex} if body and "eventId" in body else body


def call(api: Api, method: str, path: str, body: Body, headers: dict[str, str]) -> Answer:
    path, _, query = path.partition("?")
    return api(method, path, body, headers=headers, query=dict([query.split("=")]) if query else None)


def statuses_of_operators(method: str, path: str, status: int) -> dict[str, int]:
    """The status for each caller who is not a user: `status` if they are allowed to call the route, else 403."""
    may_read, may_record = method == "GET", method == "GET" or (method, path) in RECORD_ROUTES
    if (method, path) in ADMIN_ROUTES:
        return dict.fromkeys(list(CALLERS)[3:], 403) | {"admin": status}
    return {
        "admin": status,
        "internal token": status,
        "key without a scope": status,
        "key that may read": status if may_read else 403,
        "key that may record": status if may_record else 403,
        "key that may operate": status,
    }


def test_every_route_of_the_template_is_tested() -> None:
    assert set(ROUTES) | PUBLIC_ROUTES == set(routes())


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_an_endpoint_serves_only_the_callers_that_it_allows(api: Api, invoice: str, route: tuple[str, str]) -> None:
    path, body, owner, operator = ROUTES[route]
    [run] = api.get("/api/billing/runs").json["runs"]
    path = path.replace("{invoice}", invoice).replace("{run}", run["runId"])
    answers = {
        caller: call(api, route[0], path, with_new_event_id(body), headers) for caller, headers in CALLERS.items()
    }
    assert {caller: answer.status for caller, answer in answers.items()} == {
        "owner": owner,
        "owner with the role user": owner,
        "other user": 403,
        **statuses_of_operators(*route, operator),
    }
    assert {answer.code for answer in answers.values() if answer.status == 403} <= {"forbidden"}


@pytest.mark.parametrize("route", sorted(PUBLIC_ROUTES), ids=" ".join)
def test_a_public_endpoint_ignores_credentials(api: Api, route: tuple[str, str]) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, *CALLERS.values()):
        assert api(*route, headers=headers).status == 200


@pytest.mark.parametrize("request_", MISSING.values(), ids=MISSING)
def test_only_operators_get_404_for_what_does_not_exist(
    api: Api, invoice: str, request_: tuple[str, str, Body, int]
) -> None:
    method, path, body, operator = request_
    assert {caller: call(api, method, path, body, headers).status for caller, headers in CALLERS.items()} == {
        "owner": 403,
        "owner with the role user": 403,
        "other user": 403,
        **statuses_of_operators(method, path, operator),
    }


def test_a_user_cannot_tell_what_belongs_to_another_user_from_what_does_not_exist(api: Api, invoice: str) -> None:
    for theirs, nothing in [
        ("/api/usage/subscription/sub-1", "/api/usage/subscription/nothing"),
        ("/api/usage/subscription/sub-1/records", "/api/usage/subscription/nothing/records"),
        ("/api/usage/subscription/sub-1/records/e1", "/api/usage/subscription/nothing/records/e1"),
        (f"/api/invoices/{invoice}", "/api/invoices/nothing"),
        ("/api/usage/quotas/business", "/api/usage/quotas/nothing"),
        ("/api/usage/quotas/business/assessment", "/api/usage/quotas/business/nothing"),
        ("/api/usage/quotas/business/assessment", "/api/usage/quotas/nothing/nothing"),
        ("/api/usage/quotas/business/assessment/versions", "/api/usage/quotas/business/nothing/versions"),
        (f"/api/invoices/{invoice}/items", "/api/invoices/nothing/items"),
        ("/api/invoices?subscriptionId=sub-1", "/api/invoices?subscriptionId=nothing"),
    ]:
        one, other = (call(api, "GET", path, None, bearer("user-2")) for path in (theirs, nothing))
        assert (one.status, one.text, one.headers) == (other.status, other.text, other.headers)


def test_users_can_read_the_quotas_of_the_plans_that_they_are_on(api: Api, invoice: str) -> None:
    def statuses(plan: str) -> list[int]:
        paths = [f"/api/usage/quotas/{plan}", f"/api/usage/quotas/{plan}/assessment"]
        paths += [f"{paths[-1]}/versions"]
        return [api.get(path, headers=bearer("user-1")).status for path in paths]

    assert (statuses("business"), statuses("starter")) == ([200] * 3, [403] * 3)
    api.subscribe("sub-3", "user-1", "starter", status="canceled")
    assert (statuses("business"), statuses("starter")) == ([200] * 3, [200] * 3)
    api.subscribe("sub-1", "user-1", "starter")
    assert (statuses("business"), statuses("starter")) == ([403] * 3, [200] * 3)
    nothing = api.get("/api/usage/quotas/starter/nothing", headers=bearer("user-1"))
    assert nothing.code == "quota_not_found", "users who may read the list may learn what is not on it"


def test_a_403_says_which_scope_is_missing(api: Api, invoice: str) -> None:
    expected = {
        "This endpoint requires the scope record; your credentials have the scope read.": {
            "x-api-key": SCOPED_KEYS["read"]
        },
        "Users may read usage, but not record it.": bearer("user-1"),
    }
    for detail, headers in expected.items():
        answer = api.record("new", headers=headers)
        assert (answer.status, answer.code, answer.json["detail"]) == (403, "forbidden", detail)


def test_a_forbidden_request_has_no_effect(api: Api, invoice: str) -> None:
    for caller in ("owner", "other user"):
        call(api, "PUT", "/api/usage/quotas/business/report", QUOTA, CALLERS[caller])
        call(api, "DELETE", PLANNED_PATH, None, CALLERS[caller])
        call(api, "PUT", "/api/subscriptions/sub-1", SUBSCRIPTION | {"status": "canceled"}, CALLERS[caller])
    for caller in ("owner", "other user", "key that may read"):
        api.record("new", headers=CALLERS[caller])
        api.post("/api/usage/batch", {"events": [EVENT]}, headers=CALLERS[caller])
    [quota] = api.get("/api/usage/quotas/business").json["quotas"]
    assert quota["next"]["effectiveFrom"] == PLANNED
    assert api.get("/api/subscriptions/sub-1").json["status"] == "active"
    assert api.get("/api/usage/subscription/sub-1").json["usage"][0]["used"] == 60


def test_users_do_not_see_which_operator_changed_a_quota(api: Api, invoice: str) -> None:
    quota = "/api/usage/quotas/business/assessment"
    for headers, name in ((bearer("user-1"), None), (INTERNAL, "key:first")):
        one = api.get(quota, headers=headers).json
        [listed] = api.get("/api/usage/quotas/business", headers=headers).json["quotas"]
        versions = api.get(f"{quota}/versions", headers=headers).json["versions"]
        shown = [each["changedBy"] for each in (one, one["next"], listed, listed["next"], *versions)]
        assert shown == [name] * 6


def test_a_user_whose_id_looks_like_a_key_is_not_an_operator(api: Api, invoice: str) -> None:
    assert api.get("/api/subscriptions/sub-1", headers=bearer("key:first")).status == 403


def test_a_route_cannot_be_defined_without_saying_who_may_call_it() -> None:
    from usage_billing.web.resolver import Api as Resolver

    for build in (Resolver().get, Resolver().put, Resolver().post, Resolver().delete):
        with pytest.raises(TypeError, match="allow"):
            build("/anything")  # type: ignore[call-arg] # the missing argument is what is tested


def test_a_route_without_roles_is_404_for_everybody(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import get_quota

    monkeypatch.setattr(get_quota.app, "_contracts", {})
    for headers in CALLERS.values():
        assert api.get("/api/usage/quotas/business/assessment", headers=headers).status == 404


@pytest.mark.parametrize(
    "start", ["00010101T000000+01:00", "99991231T235959-01:00", "20261101T000000", "20261101T000000+00:00"]
)
def test_an_id_that_is_almost_an_invoice_id_is_not_found(api: Api, start: str) -> None:
    for path in (f"/api/invoices/x-{start}", f"/api/invoices/x-{start}/items"):
        assert api.get(path).code == "invoice_not_found"
        assert api.get(path, headers=bearer("user-1")).code == "forbidden"
