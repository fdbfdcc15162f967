"""`make dead-events`: its requests to the API and its output."""

import itertools
from typing import Any, Self

import pytest

from scripts import dead_events
from scripts.client import Response, Target


class FakeApi:
    """An API where each event is dead-lettered again as soon as it is redriven."""

    def __init__(self, dead: int) -> None:
        self.names = itertools.count()
        self.dead = [self.new() for _ in range(dead)]
        self.posted: list[dict[str, Any]] = []
        self.kept = 0
        self.unknown: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def new(self) -> dict[str, Any]:
        event = {"eventId": "e", "quantity": 1}
        times = {"deadAt": "2026-11-20T12:00:00Z", "lastDeadAt": "2026-11-20T13:00:00Z", "attempts": 2}
        return {"id": f"id-{next(self.names)}", "code": "ledger_busy", "detail": "Busy.", "event": event, **times}

    def get(self, path: str, **query: str) -> Response:
        assert path == "/api/usage/dead-events"
        start = int(query.pop("cursor", 0))
        page: dict[str, Any] = {"deadEvents": self.dead[start : start + 100]}
        self.asked = query
        return Response(200, page | ({"nextCursor": str(start + 100)} if len(self.dead) > start + 100 else {}), {})

    def post(self, path: str, body: dict[str, Any]) -> Response:
        self.posted.append(body)
        assert len(self.posted) < 50, "the command does not end"
        done = {"redrive": "redriven", "drop": "dropped"}[path.rpartition("/")[2]]
        done_count = len(set(body["ids"]) - self.unknown) if "ids" in body else 100
        self.dead += [self.new() for _ in range(done_count)]
        more = {"nextCursor": str(len(self.posted))} if "ids" not in body and len(self.posted) < 3 else {}
        return Response(200, {done: done_count, "kept": self.kept} | more, {})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi(250)
    monkeypatch.setattr(dead_events, "Client", lambda _: fake)
    monkeypatch.setattr(dead_events, "_target", lambda: Target("http://api.test", {}))
    return fake


def test_list_shows_all_pages_and_counts_dead_events_by_code(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert dead_events.main(["list", "--code", "ledger_busy", "--subscription", "sub-1", "--event", "e"]) == 0
    assert api.asked == {"code": "ledger_busy", "subscriptionId": "sub-1", "eventId": "e"}
    printed = capsys.readouterr().out
    assert "id id-249" in printed
    assert "dead-lettered 2 times, last 2026-11-20T13:00:00Z" in printed
    assert printed.endswith("250 dead events: 250 ledger_busy\n")
    assert dead_events.main([]) == 0


def test_redriving_a_selection_follows_the_cursor_to_the_end(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert dead_events.main(["redrive", "--code", "ledger_busy"]) == 0
    assert api.posted == [{"code": "ledger_busy"}, *({"code": "ledger_busy", "cursor": cursor} for cursor in "12")]
    assert capsys.readouterr().out == "300 dead events redriven\n"


def test_all_covers_the_dead_events_listed_at_first_and_none_that_come_later(api: FakeApi) -> None:
    assert dead_events.main(["redrive", "--all"]) == 0
    assert sorted(name for body in api.posted for name in body["ids"]) == sorted(f"id-{n}" for n in range(250))
    assert max(len(body["ids"]) for body in api.posted) == 100


def test_drop_all_sends_no_request_when_there_are_no_dead_events(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.dead = []
    assert dead_events.main(["drop", "--all"]) == 0
    assert (api.posted, capsys.readouterr().out) == ([], "0 dead events dropped\n")


def test_the_command_fails_if_events_are_kept(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.kept = 2
    assert dead_events.main(["drop", "id-1"]) == 1
    assert "2 are kept" in capsys.readouterr().err


def test_the_command_fails_if_an_id_does_not_exist(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.unknown = {"mistyped", "another"}
    assert dead_events.main(["drop", "id-1", "mistyped"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "1 dead events dropped\n"
    assert "1 of 2 ids" in printed.err
    assert dead_events.main(["redrive", "mistyped", "another", "mistyped"]) == 1
    assert "2 of 2 ids" in capsys.readouterr().err
    assert dead_events.main(["drop", "id-1", "id-1", "id-2"]) == 0


def test_events_that_vanish_after_they_were_listed_are_not_a_failure(api: FakeApi) -> None:
    api.unknown = {"id-7"}
    assert dead_events.main(["redrive", "--all"]) == 0


@pytest.mark.parametrize("arguments", [["drop"], ["redrive"], ["drop", "id-1", "--all"], ["list", "id-1"], ["erase"]])
def test_no_event_is_changed_without_ids_a_selection_or_all(api: FakeApi, arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        dead_events.main(arguments)
    assert api.posted == []


@pytest.mark.parametrize("names", [["API_URL"], ["API_KEY"], ["STACK", "API_KEY"], ["API_URL", "API_KEY"]])
def test_an_api_given_by_variables_needs_the_token_of_an_administrator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    monkeypatch.delenv("TEST_AUTH_TOKEN", raising=False)
    for name in names:
        monkeypatch.setenv(name, "http://api.test")
    assert dead_events.main([]) == 1
    assert "role admin" in capsys.readouterr().err
