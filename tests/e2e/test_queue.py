"""The queue of usage events in the deployed stack: its poller, its consumer, its dead letters, and the way back."""

import subprocess
import sys
from typing import Any

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
    queues = client(local_cloud, "sqs")
    outputs = client(local_cloud, "cloudformation").describe_stacks(StackName=local_cloud.stack()["stackName"])
    urls = {each["OutputKey"]: each["OutputValue"] for each in outputs["Stacks"][0]["Outputs"]}
    late = f"late-{subscription}"
    body = event(late, "e1", 3)
    assert http.post("/api/usage/record", json=body, headers=ASYNC).status_code == 202

    def dead() -> int:
        names = ["ApproximateNumberOfMessages"]
        found = queues.get_queue_attributes(QueueUrl=urls["UsageDeadLetterQueueUrl"], AttributeNames=names)
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    eventually(lambda: dead() == 1)
    assert "1 messages dead: 1 subscription_not_found" in redrive(local_cloud, "--list")
    http.put(f"/api/subscriptions/{late}", json={"userId": f"user-of-{late}", "planId": "business"})
    assert "1 messages sent back" in redrive(local_cloud)
    eventually(lambda: used(http, late) == 3)
    assert "0 messages dead" in redrive(local_cloud, "--list")


def redrive(cloud: LocalCloud, *arguments: str) -> str:
    """What `make redrive` prints, for the tests' own cloud."""
    command = [sys.executable, "-m", "scripts.redrive", "--stack", cloud.stack()["stackName"], *arguments]
    ran = subprocess.run(command, env=cloud.environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
