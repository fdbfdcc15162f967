"""The permissions of each function: exactly the AWS calls that it makes, found by running all functions."""

import importlib
import os
import re
from collections import defaultdict
from typing import Any

import boto3
import pytest

from tests import queue
from tests.api import ADMIN, Api, Context, bearer
from tests.batches import send_batch
from tests.builders import event_body, quota_body
from tests.prices import LONG
from tests.queue import ASYNC, consume, queue_message, take_messages
from tests.runs import SCHEDULED, sqs_event, take_segments
from tests.template import functions, variables
from usage_billing.billing import runner
from usage_billing.billing.model import RunSegment
from usage_billing.plans import price_store
from usage_billing.platform import aws, secrets_manager
from usage_billing.usage import store as ledger_store

OPERATIONS = {
    "Delete": "dynamodb:DeleteItem",
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
    "SendMessageBatch": "sqs:SendMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
"""The IAM actions of the parts of a transaction, and of batch calls."""

OPERATORS_ONLY = ("/api/subscriptions/a", "/api/plans")
OTHERS = ["a", "b", "c"]
RESPOND_ASYNC = {"prefer": "respond-async"}


def _module(function: dict[str, Any]) -> str:
    return str(function["Properties"]["Handler"]).removesuffix(".handler")


def granted(function: dict[str, Any]) -> set[tuple[str, str]]:
    """The actions and resources that the template grants to a function."""
    found = set()
    for policy in function["Properties"].get("Policies", []):
        for statement in policy["Statement"]:
            for action in _list(statement["Action"]):
                found |= {(action, _resource(name)) for name in _list(statement["Resource"])}
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _resource(reference: dict[str, Any]) -> str:
    """The table, index, queue or secret that the template refers to by name, URL or ARN."""
    [value] = reference.values()
    text = ".".join(value) if isinstance(value, list) else str(value)
    return re.sub(r"[${}]|\w+\.Outputs\.|\.?(Arn|Name|Url|Id)\b", "", text)


class Permissions:
    """Records the AWS calls of each function while it runs."""

    def __init__(self) -> None:
        self.used: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self._running = ""
        named = ("TABLE", "QUEUE_URL", "SECRET_ID")
        self._names = {
            os.environ[variable]: _resource(reference)
            for variable, reference in variables().items()
            if variable.endswith(named)
        }
        aws._session().register("provide-client-params", self._note)

    def watch(self, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Clear the caches before each call of a function, and repeat each request as an administrator."""
        loaded = importlib.import_module(module)
        handler = loaded.handler

        def watched(event: dict[str, Any], context: Any) -> Any:
            self._running = module
            secrets_manager.vault().store.clear()
            price_store.cache.clear()
            answer = handler(event, context)
            if "headers" in event:
                others = {name: value for name, value in event["headers"].items() if name != "x-api-key"}
                handler(event | {"headers": others | bearer(*ADMIN)}, context)
            self._running = ""
            return answer

        monkeypatch.setattr(loaded, "handler", watched)

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        service, operation = model.service_model.service_name, model.name
        action = OPERATIONS.get(operation, f"{service}:{operation}")
        used = self.used[self._running]
        if operation == "TransactWriteItems":
            kinds = [(OPERATIONS[kind], part) for item in params["TransactItems"] for kind, part in item.items()]
            used |= {(kind, self._names[part["TableName"]]) for kind, part in kinds}
        elif operation == "BatchGetItem":
            used |= {(action, self._names[table]) for table in params["RequestItems"]}
        else:
            name = self._names[params.get("TableName") or params.get("QueueUrl") or params["SecretId"]]
            index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
            used.add((action, name + index))


@pytest.fixture
def permissions(aws: None, monkeypatch: pytest.MonkeyPatch) -> Permissions:
    monkeypatch.setenv("CUSTOMERS_MAY_RECORD", "true")
    permissions = Permissions()
    for function in functions().values():
        permissions.watch(_module(function), monkeypatch)
    monkeypatch.setattr(runner, "IN_FLIGHT", 1)
    return permissions


def test_each_function_is_granted_exactly_what_it_uses(
    permissions: Permissions, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    _record(api)
    _consume(api)
    _dead_letter(api)
    _bill(api, monkeypatch)
    _change_quotas(api)
    _read(api)
    may = {_module(function): granted(function) for function in functions().values()}
    does = {module: permissions.used[module] for module in may}
    assert {module: does[module] - may[module] for module in may if does[module] - may[module]} == {}, "not granted"
    assert {module: may[module] - does[module] for module in may if may[module] - does[module]} == {}, "never used"


def _record(api: Api) -> None:
    """Record into the ledger and into the queue, also as a customer, and repeat it after a cancellation."""
    long_price = quota_body(unitPrice=None, price=LONG.shown("USD").model_dump(by_alias=True))
    for usage_type in ("assessment", "batched", "queued"):
        assert api.put(f"/api/usage/quotas/business/{usage_type}", long_price).status == 200
    for name in ["sub-1", *OTHERS]:
        assert api.subscribe(name).status == 200
    assert api.record("first", 60).status == 201
    assert api.record("asked", headers=ASYNC).status == 202
    assert send_batch(api, event_body("second"), event_body("opens", usageType="batched")).status == 200
    assert send_batch(api, event_body("third"), headers=ASYNC).status == 202
    assert api.subscribe(status="canceled").status == 200
    assert api.record("first", 60).status == 200
    assert send_batch(api, event_body("second")).json["totals"]["replayed"] == 1
    assert api.record("unrated", usageType="unrated", subscriptionId="a").status == 201
    assert api.record("own", headers=bearer() | RESPOND_ASYNC, subscriptionId="a").status == 202
    assert send_batch(api, event_body("own", subscriptionId="a"), headers=bearer() | RESPOND_ASYNC).status == 202


def _consume(api: Api) -> None:
    """Consume new events, replays, events that cannot be recorded, and events that there is no time for."""
    for name in OTHERS:
        assert api.record(f"queued-{name}", 60, subscriptionId=name, headers=ASYNC).status == 202
    assert api.record("opens-too", usageType="queued", subscriptionId="a", headers=ASYNC).status == 202
    api.record("dead", subscriptionId="unheard-of", headers=ASYNC)
    assert consume(take_messages()) == []
    assert consume([queue_message("again", event_body("first", 60))]) == [], "recorded before sub-1 was canceled"
    api.record("late", subscriptionId="a", headers=ASYNC)
    late = boto3.client("sqs").receive_message(QueueUrl=os.environ["USAGE_QUEUE_URL"])["Messages"]
    assert len(consume(late, seconds=20)) == 1
    assert consume(late) == []


def _dead_letter(api: Api) -> None:
    """Dead-letter events of both queues. List, redrive and drop them by id and by code.

    Services may not do that (403), but each request is repeated as an administrator.
    """
    undelivered = [{"MessageId": "m", "Body": "{"}, queue_message("n", event_body("first", 60, subscriptionId="a"))]
    assert consume(undelivered, function="store_dead_letters") == []
    [dead] = api.get("/api/usage/dead-events", query={"code": "unreadable"}, headers=bearer(*ADMIN)).json["deadEvents"]
    for query in ({}, {"subscriptionId": "unheard-of"}):
        assert api.get("/api/usage/dead-events", query=query).status == 403
    for verb in ("redrive", "drop"):
        assert consume([{"MessageId": "m", "Body": "{"}], function="store_dead_letters") == []
        for choice in ({"ids": [dead["id"]]}, {"code": "subscription_not_found"}, {"subscriptionId": "unheard-of"}):
            assert api.post(f"/api/usage/dead-events/{verb}", choice).status == 403
    assert {row["code"] for row in queue.dead()} <= {"subscription_inactive", "undelivered"}


def _bill(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run billing without time, for one subscription, and with heads that cannot be read in one call."""
    run_billing = importlib.import_module("run_billing")
    run_billing.handler(SCHEDULED, Context(seconds=0))
    assert api.post("/api/usage/process-billing", seconds=0).json["status"] == "continues"
    of_one = RunSegment(run_id="run", subscription_id="a").model_dump_json()
    run_billing.handler(sqs_event(of_one, *take_segments()), Context())
    for name in OTHERS:
        api.record(f"more-{name}", subscriptionId=name)
    assert api.bill(subscriptionId="a").status == 200
    monkeypatch.setattr(ledger_store, "heads_of", lambda _: {})
    assert api.bill().json["ledgersUnrated"] == 1
    run_billing.handler(SCHEDULED, Context())


def _change_quotas(api: Api) -> None:
    """Plan a version of a quota, and delete it: at the first call it exists, and when it is repeated it is deleted."""
    planned = quota_body(monthlyLimit=1, effectiveFrom="2199-01-01T00:00:00Z")
    assert api.put("/api/usage/quotas/business/assessment", planned).status == 200
    assert api.delete("/api/usage/quotas/business/assessment/versions/2199-01-01T00:00:00Z").status == 200


def _read(api: Api) -> None:
    paths = ["/api/usage/user/user-1", "/api/usage/subscription/a", "/api/usage/subscription/a/records"]
    paths += ["/api/usage/quotas/business", "/api/usage/quotas/business/assessment", "/api/subscriptions/a"]
    paths += ["/api/usage/quotas/business/assessment/versions", "/api/plans"]
    paths += ["/api/usage/subscription/a/records/queued-a"]
    for path in paths:
        assert api.get(path).status == 200
        # For a user, the function also looks up the owner.
        assert api.get(path, headers=bearer()).status == (403 if path in OPERATORS_ONLY else 200)
    assert api.get("/api/usage/subscription/a/records/nothing").status == 404
    assert api.post("/api/usage/quotas/preview", {"quota": quota_body(), "quantities": [1]}).status == 200
    for run in api.get("/api/billing/runs").json["runs"]:
        assert api.get(f"/api/billing/runs/{run['runId']}").status == 200
    [invoice] = api.get("/api/invoices", query={"subscriptionId": "a"}).json["invoices"]
    for path in (f"/api/invoices/{invoice['invoiceId']}", f"/api/invoices/{invoice['invoiceId']}/items"):
        assert api.get(path).status == 200
