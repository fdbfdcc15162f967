"""Calls to the deployed stack: over HTTP, and with clients of its AWS services."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from scripts.local_cloud import LocalCloud
from tests.builders import event_body


def body_of(subscription: str, event_id: str, quantity: float = 1) -> dict[str, Any]:
    """The JSON of an event of `subscription`, which belongs to the user of the fixture `subscription`."""
    return event_body(event_id, quantity, userId=f"user-of-{subscription}", subscriptionId=subscription)


def record(http: httpx.Client, subscription: str, event_id: str, quantity: float) -> httpx.Response:
    return http.post("/api/usage/record", json=body_of(subscription, event_id, quantity))


def usage(http: httpx.Client, subscription: str) -> dict[str, Any]:
    """The usage of the type `assessment` in the current period."""
    found: list[dict[str, Any]] = http.get(f"/api/usage/subscription/{subscription}").json()["usage"]
    [of_type] = [each for each in found if each["usageType"] == "assessment"]
    return of_type


def aws_client(cloud: LocalCloud, service: str) -> Any:
    session: Any = cloud.session  # the overloads of its stubs take literal service names only
    return session.client(service, endpoint_url=cloud.url)


def outputs(cloud: LocalCloud) -> dict[str, str]:
    """The outputs of the deployed stack."""
    [stack] = aws_client(cloud, "cloudformation").describe_stacks(StackName=cloud.stack()["stackName"])["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


def processed_template(cloud: LocalCloud) -> dict[str, Any]:
    """The template of the deployed stack after SAM's transform."""
    name = cloud.stack()["stackName"]
    answer = aws_client(cloud, "cloudformation").get_template(StackName=name, TemplateStage="Processed")
    template: dict[str, Any] = answer["TemplateBody"]
    return template


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until `condition` holds. Fail if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not met within {seconds} seconds"
        time.sleep(0.3)
