"""Every error as callers see it: problem details with a stable code, and no internal details."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError, EndpointConnectionError

import get_docs
import get_index
import get_openapi
from tests.api import ADMIN, Answer, Api, bearer, token
from tests.builders import quota_body
from usage_billing.billing import run_report_store, runner
from usage_billing.invoices import store as invoice_store
from usage_billing.kernel import errors
from usage_billing.kernel.errors import BillingError
from usage_billing.plans import store as quota_store
from usage_billing.plans.api import PreviewedCharges
from usage_billing.platform import caches, dynamodb
from usage_billing.subscriptions import store as subscription_store
from usage_billing.usage import intake, usage_type_limit
from usage_billing.usage import store as ledger_store
from usage_billing.usage.dead_events import redriving
from usage_billing.usage.dead_events import store as dead_event_store
from usage_billing.usage.store import HeadMoved
from usage_billing.web import problems

SECRET = "what only we may know"


def make_dynamodb_fail(status: int, code: str) -> None:
    """Let DynamoDB respond to every call with this error."""

    class Raw:
        def stream(self, *_: object, **__: object) -> list[bytes]:
            return [f'{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "{SECRET}"}}'.encode()]

    def answer(request: Any, **_: object) -> AWSResponse:
        headers = HTTPHeaders()
        headers["content-type"] = "application/x-amz-json-1.0"
        return AWSResponse(request.url, status, headers, Raw())

    dynamodb.client().meta.events.register_first("before-send.dynamodb", answer)


def queue_unavailable(api: Api, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """A ledger that stays busy, and a queue that does not exist."""

    def lose(*_: object) -> None:
        raise HeadMoved(None)

    monkeypatch.setattr(ledger_store, "append", lose)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("USAGE_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/none")
    caches.clear_all()
    return api.record()


def internal_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> Answer:
    monkeypatch.setattr(subscription_store, "subscription", lambda _: 1 / 0)
    return api.get("/api/subscriptions/sub-1")


def database_unavailable(api: Api, monkeypatch: pytest.MonkeyPatch) -> Answer:
    monkeypatch.setattr("time.sleep", lambda _: None)
    make_dynamodb_fail(400, "ThrottlingException")
    return api.get("/api/subscriptions/sub-1")


def identity_provider_unavailable(api: Api, monkeypatch: pytest.MonkeyPatch) -> Answer:
    monkeypatch.setenv("API_KEYS_SECRET_ID", SECRET)
    caches.clear_all()
    return api.get("/api/subscriptions/sub-1")


def event_id_conflict(api: Api, _: pytest.MonkeyPatch) -> Answer:
    api.record("e1", 1)
    return api.record("e1", 2)


def subscription_inactive(api: Api, _: pytest.MonkeyPatch) -> Answer:
    api.subscribe(status="paused")
    return api.record()


def too_many_usage_types(api: Api, monkeypatch: pytest.MonkeyPatch) -> Answer:
    monkeypatch.setattr(usage_type_limit, "MAX_USAGE_TYPES", 1)
    api.record()
    return api.record("e2", usageType="report")


def plan_currency_mismatch(api: Api, _: pytest.MonkeyPatch) -> Answer:
    body = {"monthlyLimit": 1, "unitPrice": 1, "unitName": "u", "currency": "EUR"}
    return api.put("/api/usage/quotas/business/report", body)


def quota_version_in_effect(api: Api, _: pytest.MonkeyPatch) -> Answer:
    [version] = api.get("/api/usage/quotas/business/assessment/versions").json["versions"]
    return api.delete(f"/api/usage/quotas/business/assessment/versions/{version['effectiveFrom']}")


CAUSES: dict[type[BillingError], Callable[[Api, pytest.MonkeyPatch], Answer]] = {
    errors.NotJson: lambda api, _: api.post("/api/usage/record", raw="{"),
    errors.UnsupportedMediaType: lambda api, _: api.post("/api/usage/record", raw="{}", headers={
        "content-type": "text/plain", "x-api-key": "test-key"}),
    errors.ValidationFailed: lambda api, _: api.post("/api/usage/record", {}),
    errors.CredentialsMissing: lambda api, _: api.get("/api/subscriptions/sub-1", headers={}),
    errors.CredentialsInvalid: lambda api, _: api.get("/api/subscriptions/sub-1", headers={"x-api-key": "wrong"}),
    errors.CredentialsExpired: lambda api, _: api.get("/api/subscriptions/sub-1", headers=bearer(exp=1)),
    errors.Forbidden: lambda api, _: api.get("/api/subscriptions/sub-1", headers=bearer()),
    errors.SubscriptionNotOwned: lambda api, _: api.record(userId="user-2"),
    errors.RouteNotFound: lambda api, _: api.get("/api/usage/user/user-1", raw_path="/api/usage/elsewhere"),
    errors.SubscriptionNotFound: lambda api, _: api.get("/api/subscriptions/nothing"),
    errors.QuotaNotFound: lambda api, _: api.get("/api/usage/quotas/business/nothing"),
    errors.QuotaVersionNotFound: lambda api, _: api.delete(
        "/api/usage/quotas/business/assessment/versions/2199-01-01T00:00:00Z"),
    errors.InvoiceNotFound: lambda api, _: api.get("/api/invoices/nothing"),
    errors.EventNotFound: lambda api, _: api.get("/api/usage/subscription/sub-1/records/nothing"),
    errors.RunNotFound: lambda api, _: api.get("/api/billing/runs/nothing"),
    errors.EventIdConflict: event_id_conflict,
    errors.SubscriptionInactive: subscription_inactive,
    errors.TooManyUsageTypes: too_many_usage_types,
    errors.SubscriptionUserFixed: lambda api, _: api.subscribe(user="user-2"),
    errors.PlanCurrencyMismatch: plan_currency_mismatch,
    errors.QuotaVersionInEffect: quota_version_in_effect,
    errors.QueueUnavailable: queue_unavailable,
    errors.InternalError: internal_error,
    errors.BodyTooLarge: lambda api, _: api.post("/api/usage/record", raw=" " * 20_000),
    errors.DatabaseUnavailable: database_unavailable,
    errors.IdentityProviderUnavailable: identity_provider_unavailable,
}  # fmt: skip

# Billing counts and logs the first two for single ledgers. An event whose ledger is busy goes to the queue. The last
# one comes from the catch-all route of API Gateway: see test_limits.
NEVER_RETURNED = {
    errors.InvoiceNotDraft,
    errors.InvoiceCurrencyMismatch,
    errors.LedgerBusy,
    errors.MethodNotAllowed,
}


def check_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Check the five fields that every problem has. Return the others."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert SECRET not in answer.text
    body = dict(answer.json)
    title, detail = body.pop("title"), body.pop("detail")
    assert title == HTTPStatus(status).phrase
    assert isinstance(detail, str)
    assert 10 < len(detail) < 300
    assert (body.pop("type"), body.pop("status"), body.pop("code")) == ("about:blank", status, code)
    assert answer.status == status
    return body


def test_every_error_that_a_handler_can_return_is_tested() -> None:
    assert set(CAUSES) | NEVER_RETURNED == set(problems.STATUS)


@pytest.mark.parametrize("error", CAUSES, ids=lambda error: error.__name__)
def test_an_error_is_returned_as_problem_details_with_its_status_and_code(
    ready: Api, monkeypatch: pytest.MonkeyPatch, error: type[BillingError]
) -> None:
    status = problems.STATUS[error]
    answer = CAUSES[error](ready, monkeypatch)
    rest = check_problem(answer, status.value, error.code)
    assert set(rest) == ({"errors"} if error in (errors.ValidationFailed, errors.EventIdConflict) else set())
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert answer.headers.get("Retry-After") == ("1" if status == 503 else None)


@dataclass
class Failure:
    module: Any
    function: str
    request: Callable[[Api], Answer]


# A function that each handler calls for every request.
FAILURES = {
    "record_usage": Failure(intake, "ingest", lambda api: api.record()),
    "record_batch": Failure(intake, "ingest", lambda api: api.post("/api/usage/batch", {"events": [
        {"userId": "user-1", "subscriptionId": "sub-1", "usageType": "report", "quantity": 1}]})),
    "get_openapi": Failure(get_openapi, "_text", lambda api: api.get("/openapi.json")),
    "get_index": Failure(get_index, "_index", lambda api: api.get("/")),
    "get_docs": Failure(get_docs, "_page", lambda api: api.get("/docs")),
    "get_user_usage": Failure(subscription_store, "subscriptions_of", lambda api: api.get("/api/usage/user/user-1")),
    "get_subscription_usage": Failure(ledger_store, "heads", lambda api: api.get("/api/usage/subscription/sub-1")),
    "list_usage_records": Failure(ledger_store, "heads", lambda api: api.get("/api/usage/subscription/sub-1/records")),
    "get_usage_record": Failure(ledger_store, "entry", lambda api: api.get("/api/usage/subscription/sub-1/records/e1")),
    "list_dead_events": Failure(dead_event_store, "_query", lambda api: api.get(
        "/api/usage/dead-events", headers=bearer(*ADMIN))),
    "redrive_events": Failure(redriving, "select", lambda api: api.post(
        "/api/usage/dead-events/redrive", {"code": "undelivered"}, headers=bearer(*ADMIN))),
    "drop_events": Failure(redriving, "select", lambda api: api.post(
        "/api/usage/dead-events/drop", {"code": "undelivered"}, headers=bearer(*ADMIN))),
    "process_billing": Failure(runner, "ThreadPoolExecutor", lambda api: api.bill()),
    "get_billing_run": Failure(run_report_store, "report", lambda api: api.get("/api/billing/runs/nothing")),
    "list_billing_runs": Failure(run_report_store, "newest", lambda api: api.get("/api/billing/runs")),
    "get_quota": Failure(quota_store, "quota", lambda api: api.get("/api/usage/quotas/business/assessment")),
    "list_quotas": Failure(quota_store, "quotas", lambda api: api.get("/api/usage/quotas/business")),
    "put_quota": Failure(quota_store, "save_version", lambda api: api.put("/api/usage/quotas/business/report", {
        "monthlyLimit": 1, "unitPrice": 1, "unitName": "u"})),
    "list_quota_versions": Failure(quota_store, "versions", lambda api: api.get(
        "/api/usage/quotas/business/assessment/versions")),
    "delete_quota_version": Failure(quota_store, "delete_version", lambda api: api.delete(
        "/api/usage/quotas/business/assessment/versions/2199-01-01T00:00:00Z")),
    "list_plans": Failure(quota_store, "plans", lambda api: api.get("/api/plans")),
    "preview_quota": Failure(PreviewedCharges, "of", lambda api: api.post("/api/usage/quotas/preview", {
        "quota": quota_body(), "quantities": [60]})),
    "get_subscription": Failure(subscription_store, "subscription", lambda api: api.get("/api/subscriptions/sub-1")),
    "put_subscription": Failure(subscription_store, "save_subscription", lambda api: api.subscribe()),
    "get_invoice": Failure(invoice_store, "invoice", lambda api: api.get("/api/invoices/nothing")),
    "list_invoice_items": Failure(invoice_store, "invoice", lambda api: api.get("/api/invoices/nothing/items")),
    "list_invoices": Failure(invoice_store, "invoices", lambda api: api.get("/api/invoices", query={
        "subscriptionId": "sub-1"})),
}  # fmt: skip


def test_every_handler_is_tested_with_an_unexpected_failure() -> None:
    from tests.api import routes

    assert set(FAILURES) == set(routes().values())


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), AssertionError(SECRET)], ids=repr)
def test_an_unexpected_failure_is_500_without_details(
    ready: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Failure, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(failure.module, failure.function, fail)
    assert check_problem(failure.request(ready), 500, "internal_error") == {}
    assert SECRET in caplog.text, "the log shows it"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(EndpointConnectionError(endpoint_url=SECRET), id="connection failed"),
        pytest.param(ClientError({"Error": {"Code": "Throttling", "Message": SECRET}}, "Query"), id="throttled"),
    ],
)
def test_a_database_that_does_not_answer_is_503_with_retry_after(
    ready: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ledger_store, "heads", fail)
    answer = ready.get("/api/usage/subscription/sub-1")
    assert check_problem(answer, 503, "database_unavailable") == {}
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        pytest.param(500, "InternalServerError", 503, id="DynamoDB failed"),
        pytest.param(503, "ServiceUnavailable", 503, id="DynamoDB is unavailable"),
        pytest.param(400, "ProvisionedThroughputExceededException", 503, id="throughput exceeded"),
        pytest.param(400, "RequestLimitExceeded", 503, id="account limit exceeded"),
        pytest.param(400, "ValidationException", 500, id="an invalid request, which a retry would not fix"),
    ],
)
@pytest.mark.parametrize("write", [False, True], ids=["read", "transaction"])
def test_error_messages_of_dynamodb_are_not_passed_on(
    ready: Api, monkeypatch: pytest.MonkeyPatch, *, status: int, code: str, expected: int, write: bool
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    if write:
        monkeypatch.setattr(ledger_store, "head", lambda _: None)
        monkeypatch.setattr(quota_store, "version_for", lambda *_: None)
    make_dynamodb_fail(status, code)
    answer = ready.record()
    check_problem(answer, expected, "database_unavailable" if expected == 503 else "internal_error")


def test_a_failed_request_does_not_affect_the_next(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(subscription_store, "subscription", lambda _: 1 / 0)
        assert ready.get("/api/subscriptions/sub-1").status == 500
    assert ready.get("/api/subscriptions/sub-1").status == 200
    assert ready.get("/api/subscriptions/sub-1", headers={}).status == 401
    assert ready.get("/api/subscriptions/sub-1", headers={"authorization": f"Bearer {token()}"}).status == 403


@pytest.mark.parametrize(
    "path", ["/", "/api/usage/records", "/api/usage/record/", "/api/usage/subscription/a/b", "/api/usage/record%00"]
)
def test_an_unknown_path_is_404(ready: Api, path: str) -> None:
    check_problem(ready.post("/api/usage/record", {}, raw_path=path), 404, "not_found")


def test_an_unknown_method_is_404(ready: Api) -> None:
    answer = ready("DELETE", "/api/usage/record", as_="POST")
    check_problem(answer, 404, "not_found")
