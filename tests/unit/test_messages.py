"""The messages of the usage queue."""

from datetime import UTC, datetime

import pytest

from tests.builders import NOW, make_event
from usage_billing.kernel.exact_json import dumps
from usage_billing.usage import messages
from usage_billing.usage.messages import VERSION, body_of, event_json, events_in

EVENT = make_event(
    "customer:a",
    "2.5",
    usage_type="report",
    occurred_at=datetime(2026, 11, 20, 11, tzinfo=UTC),
    metadata={"page": "é"},
    accepted_at=NOW,
    reported_at=datetime(2026, 11, 20, 11, 30, tzinfo=UTC),
)


def test_a_message_reads_back_the_events_that_were_written() -> None:
    assert events_in(body_of([event_json(EVENT, NOW), event_json(EVENT, NOW)])) == [EVENT, EVENT]


def test_an_event_that_was_not_queued_before_is_accepted_now() -> None:
    plain = make_event("a")
    [event] = events_in(body_of([event_json(plain, NOW)]))
    assert event == make_event("a", accepted_at=NOW)


def test_a_message_without_a_version_is_read_as_well() -> None:
    body = (
        '{"events":[{"eventId":"customer:a","userId":"user-1","subscriptionId":"sub-1","usageType":"report",'
        '"quantity":2.5,"occurredAt":"2026-11-20T11:00:00Z","reportedAt":"2026-11-20T11:30:00Z",'
        '"metadata":{"page":"\\u00e9"},"acceptedAt":"2026-11-20T12:00:00Z"}]}'
    )
    assert events_in(body) == [EVENT]


def test_a_message_is_ascii() -> None:
    assert body_of([event_json(EVENT, NOW)]).isascii()


def test_a_message_of_the_first_version_is_written_without_it() -> None:
    assert body_of([]) == '{"events":[]}'
    assert events_in(f'{{"version":{VERSION},"events":[]}}') == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param("{", "not JSON", id="not JSON"),
        pytest.param('{"version":2,"events":[]}', "version: literal_error", id="a later version"),
        pytest.param('{"events":[{}]}', "events.0.eventId: missing; events.0.userId: missing", id="not an event"),
        pytest.param('{"events":[],"secret":1}', "the message: extra_forbidden", id="an unknown field is not named"),
        pytest.param('{"events":' + "[" * 5000 + "]" * 5000 + "}", "not JSON", id="JSON nested too deeply"),
    ],
)
def test_an_invalid_message_is_refused_with_a_reason_that_reveals_no_content(body: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared below
        events_in(body)
    assert str(refused.value).startswith(reason)


def test_a_message_nested_too_deeply_for_validation_is_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(messages._Message, "model_validate", too_deep)
    with pytest.raises(ValueError, match=r"^nested too deeply$"):
        events_in('{"events":[]}')


@pytest.mark.parametrize(
    ("events", "rest"),
    [
        pytest.param([{}], "; and 1 more", id="six errors: five are named"),
        pytest.param([{"userId": "user-1"}], "", id="five errors"),
        pytest.param([{}, {}], "; and 7 more", id="twelve errors"),
    ],
)
def test_only_the_first_five_errors_are_named(events: list[dict[str, str]], rest: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared below
        events_in(dumps({"events": events}))
    text = str(refused.value)
    assert text.count(": missing") == 5
    assert text.endswith(f": missing{rest}")


def test_an_unknown_field_is_reported_with_the_index_of_its_event() -> None:
    fields = event_json(EVENT, NOW)
    with pytest.raises(ValueError, match=r"^events\.0: extra_forbidden$"):
        events_in(f'{{"events":[{fields[:-1]},"secret":1}}]}}')
