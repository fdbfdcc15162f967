"""The whole flow once: record, bill, invoice, read."""

from tests.api import Api


def test_overage_is_billed_once(api: Api) -> None:
    api.plan()
    assert api.subscribe().status == 200
    first = api.record("e1", 45)
    assert (first.status, first.json["billable"], first.json["quota"]["remaining"]) == (201, False, 5)
    second = api.record("e2", 15)
    assert (second.status, second.json["billableQuantity"]) == (201, 10)
    replay = api.record("e2", 15)
    assert (replay.status, replay.json) == (200, second.json)
    conflict = api.record("e2", 16)
    assert (conflict.status, conflict.code) == (409, "event_id_conflict")

    run = api.bill()
    assert run.json | {"runId": ""} == {
        "runId": "",
        "status": "completed",
        "ledgersSettled": 1,
        "itemsCreated": 1,
        "failures": 0,
        "ledgersUnrated": 0,
        "totals": {"USD": "100.00"},
    }
    assert api.bill().json["ledgersSettled"] == 0
    [invoice] = api.get("/api/invoices", query={"subscriptionId": "sub-1"}).json["invoices"]
    assert invoice["total"] == "100.00"
    [line] = api.get(f"/api/invoices/{invoice['invoiceId']}").json["lines"]
    assert (line["quantity"], line["amount"], line["itemCount"]) == (10, "100.00", 1)
    [item] = api.items()
    records = api.get("/api/usage/subscription/sub-1/records").json["records"]
    assert [record["invoiceItemId"] for record in records] == [item["itemId"]] * 2
    usage = api.get("/api/usage/subscription/sub-1").json
    assert api.get("/api/usage/user/user-1").json == {"userId": "user-1", "subscriptions": [usage]}
    print(usage, invoice)
