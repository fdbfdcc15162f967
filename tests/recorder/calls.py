"""What tests of the recorder do and look at again and again."""

from typing import Any

from tests.recorder import service as fails
from tests.recorder.service import Failure
from usage_recorder import Pauses, UsageRecorder

SLOW = Pauses(first=60, longest=60, operator=60)
FAILURES: list[Failure] = [
    fails.status(429, retry_after="0"),
    fails.status(500),
    fails.status(503, retry_after="0"),
    fails.html(502),
    fails.hang_up,
    fails.record_and_hang_up,
    fails.half_an_answer,
    fails.cut_json,
    fails.one_result_missing,
    fails.status(401),
    fails.status(403),
    fails.status(404),
    fails.status(302, location="/elsewhere"),
]


def record(recorder: UsageRecorder, number: int = 1, **more: Any) -> list[str]:
    return [recorder.record("user-1", "sub-1", "report", **({"quantity": 1} | more)) for _ in range(number)]


def problem(status: int, code: str = "a_code") -> dict[str, Any]:
    return {"status": status, "code": code, "detail": "why"}


class Rejections(list[tuple[str, str]]):
    """Event id and code of everything that `on_rejected` was told."""

    def __call__(self, event: Any, problem: Any) -> None:
        self.append((event.event_id, problem.code))
