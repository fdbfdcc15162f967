"""`record_usage`, configured by environment variables."""

import json
import signal
from pathlib import Path
from typing import Any

from tests.recorder.helpers import MakeRecorder
from tests.recorder.processes import Spawn, output_of
from tests.recorder.service import KEY, Service

CALL = "print(record_usage('user-1', 'sub-1', 'report', {quantity}, {{'reportId': 'abc123'}}))"


def call_record_usage(spawn: Spawn, quantity: Any = 1, **environment: str) -> list[str]:
    return output_of(spawn(CALL.format(quantity=quantity), **environment))


def test_record_usage_returns_true_when_the_service_has_the_event(service: Service, spawn: Spawn) -> None:
    assert call_record_usage(spawn, "0.1", USAGE_API_URL=service.url + "/", INTERNAL_API_KEY=KEY) == ["True"]
    [event] = service.events.values()
    assert json.dumps(event["metadata"]) == '{"reportId": "abc123"}'
    assert str(event["quantity"]) == "0.1"
    assert service.headers[0]["x-api-key"] == KEY


def test_record_usage_works_with_a_token(service: Service, spawn: Spawn) -> None:
    assert call_record_usage(spawn, USAGE_API_URL=service.url, USAGE_API_TOKEN=KEY) == ["True"]
    assert service.headers[0]["authorization"] == f"Bearer {KEY}"


def test_record_usage_never_raises(service: Service, spawn: Spawn, tmp_path: Path) -> None:
    somewhere = {"USAGE_API_URL": service.url, "INTERNAL_API_KEY": KEY}
    service.judge = lambda _: {"status": 404, "code": "subscription_not_found", "detail": "none"}
    (tmp_path / "no-spool").write_text("not a database " * 1000)
    wrong: list[tuple[Any, dict[str, str]]] = [
        (1, {}),
        (1, {"USAGE_API_URL": service.url}),
        (1, somewhere | {"USAGE_API_URL": "nowhere"}),
        (1, somewhere | {"USAGE_SPOOL": str(tmp_path / "no-spool")}),
        (-1, somewhere),
        ("object()", somewhere),
        (1, somewhere),
    ]
    processes = [spawn(CALL.format(quantity=quantity), **environment) for quantity, environment in wrong]
    assert [output_of(process) for process in processes] == [["False"]] * len(wrong)


def test_when_record_usage_gets_no_answer_the_event_is_spooled(
    service: Service, spawn: Spawn, make: MakeRecorder, tmp_path: Path
) -> None:
    service.token = "another key"
    environment = {"USAGE_API_URL": service.url, "INTERNAL_API_KEY": KEY, "USAGE_SPOOL": str(tmp_path / "spool")}
    process = spawn(
        CALL.format(quantity=1) + "; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)", **environment
    )
    assert output_of(process, code=-signal.SIGKILL) == ["False"]
    assert not service.events
    service.token = KEY
    assert make(spool=tmp_path / "spool").flush()
    assert len(service.events) == 1
