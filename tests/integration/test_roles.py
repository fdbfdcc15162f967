"""Every endpoint times every kind of caller."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api import INTERNAL, Answer, Api, bearer, routes
from tests.cloud import SCOPED_KEYS

CALLERS = {
    "owner": bearer("user-1"),
    "owner whose token says so": bearer("user-1", "user"),
    "other user": bearer("user-2"),
    "admin": bearer("admin-1", "admin"),
    "internal token": bearer("service-1", "internal"),
    "key without a scope": INTERNAL,
    **{f"key that may {scope}": {"x-api-key": key} for scope, key in SCOPED_KEYS.items()},
}

EVENT = {"eventId": "new", "userId": "user-1", "subscriptionId": "sub-1", "usageType": "assessment", "quantity": 1}
QUOTA = {"monthlyLimit": 1, "unitPrice": "1", "unitName": "report"}
SUBSCRIPTION = {"userId": "user-1", "planId": "business"}
DEAD = {"code": "undelivered"}

# route: (a request of what is user-1's, what the owner gets, what operators get). Another user always gets 403.
EXPECTED = {
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
    ("GET", "/api/usage/quotas/{planId}"): ("/api/usage/quotas/business", None, 200, 200),
    ("GET", "/api/usage/quotas/{planId}/{usageType}"): ("/api/usage/quotas/business/assessment", None, 200, 200),
    ("GET", "/api/billing/runs"): ("/api/billing/runs", None, 403, 200),
    ("GET", "/api/billing/runs/{runId}"): ("/api/billing/runs/{run}", None, 403, 200),
    ("PUT", "/api/usage/quotas/{planId}/{usageType}"): ("/api/usage/quotas/business/report", QUOTA, 403, 200),
    ("GET", "/api/subscriptions/{subscriptionId}"): ("/api/subscriptions/sub-1", None, 403, 200),
    ("PUT", "/api/subscriptions/{subscriptionId}"): ("/api/subscriptions/sub-1", SUBSCRIPTION, 403, 200),
    ("GET", "/api/invoices/{invoiceId}"): ("/api/invoices/{invoice}", None, 200, 200),
    ("GET", "/api/invoices/{invoiceId}/items"): ("/api/invoices/{invoice}/items", None, 200, 200),
    ("GET", "/api/invoices"): ("/api/invoices?subscriptionId=sub-1", None, 200, 200),
}  # fmt: skip

RECORDING = {("POST", "/api/usage/record"), ("POST", "/api/usage/batch")}
FOR_EVERYBODY = {("GET", "/"), ("GET", "/openapi.json"), ("GET", "/docs")}
ONLY_FOR_ADMINS = {route for route in EXPECTED if "dead-events" in route[1]}

# The same endpoints, asked for what does not exist: (request, what an operator gets). A user always gets 403.
MISSING = {
    "record": ("POST", "/api/usage/record", EVENT | {"subscriptionId": "nothing"}, 404),
    "usage of a subscription": ("GET", "/api/usage/subscription/nothing", None, 404),
    "records": ("GET", "/api/usage/subscription/nothing/records", None, 404),
    "an event of no subscription": ("GET", "/api/usage/subscription/nothing/records/e1", None, 404),
    "an invoice of one's own subscription": ("GET", "/api/invoices/sub-1-20200101T000000Z", None, 404),
    "an invoice of no subscription": ("GET", "/api/invoices/nothing-20261101T000000Z", None, 404),
    "what is no invoice id": ("GET", "/api/invoices/nothing", None, 404),
    "items of an invoice of one's own subscription": ("GET", "/api/invoices/sub-1-20200101T000000Z/items", None, 404),
    "items of no invoice": ("GET", "/api/invoices/nothing/items", None, 404),
    "invoices": ("GET", "/api/invoices?subscriptionId=nothing", None, 404),
    "billing": ("POST", "/api/usage/process-billing", {"subscriptionId": "nothing"}, 404),
    "a quota of another plan": ("GET", "/api/usage/quotas/nothing/assessment", None, 404),
    "a billing run": ("GET", "/api/billing/runs/nothing", None, 404),
    "a subscription": ("GET", "/api/subscriptions/nothing", None, 404),
}


@pytest.fixture
def invoice(api: Api) -> str:
    """user-1 has a subscription with a billed invoice; user-2 has a subscription of their own."""
    api.plan()
    api.subscribe()
    api.plan("starter")
    api.subscribe("sub-2", "user-2", "starter")
    api.record(quantity=60)
    api.bill(subscriptionId="sub-1")
    [found] = api.get("/api/invoices", query={"subscriptionId": "sub-1"}).json["invoices"]
    return str(found["invoiceId"])


def fresh(body: dict[str, Any] | None) -> dict[str, Any] | None:
    """The body, with an event id of its own if it has one."""
    return body | {"eventId": uuid4().hex} if body and "eventId" in body else body


def ask(api: Api, method: str, path: str, body: object, headers: dict[str, str]) -> Answer:
    path, _, query = path.partition("?")
    return api(method, path, body, headers=headers, query=dict([query.split("=")]) if query else None)


def operators(method: str, path: str, status: int) -> dict[str, int]:
    """What callers are answered who may do everything, by role or by key, and those whose key may do less."""
    may_read, may_record = method == "GET", method == "GET" or (method, path) in RECORDING
    if (method, path) in ONLY_FOR_ADMINS:
        return dict.fromkeys(list(CALLERS)[3:], 403) | {"admin": status}
    return {
        "admin": status,
        "internal token": status,
        "key without a scope": status,
        "key that may read": status if may_read else 403,
        "key that may record": status if may_record else 403,
        "key that may operate": status,
    }


def test_every_route_of_the_template_is_tried() -> None:
    assert set(EXPECTED) | FOR_EVERYBODY == set(routes())


@pytest.mark.parametrize("route", EXPECTED, ids=" ".join)
def test_an_endpoint_answers_who_may_call_it_and_refuses_everyone_else(
    api: Api, invoice: str, route: tuple[str, str]
) -> None:
    path, body, owner, operator = EXPECTED[route]
    [run] = api.get("/api/billing/runs").json["runs"]
    path = path.replace("{invoice}", invoice).replace("{run}", run["runId"])
    answers = {caller: ask(api, route[0], path, fresh(body), headers) for caller, headers in CALLERS.items()}
    assert {caller: answer.status for caller, answer in answers.items()} == {
        "owner": owner,
        "owner whose token says so": owner,
        "other user": 403,
        **operators(*route, operator),
    }
    assert {answer.code for answer in answers.values() if answer.status == 403} <= {"forbidden"}


@pytest.mark.parametrize("route", sorted(FOR_EVERYBODY), ids=" ".join)
def test_a_public_endpoint_asks_nobody_who_they_are(api: Api, route: tuple[str, str]) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, *CALLERS.values()):
        assert api(*route, headers=headers).status == 200


@pytest.mark.parametrize("request_", MISSING.values(), ids=MISSING)
def test_only_operators_learn_what_does_not_exist(
    api: Api, invoice: str, request_: tuple[str, str, object, int]
) -> None:
    method, path, body, operator = request_
    assert {caller: ask(api, method, path, body, headers).status for caller, headers in CALLERS.items()} == {
        "owner": 403,
        "owner whose token says so": 403,
        "other user": 403,
        **operators(method, path, operator),
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
        (f"/api/invoices/{invoice}/items", "/api/invoices/nothing/items"),
        ("/api/invoices?subscriptionId=sub-1", "/api/invoices?subscriptionId=nothing"),
    ]:
        one, other = (ask(api, "GET", path, None, bearer("user-2")) for path in (theirs, nothing))
        assert (one.status, one.text, one.headers) == (other.status, other.text, other.headers)


def test_a_user_reads_the_quotas_of_the_plans_of_their_subscriptions(api: Api, invoice: str) -> None:
    def statuses(plan: str) -> list[int]:
        paths = (f"/api/usage/quotas/{plan}", f"/api/usage/quotas/{plan}/assessment")
        return [api.get(path, headers=bearer("user-1")).status for path in paths]

    assert (statuses("business"), statuses("starter")) == ([200, 200], [403, 403])
    api.subscribe("sub-3", "user-1", "starter", status="canceled")
    assert (statuses("business"), statuses("starter")) == ([200, 200], [200, 200])
    api.subscribe("sub-1", "user-1", "starter")
    assert (statuses("business"), statuses("starter")) == ([403, 403], [200, 200])
    nothing = api.get("/api/usage/quotas/starter/nothing", headers=bearer("user-1"))
    assert nothing.code == "quota_not_found", "they may read the whole list, so this tells nothing more"


def test_credentials_that_may_too_little_are_told_what_is_missing(api: Api, invoice: str) -> None:
    told = {
        "This endpoint requires the scope record; your credentials have the scope read.": {
            "x-api-key": SCOPED_KEYS["read"]
        },
        "Users may read usage, but not record it.": bearer("user-1"),
    }
    for detail, headers in told.items():
        answer = api.record("new", headers=headers)
        assert (answer.status, answer.code, answer.json["detail"]) == (403, "forbidden", detail)


def test_what_is_refused_is_not_done(api: Api, invoice: str) -> None:
    for caller in ("owner", "other user"):
        ask(api, "PUT", "/api/usage/quotas/business/report", QUOTA, CALLERS[caller])
        ask(api, "PUT", "/api/subscriptions/sub-1", SUBSCRIPTION | {"status": "canceled"}, CALLERS[caller])
    for caller in ("owner", "other user", "key that may read"):
        api.record("new", headers=CALLERS[caller])
        api.post("/api/usage/batch", {"events": [EVENT]}, headers=CALLERS[caller])
    assert len(api.get("/api/usage/quotas/business").json["quotas"]) == 1
    assert api.get("/api/subscriptions/sub-1").json["status"] == "active"
    assert api.get("/api/usage/subscription/sub-1").json["usage"][0]["used"] == 60


def test_a_user_of_the_same_name_as_a_key_is_no_operator(api: Api, invoice: str) -> None:
    assert api.get("/api/subscriptions/sub-1", headers=bearer("key:first")).status == 403


def test_a_route_cannot_be_built_without_saying_who_may_call_it() -> None:
    from usage_billing.web.resolver import Api as Resolver

    for build in (Resolver().get, Resolver().put, Resolver().post):
        with pytest.raises(TypeError, match="allow"):
            build("/anything")


def test_a_route_that_was_not_given_its_roles_admits_nobody(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import get_quota

    monkeypatch.setattr(get_quota.app, "_contracts", {})
    for headers in CALLERS.values():
        assert api.get("/api/usage/quotas/business/assessment", headers=headers).status == 404


@pytest.mark.parametrize(
    "start", ["00010101T000000+01:00", "99991231T235959-01:00", "20261101T000000", "20261101T000000+00:00"]
)
def test_what_is_almost_an_invoice_id_is_none(api: Api, start: str) -> None:
    for path in (f"/api/invoices/x-{start}", f"/api/invoices/x-{start}/items"):
        assert api.get(path).code == "invoice_not_found"
        assert api.get(path, headers=bearer("user-1")).code == "forbidden"
