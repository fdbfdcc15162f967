"""What the functions tell CloudWatch: the names and values that alarms and dashboards are built on."""

from typing import Any

import pytest

import run_billing
from tests.api import Api, Context
from tests.integration.conftest import Metrics
from tests.template import ROOT
from usage_billing import observability, store
from usage_billing.billing import Stretch


def test_recording_is_measured(ready: Api, metrics: Metrics) -> None:
    metrics()
    ready.record("e1")
    assert metrics() == {"EventsRecorded": 1}
    ready.record("e1")
    assert metrics() == {"EventsReplayed": 1}
    ready.record("e1", 2)
    assert metrics() == {"EventIdConflicts": 1}
    ready.record("e2", usageType="unknown")
    assert metrics() == {"QuotaMissing": 1, "EventsRecorded": 1}
    ready.record("e3", headers={})
    assert metrics() == {"AuthenticationFailures": 1}
    ready.get("/api/usage/subscription/sub-1")
    assert metrics() == {}


def test_lost_races_are_measured(ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    append, lost = store.append, []

    def lose_once(*args: Any) -> None:
        if not lost:
            lost.append(args)
            raise store.HeadMoved(None)
        append(*args)

    monkeypatch.setattr(store, "append", lose_once)
    metrics()
    assert ready.record().status == 201
    assert metrics() == {"LedgerRetries": 1, "EventsRecorded": 1}


def test_a_run_is_measured(ready: Api, metrics: Metrics) -> None:
    body = {"monthlyLimit": 0, "unitPrice": "2.50", "unitName": "report", "currency": "EUR"}
    ready.put("/api/usage/quotas/european/report", body)
    ready.subscribe("sub-2", plan="european")
    ready.record("e1", 60)
    ready.record("e2", 1, subscriptionId="sub-2", usageType="report")
    ready.record("e3", 1, usageType="unknown")
    ready.bill()
    ready.subscribe(plan="european")
    ready.record("e4", 1, usageType="report")
    ready.record("e5", 1)
    metrics()
    run_billing.handler({}, Context())
    found = metrics()
    assert found.pop("BillingRunSeconds") >= 0
    assert found == {
        "LedgersSettled": 1,
        "InvoiceItems": 1,
        "BillingFailures": 1,
        "QuotaMissing": 1,
        "BillingRuns": 1,
        "BilledAmount.USD": 10,
    }


def test_only_a_run_over_everything_counts_as_the_days_run(ready: Api, metrics: Metrics) -> None:
    metrics()
    ready.bill(subscriptionId="sub-1")
    assert "BillingRuns" not in metrics()
    run_billing.handler({"Records": [{"body": Stretch(run_id="r", shard="0").model_dump_json()}]}, Context())
    assert "BillingRuns" not in metrics()
    ready.bill()
    assert metrics()["BillingRuns"] == 1


def test_billed_money_is_measured_by_currency(ready: Api, metrics: Metrics) -> None:
    body = {"monthlyLimit": 0, "unitPrice": "2.50", "unitName": "report", "currency": "EUR"}
    ready.put("/api/usage/quotas/european/report", body)
    ready.subscribe("sub-2", plan="european")
    ready.record("e1", 60)
    ready.record("e2", 3, subscriptionId="sub-2", usageType="report")
    metrics()
    ready.bill()
    found = metrics()
    assert (found["BilledAmount.USD"], found["BilledAmount.EUR"]) == (100, 7.5)


def test_every_metric_that_is_watched_is_one_that_is_written() -> None:
    names = {value for name, value in vars(observability).items() if name.isupper() and isinstance(value, str)}
    watched = (ROOT / "infra/alarms.yaml").read_text() + (ROOT / "infra/dashboard.yaml").read_text()
    assert names, "there are metrics"
    assert {name for name in names if name not in watched} == set()
