"""The messages of the usage queue: text stays unchanged, and rejected events are never reported as queued."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests import ledgers
from tests.api import Api
from tests.batches import send_batch
from tests.builders import event_body
from tests.queue import ASYNC, consume, take_messages
from usage_billing.platform import queues
from usage_billing.usage import event_queue

LONG = {"text": "x" * 1900}


class Rejections:
    """Makes SQS reject some entries of its calls."""

    def __init__(self, rejects: Callable[[int, int], bool]) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self._refuses = rejects

    def before(self, params: dict[str, Any], **_: Any) -> None:
        entries, number = params["Entries"], len(self.calls)
        self.calls.append(entries)
        params["Entries"] = [each for place, each in enumerate(entries) if not self._refuses(number, place)]

    def after(self, parsed: dict[str, Any], **_: Any) -> None:
        number = len(self.calls) - 1
        parsed["Failed"] = [
            {"Id": each["Id"], "Code": "InternalError", "SenderFault": False}
            for place, each in enumerate(self.calls[-1])
            if self._refuses(number, place)
        ]


@contextmanager
def rejecting(rejects: Callable[[int, int], bool] = lambda call, place: False) -> Iterator[Rejections]:
    """Reject the entries for which `rejects` is true, given the number of the call and the place in it, both from 0."""
    refusals, events = Rejections(rejects), queues.client().meta.events
    hooks: dict[str, Callable[..., None]] = {"before-parameter-build": refusals.before, "after-call": refusals.after}
    for name, hook in hooks.items():
        events.register(f"{name}.sqs.SendMessageBatch", hook)
    try:
        yield refusals
    finally:
        for name, hook in hooks.items():
            events.unregister(f"{name}.sqs.SendMessageBatch", hook)


def queued_ids() -> set[str]:
    """Take all messages out of the queue and return the ids of their events."""
    return {each["eventId"] for message in take_messages() for each in json.loads(message["Body"])["events"]}


@pytest.mark.parametrize(
    "rejects",
    [
        pytest.param(lambda call, place: place == 0, id="the first of each call"),
        pytest.param(lambda call, place: place in (1, 4), id="some in the middle"),
        pytest.param(lambda call, place: call == 1 and place == 1, id="one of the second call"),
    ],
)
@pytest.mark.parametrize(
    ("count", "metadata"),
    [pytest.param(500, None, id="one call"), pytest.param(300, LONG, id="several calls")],
)
def test_exactly_the_events_in_the_queue_are_reported_as_queued(
    ready: Api, monkeypatch: pytest.MonkeyPatch, rejects: Callable[[int, int], bool], count: int, metadata: Any
) -> None:
    monkeypatch.setattr(event_queue, "MAX_EVENTS", 30)
    batch = [event_body(f"e{number}", metadata=metadata) for number in range(count)]
    with rejecting(rejects) as refusals:
        answer = send_batch(ready, *batch, headers=ASYNC)
    assert len(refusals.calls) > 1
    results = answer.json["results"]
    assert {each["eventId"] for each in results if each["status"] == "queued"} == queued_ids()
    others = [each for each in results if each["status"] != "queued"]
    assert others
    assert {(each["status"], each["problem"]["status"], each["problem"]["code"]) for each in others} == {
        ("rejected", 503, "queue_unavailable")
    }


def test_a_single_event_that_the_queue_rejects_is_503(ready: Api) -> None:
    client = queues.client()

    def refuse(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Failed"] = [{"Id": each["Id"], "Code": "X", "SenderFault": False} for each in parsed.pop("Successful")]

    client.meta.events.register("after-call.sqs.SendMessageBatch", refuse)
    answer = ready.record("a", headers=ASYNC)
    assert (answer.status, answer.code) == (503, "queue_unavailable")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\uffff\ufffe", id="noncharacters"),
        pytest.param("使用量の記録", id="CJK"),
        pytest.param("🧾👩‍🔬", id="emoji"),
        pytest.param("\u0000\u001f\u2028", id="control characters"),
    ],
)
def test_any_text_passes_through_the_queue_unchanged(ready: Api, text: str) -> None:
    metadata = {text: [text, {"n": 1}]}
    assert ready.record("a", metadata=metadata, headers=ASYNC).status == 202
    [message] = take_messages()
    assert message["Body"].isascii()
    assert consume([message]) == []
    [ledger] = ledgers.check()
    assert json.loads(ledger.entries[0]["metadata"]) == metadata
    assert ready.record("a", metadata=metadata).status == 200


@pytest.mark.parametrize("character", ["x", "ä", "検", "🧾", "\uffff"])
def test_no_call_exceeds_the_size_limit_of_sqs(ready: Api, character: str) -> None:
    metadata = {"text": character * (1900 // len(character.encode()))}
    batch = {"events": [event_body(f"e{number}", metadata=metadata) for number in range(300)]}
    raw = json.dumps(batch, ensure_ascii=False).encode()
    with rejecting() as calls:
        answer = ready.post("/api/usage/batch", raw=raw, headers=ASYNC)
    assert answer.json["totals"]["queued"] == 300
    sizes = [sum(len(each["MessageBody"].encode()) for each in call) for call in calls.calls]
    assert max(sizes) <= 256 * 1024
    assert len(queued_ids()) == 300
