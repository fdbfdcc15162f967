"""The queue of usage events in the deployed stack: its poller, its consumer, its dead letters, and the way back."""

import json
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import httpx

from scripts.local_cloud import LocalCloud
from tests.e2e.test_stack import client, eventually, record, subscription, usage
from tests.template import ROOT

__all__ = ["subscription"]

ASYNC = {"prefer": "respond-async"}


def event(subscription: str, name: str, quantity: int = 1) -> dict[str, Any]:
    return {
        "eventId": name,
        "userId": f"user-of-{subscription}",
        "subscriptionId": subscription,
        "usageType": "assessment",
        "quantity": quantity,
    }


def used(http: httpx.Client, subscription: str) -> int:
    return usage(http, subscription)["used"]


def test_a_batch_over_http(http: httpx.Client, subscription: str) -> None:
    events = [event(subscription, f"e{number}") for number in range(120)]
    answer = http.post("/api/usage/batch", json={"events": [*events, events[0], event(subscription, "x", -1)]})
    assert answer.status_code == 200
    assert answer.json()["totals"] == {"recorded": 120, "replayed": 1, "queued": 0, "rejected": 1}
    assert usage(http, subscription)["billableQuantity"] == 70


def test_events_that_prefer_it_wait_and_are_recorded_once(http: httpx.Client, subscription: str) -> None:
    body = {"events": [event(subscription, f"e{number}") for number in range(200)]}
    answer = http.post("/api/usage/batch", json=body, headers=ASYNC)
    assert (answer.status_code, answer.json()["totals"]["queued"]) == (202, 200)
    single = http.post("/api/usage/record", json=event(subscription, "alone"), headers=ASYNC)
    assert (single.status_code, single.json()) == (202, {"queued": True, "eventId": "alone"})
    assert http.post("/api/usage/batch", json=body, headers=ASYNC).status_code == 202
    eventually(lambda: used(http, subscription) == 201)
    assert record(http, subscription, "e7", 1).status_code == 200


def test_a_dead_event_says_why_and_comes_back(http: httpx.Client, local_cloud: LocalCloud, subscription: str) -> None:
    late = f"late-{subscription}"
    of_late = ("--subscription", late)
    for name, quantity in (("e1", 3), ("e2", 4)):
        assert http.post("/api/usage/record", json=event(late, name, quantity), headers=ASYNC).status_code == 202
    eventually(lambda: "2 dead events: 2 subscription_not_found" in dead_events(local_cloud, *of_late))
    assert "1 dead events dropped" in dead_events(local_cloud, "drop", *of_late, "--event", "e2")
    http.put(f"/api/subscriptions/{late}", json={"userId": f"user-of-{late}", "planId": "business"})
    lookup = f"/api/usage/subscription/{late}/records/e1"
    assert http.get(lookup).json()["code"] == "subscription_not_found"
    assert "1 dead events redriven" in dead_events(local_cloud, "redrive", *of_late)
    eventually(lambda: used(http, late) == 3)
    assert http.get(lookup).json()["status"] == "recorded"
    assert "0 dead events" in dead_events(local_cloud, *of_late)


def test_what_sqs_moves_aside_is_kept_as_a_dead_event(local_cloud: LocalCloud, subscription: str) -> None:
    queues = client(local_cloud, "sqs")
    outputs = client(local_cloud, "cloudformation").describe_stacks(StackName=local_cloud.stack()["stackName"])
    urls = {each["OutputKey"]: each["OutputValue"] for each in outputs["Stacks"][0]["Outputs"]}
    undelivered = json.dumps({"events": [event(subscription, "e1") | {"acceptedAt": "2026-11-20T12:00:00Z"}]})
    queues.send_message(QueueUrl=urls["UsageDeadLetterQueueUrl"], MessageBody=undelivered)
    eventually(lambda: "1 undelivered" in dead_events(local_cloud, "--subscription", subscription))


def test_an_event_id_of_any_characters_is_found(http: httpx.Client, subscription: str) -> None:
    for name in ("a/b", "https://host/path#x", "50%25", '"<>[]{}|^`', "a:b~c"):
        assert record(http, subscription, name, 1).status_code == 201
        answer = http.get(f"/api/usage/subscription/{subscription}/records/{quote(name, safe='')}")
        assert (answer.status_code, answer.json().get("eventId")) == (200, name)
    assert record(http, subscription, "a?b", 1).status_code == 201
    twice = quote(quote("a?b", safe=""), safe="")
    assert http.get(f"/api/usage/subscription/{subscription}/records/{twice}").json()["eventId"] == "a?b"


def dead_events(cloud: LocalCloud, *arguments: str) -> str:
    """What `make dead-events` prints, for the tests' own cloud."""
    stack = cloud.stack()
    environment = cloud.environment() | {"API_URL": stack["apiUrl"], "TEST_AUTH_TOKEN": stack["adminToken"]}
    command = [sys.executable, "-m", "scripts.dead_events", *arguments]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
