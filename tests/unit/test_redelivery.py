"""Redelivery of queued events: the delay grows with each delivery, up to an hour."""

import pytest

from usage_billing.kernel.errors import EventIdConflict, InternalError, LedgerBusy
from usage_billing.usage.redelivery import MAX_RECEIVES, TEMPORARY, delay_after


@pytest.mark.parametrize(
    ("receives", "seconds"),
    [
        pytest.param(1, 15, id="soon after the first delivery"),
        pytest.param(2, 30, id="then twice as long"),
        pytest.param(8, 1920, id="each time"),
        pytest.param(9, 3600, id="up to an hour"),
        pytest.param(MAX_RECEIVES, 3600, id="the last delivery"),
    ],
)
def test_the_delay_doubles_up_to_an_hour(receives: int, seconds: int) -> None:
    assert delay_after(receives) == seconds


def test_only_errors_that_may_go_away_are_temporary() -> None:
    assert isinstance(LedgerBusy(""), TEMPORARY)
    assert isinstance(InternalError(), TEMPORARY)
    assert not isinstance(EventIdConflict("e1", ["quantity"]), TEMPORARY)
