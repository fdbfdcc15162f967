"""The usage queue of the deployed stack: its consumer, dead events, redriving and the dead-letter queue."""

import json
import subprocess
import sys
from urllib.parse import quote

import httpx

from scripts.local_cloud import LocalCloud
from tests.e2e.stack import aws_client, body_of, eventually, outputs, record, usage
from tests.template import ROOT

ASYNC = {"prefer": "respond-async"}


def used(http: httpx.Client, subscription: str) -> int:
    quantity: int = usage(http, subscription)["used"]
    return quantity


def test_a_batch_reports_how_many_events_were_recorded_replayed_and_rejected(
    http: httpx.Client, subscription: str
) -> None:
    events = [body_of(subscription, f"e{number}") for number in range(120)]
    answer = http.post("/api/usage/batch", json={"events": [*events, events[0], body_of(subscription, "x", -1)]})
    assert answer.status_code == 200
    assert answer.json()["totals"] == {"recorded": 120, "replayed": 1, "queued": 0, "rejected": 1}
    assert usage(http, subscription)["billableQuantity"] == 70


def test_events_sent_to_the_queue_are_recorded_once(http: httpx.Client, subscription: str) -> None:
    body = {"events": [body_of(subscription, f"e{number}") for number in range(200)]}
    answer = http.post("/api/usage/batch", json=body, headers=ASYNC)
    assert (answer.status_code, answer.json()["totals"]["queued"]) == (202, 200)
    single = http.post("/api/usage/record", json=body_of(subscription, "alone"), headers=ASYNC)
    assert (single.status_code, single.json()) == (202, {"queued": True, "eventId": "alone"})
    assert http.post("/api/usage/batch", json=body, headers=ASYNC).status_code == 202
    eventually(lambda: used(http, subscription) == 201)
    assert record(http, subscription, "e7", 1).status_code == 200


def test_a_dead_event_has_a_reason_and_can_be_redriven(
    http: httpx.Client, local_cloud: LocalCloud, subscription: str
) -> None:
    late = f"late-{subscription}"
    selection = ("--subscription", late)
    for name, quantity in (("e1", 3), ("e2", 4)):
        assert http.post("/api/usage/record", json=body_of(late, name, quantity), headers=ASYNC).status_code == 202
    eventually(lambda: "2 dead events: 2 subscription_not_found" in dead_events(local_cloud, *selection))
    assert "1 dead events dropped" in dead_events(local_cloud, "drop", *selection, "--event", "e2")
    http.put(f"/api/subscriptions/{late}", json={"userId": f"user-of-{late}", "planId": "business"})
    lookup = f"/api/usage/subscription/{late}/records/e1"
    assert http.get(lookup).json()["code"] == "subscription_not_found"
    assert "1 dead events redriven" in dead_events(local_cloud, "redrive", *selection)
    eventually(lambda: used(http, late) == 3)
    assert http.get(lookup).json()["status"] == "recorded"
    assert "0 dead events" in dead_events(local_cloud, *selection)


def test_a_message_in_the_dead_letter_queue_becomes_a_dead_event(local_cloud: LocalCloud, subscription: str) -> None:
    undelivered = json.dumps({"events": [body_of(subscription, "e1") | {"acceptedAt": "2026-11-20T12:00:00Z"}]})
    url = outputs(local_cloud)["UsageDeadLetterQueueUrl"]
    aws_client(local_cloud, "sqs").send_message(QueueUrl=url, MessageBody=undelivered)
    eventually(lambda: "1 undelivered" in dead_events(local_cloud, "--subscription", subscription))


def test_an_event_is_found_by_an_id_with_special_characters(http: httpx.Client, subscription: str) -> None:
    for name in ("a/b", "https://host/path#x", "50%25", '"<>[]{}|^`', "a:b~c"):
        assert record(http, subscription, name, 1).status_code == 201
        answer = http.get(f"/api/usage/subscription/{subscription}/records/{quote(name, safe='')}")
        assert (answer.status_code, answer.json().get("eventId")) == (200, name)
    assert record(http, subscription, "a?b", 1).status_code == 201
    twice = quote(quote("a?b", safe=""), safe="")
    assert http.get(f"/api/usage/subscription/{subscription}/records/{twice}").json()["eventId"] == "a?b"


def dead_events(cloud: LocalCloud, *arguments: str) -> str:
    """The output of `make dead-events` against the cloud of the tests."""
    stack = cloud.stack()
    environment = cloud.environment() | {"API_URL": stack["apiUrl"], "TEST_AUTH_TOKEN": stack["adminToken"]}
    command = [sys.executable, "-m", "scripts.dead_events", *arguments]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
