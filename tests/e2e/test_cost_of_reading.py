"""What reading costs at DynamoDB, through the handlers."""

import pytest

from tests.api import Api
from tests.meter import metered

pytestmark = pytest.mark.usefixtures("account")

USAGE = "/api/usage/subscription/sub-1"


def test_the_usage_of_a_known_subscription_is_one_query_of_one_unit() -> None:
    api = Api()
    for usage_type in ("report", "assessment", "analysis"):
        api.plan(usage_type=usage_type)
    api.subscribe()
    for usage_type in ("report", "assessment", "analysis"):
        api.record(f"of-{usage_type}", usageType=usage_type)
    with metered() as meter:
        assert len(api.get(USAGE).json["usage"]) == 3
    assert meter.calls == {"Query": 1}
    assert (meter.read_units, meter.write_units) == (1, 0)


def test_a_replay_through_the_endpoint_is_two_calls_and_writes_nothing() -> None:
    api = Api()
    api.plan()
    api.subscribe()
    api.record("e1", 7)
    with metered() as meter:
        assert api.record("e1", 7).status == 200
    assert meter.calls == {"GetItem": 1, "TransactWriteItems": 1}
    assert api.get(USAGE).json["usage"][0]["used"] == 7
