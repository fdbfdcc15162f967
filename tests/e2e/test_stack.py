"""The deployed stack: one billing month over HTTP, the schedule, and a resumed run."""

import json
import time
from typing import Any
from uuid import uuid4

import httpx
import jwt

from scripts.local_cloud import LocalCloud
from tests.e2e.stack import aws_client, eventually, outputs, record, usage


def test_usage_beyond_the_quota_is_recorded_once_billed_once_and_itemized(
    http: httpx.Client, subscription: str
) -> None:
    assert record(http, subscription, "e1", 48).json()["quota"]["remaining"] == 2
    over = record(http, subscription, "e2", 7)
    assert (over.status_code, over.json()["billableQuantity"], over.json()["quota"]["exceeded"]) == (201, 5, True)
    replay = record(http, subscription, "e2", 7)
    assert (replay.status_code, replay.json()) == (200, over.json())
    assert record(http, subscription, "e2", 8).json()["code"] == "event_id_conflict"

    scope = {"subscriptionId": subscription}
    run = http.post("/api/usage/process-billing", json=scope).json()
    assert (run["status"], run["itemsCreated"], run["totals"]) == ("completed", 1, {"USD": "50.00"})
    again = http.post("/api/usage/process-billing", json=scope).json()
    assert (again["ledgersSettled"], again["itemsCreated"], again["totals"]) == (0, 0, {})
    record(http, subscription, "e3", 0.5)
    third = http.post("/api/usage/process-billing", json=scope).json()
    assert third["totals"] == {"USD": "5.00"}

    of_type = usage(http, subscription)
    assert (of_type["used"], of_type["charge"], of_type["billedQuantity"]) == (55.5, "55.00", 5.5)
    [invoice] = http.get("/api/invoices", params=scope).json()["invoices"]
    whole = http.get(f"/api/invoices/{invoice['invoiceId']}").json()
    assert {name: value for name, value in whole.items() if name != "lines"} == invoice
    assert [(line["quantity"], line["amount"], line["itemCount"]) for line in whole["lines"]] == [(5.5, "55.00", 2)]
    charged = http.get(f"/api/invoices/{invoice['invoiceId']}/items").json()["items"]
    assert (invoice["total"], [item["amount"] for item in charged]) == ("55.00", ["50.00", "5.00"])
    entries = http.get(f"/api/usage/subscription/{subscription}/records").json()["records"]
    items = [item["itemId"] for item in charged]
    assert [entry["invoiceItemId"] for entry in entries] == [items[0], items[0], items[1]]
    of_user = http.get(f"/api/usage/user/user-of-{subscription}").json()
    assert [each["subscriptionId"] for each in of_user["subscriptions"]] == [subscription]


def test_users_read_their_own_usage_and_no_one_elses(
    http: httpx.Client, stack: dict[str, Any], subscription: str
) -> None:
    def token(sub: str) -> dict[str, str]:
        issued = stack["jwt"]
        claims = {"sub": sub, "iss": issued["issuer"], "aud": issued["audience"], "exp": int(time.time()) + 60}
        return {"authorization": f"Bearer {jwt.encode(claims, issued['secret'], algorithm='HS256')}"}

    def status(headers: dict[str, str]) -> int:
        url = f"{stack['apiUrl']}/api/usage/subscription/{subscription}"
        return httpx.get(url, headers=headers, trust_env=False, timeout=60).status_code

    assert status(token(f"user-of-{subscription}")) == 200
    assert status(token("user-of-another")) == 403
    assert status({}) == 401
    assert status({"x-api-key": "wrong"}) == 401
    assert status({"authorization": f"Bearer {stack['adminToken']}"}) == 200


def test_the_event_of_the_schedule_starts_a_billing_run(
    http: httpx.Client, local_cloud: LocalCloud, subscription: str
) -> None:
    """The event is sent as EventBridge sends it, to the target of the stack's only rule."""
    events = aws_client(local_cloud, "events")
    [rule] = [each for each in events.list_rules()["Rules"] if each.get("ScheduleExpression")]
    assert rule["ScheduleExpression"] == "cron(0 0 * * ? *)"
    [target] = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    record(http, subscription, "e1", 51)
    event_id = str(uuid4())
    event = {
        "version": "0",
        "id": event_id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": "2026-11-20T00:00:00Z",
        "region": "us-east-1",
        "resources": [rule["Arn"]],
        "detail": {},
    }
    answer = aws_client(local_cloud, "lambda").invoke(FunctionName=target["Arn"], Payload=json.dumps(event).encode())
    assert "FunctionError" not in answer, answer["Payload"].read()
    assert usage(http, subscription)["billedQuantity"] == 1
    run_id = event_id.replace("-", "")
    found = http.get(f"/api/billing/runs/{run_id}").json()
    assert (found["status"], found["failures"], found["subscriptionId"]) == ("completed", 0, None)
    assert found["itemsCreated"] >= 1
    assert run_id in [run["runId"] for run in http.get("/api/billing/runs", params={"limit": 100}).json()["runs"]]


def test_the_schedule_starts_a_billing_run_by_itself(
    http: httpx.Client, local_cloud: LocalCloud, subscription: str
) -> None:
    events = aws_client(local_cloud, "events")
    [rule] = [each for each in events.list_rules()["Rules"] if each.get("ScheduleExpression")]
    record(http, subscription, "e1", 53)
    events.put_rule(Name=rule["Name"], ScheduleExpression="rate(1 minute)")
    try:
        eventually(lambda: usage(http, subscription)["billedQuantity"] == 3, seconds=100)
    finally:
        events.put_rule(Name=rule["Name"], ScheduleExpression=rule["ScheduleExpression"])


def test_a_run_segment_in_the_billing_queue_is_resumed(
    http: httpx.Client, local_cloud: LocalCloud, subscription: str
) -> None:
    record(http, subscription, "e1", 52)
    segment = {"runId": "resumed", "subscriptionId": subscription}
    url = outputs(local_cloud)["BillingQueueUrl"]
    aws_client(local_cloud, "sqs").send_message(QueueUrl=url, MessageBody=json.dumps(segment))
    eventually(lambda: usage(http, subscription)["billedQuantity"] == 2)
    [invoice] = http.get("/api/invoices", params={"subscriptionId": subscription}).json()["invoices"]
    [item] = http.get(f"/api/invoices/{invoice['invoiceId']}/items").json()["items"]
    assert item["runId"] == "resumed"
    eventually(lambda: http.get("/api/billing/runs/resumed").json().get("status") == "completed")
    assert http.get("/api/billing/runs/resumed").json()["itemsCreated"] == 1
