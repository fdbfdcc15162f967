"""Upper bounds for the DynamoDB calls and capacity units of requests to the API."""

import pytest

from tests.api import Api, bearer
from tests.meter import metered

pytestmark = pytest.mark.usefixtures("account")

USAGE = "/api/usage/subscription/sub-1"


def test_usage_of_a_subscription_takes_its_item_and_one_query_while_its_plan_is_remembered() -> None:
    api = Api()
    for usage_type in ("report", "assessment", "analysis"):
        api.plan(usage_type=usage_type)
    api.subscribe()
    for usage_type in ("report", "assessment", "analysis"):
        api.record(f"of-{usage_type}", usageType=usage_type)
    # The second time the plan's quotas are remembered.
    for calls, units in [({"GetItem": 1, "Query": 2}, 3), ({"GetItem": 1, "Query": 1}, 2)]:
        with metered() as meter:
            assert len(api.get(USAGE).json["usage"]) == 3
        assert meter.calls == calls
        assert (meter.read_units, meter.write_units) == (units, 0)


@pytest.mark.parametrize("runs", [1, 30])
def test_an_invoice_takes_one_read_and_one_query_however_many_items_it_has(runs: int) -> None:
    api = Api()
    api.plan(limit=0)
    api.subscribe()
    for number in range(runs):
        api.record(f"e{number}")
        api.bill()
    invoice = api.invoice()
    with metered() as meter:
        assert api.get(f"/api/invoices/{invoice['invoiceId']}").json["itemCount"] == runs
    assert meter.calls == {"GetItem": 1, "Query": 1}
    assert (meter.read_units, meter.write_units) == (2, 0)
    with metered() as meter:
        assert len(api.get(f"/api/invoices/{invoice['invoiceId']}/items").json["items"]) == runs
    assert meter.calls == {"GetItem": 1, "Query": 1}


def test_a_user_who_reads_their_plan_takes_one_query_more_than_an_operator() -> None:
    api = Api()
    api.plan()
    api.subscribe()
    with metered() as meter:
        assert api.get("/api/usage/quotas/business", headers=bearer("user-1")).status == 200
    assert meter.calls == {"Query": 2}


def test_a_replayed_request_takes_two_calls_and_records_nothing() -> None:
    api = Api()
    api.plan()
    api.subscribe()
    api.record("e1", 7)
    with metered() as meter:
        assert api.record("e1", 7).status == 200
    assert meter.calls == {"BatchGetItem": 1, "TransactWriteItems": 1}
    assert api.get(USAGE).json["usage"][0]["used"] == 7
