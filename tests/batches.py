"""Sends batches of usage events and reads their results."""

from typing import Any

from tests.api import Answer, Api


def send_batch(api: Api, *events: Any, **kwargs: Any) -> Answer:
    return api.post("/api/usage/batch", {"events": list(events)}, **kwargs)


def statuses(answer: Answer) -> list[str]:
    """The status of each event, in the order sent."""
    return [result["status"] for result in answer.json["results"]]


def error_codes(answer: Answer) -> list[str | None]:
    """The error code of each event, in the order sent; None for an event without an error."""
    return [result["problem"] and result["problem"]["code"] for result in answer.json["results"]]
