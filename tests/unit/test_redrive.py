"""The way back for dead events ends, whatever becomes of them meanwhile."""

import itertools
import time
from typing import Any

import pytest

from scripts import redrive

NOW = 1_800_000_000.0


class Queues:
    """Two queues: every message that is sent back is dead again at once, as another one, and others die, too."""

    def __init__(self, dead: int, dying: int = 0) -> None:
        self.names = itertools.count()
        self.dead: list[dict[str, Any]] = []
        self.hidden: dict[str, dict[str, Any]] = {}
        self.sent: list[str] = []
        self.dying = dying
        for number in range(dead):
            self.bury(f"event-{number}", NOW - 60)

    def bury(self, body: str, at: float) -> None:
        name = str(next(self.names))
        attributes = {"SentTimestamp": str(int(at * 1000))}
        self.dead.append({"MessageId": name, "ReceiptHandle": name, "Body": body, "Attributes": attributes})

    def receive_message(self, **asked: Any) -> dict[str, Any]:
        assert asked["MessageSystemAttributeNames"] == ["SentTimestamp"]
        for _ in range(self.dying):
            self.bury("another", NOW + 1)
        found, self.dead = self.dead[:10], self.dead[10:]
        self.hidden |= {message["ReceiptHandle"]: message for message in found}
        return {"Messages": found} if found else {}

    def send_message(self, **message: Any) -> None:
        self.sent.append(message["MessageBody"])
        assert len(self.sent) < 1000, "it goes round for ever"
        self.bury(message["MessageBody"], NOW + 1)

    def delete_message(self, **message: Any) -> None:
        del self.hidden[message["ReceiptHandle"]]

    def change_message_visibility_batch(self, **asked: Any) -> None:
        assert len(asked["Entries"]) <= 10
        assert len({entry["Id"] for entry in asked["Entries"]}) == len(asked["Entries"])
        for entry in asked["Entries"]:
            assert entry["VisibilityTimeout"] == 0
            self.dead.append(self.hidden.pop(entry["ReceiptHandle"]))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def test_what_dies_again_is_left_for_the_next_time(capsys: pytest.CaptureFixture[str]) -> None:
    queues: Any = Queues(dead=30)
    redrive._send_back(queues, "dead", "alive")
    assert sorted(queues.sent) == sorted(f"event-{number}" for number in range(30))
    assert sorted(message["Body"] for message in queues.dead) == sorted(queues.sent)
    assert not queues.hidden
    assert "30 messages sent back" in capsys.readouterr().out


def test_it_ends_while_others_go_on_dying() -> None:
    queues: Any = Queues(dead=30, dying=10)
    redrive._send_back(queues, "dead", "alive")
    assert len(queues.sent) == 30
    assert not queues.hidden


def test_a_failure_halfway_hides_nothing_that_was_left_alone() -> None:
    queues: Any = Queues(dead=2, dying=3)
    sending = queues.send_message

    def failing(**message: Any) -> None:
        sending(**message)
        raise ConnectionError

    queues.send_message = failing
    with pytest.raises(ConnectionError):
        redrive._send_back(queues, "dead", "alive")
    assert sorted(message["Body"] for message in queues.hidden.values()) == ["event-0", "event-1"]


def test_a_list_shows_all_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    queues: Any = Queues(dead=12)
    queues.bury("just now", NOW + 5)
    before = sorted(message["MessageId"] for message in queues.dead)
    redrive._show(queues, "dead")
    assert sorted(message["MessageId"] for message in queues.dead) == before
    assert "13 messages dead" in capsys.readouterr().out
