"""The messages of the event queue."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from usage_billing.kernel.exact_json import dumps
from usage_billing.usage import messages
from usage_billing.usage.events import UsageEvent
from usage_billing.usage.messages import VERSION, body_of, event_json, events_in

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

EVENT = UsageEvent(
    event_id="customer:a",
    user_id="user-1",
    subscription_id="sub-1",
    usage_type="report",
    quantity=Decimal("2.5"),
    occurred_at=datetime(2026, 11, 20, 11, tzinfo=UTC),
    metadata={"page": "é"},
    accepted_at=NOW,
    reported_at=datetime(2026, 11, 20, 11, 30, tzinfo=UTC),
)


def test_what_is_written_reads_the_same() -> None:
    assert events_in(body_of([event_json(EVENT, NOW), event_json(EVENT, NOW)])) == [EVENT, EVENT]


def test_an_event_that_comes_straight_from_its_caller_is_accepted_now() -> None:
    plain = UsageEvent("a", "user-1", "sub-1", "report", Decimal(1))
    [event] = events_in(body_of([event_json(plain, NOW)]))
    assert event == UsageEvent("a", "user-1", "sub-1", "report", Decimal(1), accepted_at=NOW)


def test_a_message_from_before_there_were_versions_still_reads() -> None:
    body = (
        '{"events":[{"eventId":"customer:a","userId":"user-1","subscriptionId":"sub-1","usageType":"report",'
        '"quantity":2.5,"occurredAt":"2026-11-20T11:00:00Z","reportedAt":"2026-11-20T11:30:00Z",'
        '"metadata":{"page":"\\u00e9"},"acceptedAt":"2026-11-20T12:00:00Z"}]}'
    )
    assert events_in(body) == [EVENT]


def test_a_message_is_ascii() -> None:
    assert body_of([event_json(EVENT, NOW)]).isascii()


def test_a_message_says_its_version() -> None:
    assert body_of([]) == f'{{"version":{VERSION},"events":[]}}'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param("{", "not JSON", id="no JSON"),
        pytest.param('{"version":2,"events":[]}', "version: literal_error", id="a later version"),
        pytest.param('{"events":[{}]}', "events.0.eventId: missing; events.0.userId: missing", id="no event"),
        pytest.param('{"events":[],"secret":1}', "the message: extra_forbidden", id="an unknown field is not named"),
        pytest.param('{"events":' + "[" * 5000 + "]" * 5000 + "}", "not JSON", id="nested beyond what is JSON here"),
    ],
)
def test_what_is_no_message_says_why_without_its_content(body: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared below
        events_in(body)
    assert str(refused.value).startswith(reason)


def test_a_message_that_is_nested_deeper_than_its_fields_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(messages._Message, "model_validate", too_deep)
    with pytest.raises(ValueError, match=r"^nested too deeply$"):
        events_in('{"events":[]}')


@pytest.mark.parametrize(
    ("events", "told"),
    [
        pytest.param([{}], "; and 1 more", id="six faults: five are named"),
        pytest.param([{"userId": "user-1"}], "", id="five faults"),
        pytest.param([{}, {}], "; and 7 more", id="twelve faults"),
    ],
)
def test_of_many_faults_the_first_five_are_named(events: list[dict[str, str]], told: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared below
        events_in(dumps({"events": events}))
    text = str(refused.value)
    assert text.count(": missing") == 5
    assert text.endswith(f": missing{told}")


def test_an_unknown_field_of_an_event_is_told_by_its_event() -> None:
    fields = event_json(EVENT, NOW)
    with pytest.raises(ValueError, match=r"^events\.0: extra_forbidden$"):
        events_in(f'{{"events":[{fields[:-1]},"secret":1}}]}}')
