"""A Lambda handler is flushed before it responds."""

from pathlib import Path

import pytest

from tests.recorder.helpers import MakeRecorder, fail_spool, record
from tests.recorder.service import Service
from usage_recorder.spool import Spool


class Context:
    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def test_events_are_flushed_before_a_handler_responds(service: Service, make: MakeRecorder) -> None:
    recorder = make(linger=60)

    @recorder.flushing
    def handler(event: dict[str, int], context: Context) -> str:
        """A handler."""
        record(recorder, event["number"])
        if event["number"] == 2:
            raise LookupError
        return "done"

    assert handler({"number": 1}, Context(10_000)) == "done"
    assert len(service.events) == 1
    with pytest.raises(LookupError):
        handler({"number": 2}, Context(10_000))
    assert len(service.events) == 3
    assert handler.__doc__ == "A handler."


def test_a_handler_keeps_time_to_respond(service: Service, make: MakeRecorder) -> None:
    recorder = make(flush_timeout=600)
    service.stop()

    @recorder.flushing
    def handler(_: object, context: Context) -> str:
        record(recorder)
        return "done"

    assert handler({}, Context(550)) == "done"
    assert recorder.unsent == 1


def test_when_the_flush_fails_the_handler_keeps_its_result(
    make: MakeRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = make(spool=tmp_path / "spool")

    @recorder.flushing
    def handler(divisor: int) -> float:
        record(recorder)
        monkeypatch.setattr(Spool, "last_number", fail_spool)
        return 1 / divisor

    assert handler(1) == 1
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError):
        handler(0)
    monkeypatch.undo()
    assert caplog.text.count("cannot be flushed at the end of the invocation") == 2
