"""The metrics of the functions, on which alarms and the dashboard are built."""

import re
from typing import Any

import pytest

import run_billing
from tests.api import Api, Context
from tests.builders import quota_body
from tests.faults import throttled, watched
from tests.metrics import Metrics
from tests.template import ROOT, parsed
from usage_billing.billing import store as settlement_store
from usage_billing.billing.model import RunSegment
from usage_billing.kernel import shards
from usage_billing.kernel.errors import DatabaseUnavailable
from usage_billing.platform import observability
from usage_billing.usage import store as ledger_store


def test_recording_is_measured(ready: Api, metrics: Metrics) -> None:
    metrics()
    ready.record("e1")
    assert metrics() == {"EventsRecorded": 1}
    ready.record("e1")
    assert metrics() == {"EventsReplayed": 1}
    ready.record("e1", 2)
    assert metrics() == {"EventIdConflicts": 1, "EventsRejected": 1, "EventsRejected.event_id_conflict": 1}
    ready.record("e2", usageType="unknown")
    assert metrics() == {"QuotaMissing": 1, "EventsRecorded": 1}
    ready.record("e3", headers={})
    assert metrics() == {"AuthenticationFailures": 1}
    ready.get("/api/usage/subscription/sub-1")
    assert metrics() == {}


def test_lost_races_are_measured(ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    append = ledger_store.append
    lost: list[Any] = []

    def lose_once(*args: Any) -> None:
        if not lost:
            lost.append(args)
            raise ledger_store.HeadMoved(None)
        append(*args)

    monkeypatch.setattr(ledger_store, "append", lose_once)
    metrics()
    assert ready.record().status == 201
    assert metrics() == {"LedgerRetries": 1, "EventsRecorded": 1}


def test_a_run_is_measured(ready: Api, metrics: Metrics) -> None:
    body = quota_body("report", monthlyLimit=0, unitPrice="2.50", currency="EUR")
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
        "BilledAmount.USD": 10,
    }


def test_a_run_with_failures_is_not_counted_as_a_good_run(
    ready: Api, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.record("e1", 60)
    metrics()
    with monkeypatch.context() as failing:
        failing.setattr(settlement_store, "save_settlement", lambda *_: 1 / 0)
        run_billing.handler({}, Context())
    found = metrics()
    assert (found["BillingFailures"], found["InternalErrors"]) == (1, 1)
    assert "BillingRuns" not in found
    run_billing.handler({}, Context())
    assert metrics()["BillingRuns"] == 1


def test_a_scheduled_run_that_fails_completely_triggers_alarms(ready: Api, metrics: Metrics) -> None:
    """By its failures, by the error of the function (alarm run-billing-errors), and by the missing good run."""
    ready.record("e1", 60)
    metrics()
    with watched() as calls:
        calls.fail_where(lambda parameters: "QueueUrl" not in parameters, throttled)
        with pytest.raises(DatabaseUnavailable):
            run_billing.handler({}, Context())
    found = metrics()
    assert found["BillingFailures"] == shards.SHARDS
    assert found["DatabaseFailures"] >= shards.SHARDS
    assert "BillingRuns" not in found


def test_a_run_with_unrated_ledgers_counts_as_a_good_run(ready: Api, metrics: Metrics) -> None:
    """Unrated ledgers have an alarm of their own."""
    ready.record("e1", usageType="unknown")
    metrics()
    run_billing.handler({}, Context())
    found = metrics()
    assert (found["BillingRuns"], found["QuotaMissing"]) == (1, 1)


def test_only_a_run_over_all_ledgers_counts_as_the_daily_run(ready: Api, metrics: Metrics) -> None:
    metrics()
    ready.bill(subscriptionId="sub-1")
    assert "BillingRuns" not in metrics()
    run_billing.handler(
        {"Records": [{"body": RunSegment(run_id="r", shard="0").with_id("another").model_dump_json()}]}, Context()
    )
    assert "BillingRuns" not in metrics()
    ready.bill()
    assert metrics()["BillingRuns"] == 1


def test_billed_money_is_measured_by_currency(ready: Api, metrics: Metrics) -> None:
    body = quota_body("report", monthlyLimit=0, unitPrice="2.50", currency="EUR")
    ready.put("/api/usage/quotas/european/report", body)
    ready.subscribe("sub-2", plan="european")
    ready.record("e1", 60)
    ready.record("e2", 3, subscriptionId="sub-2", usageType="report")
    metrics()
    ready.bill()
    found = metrics()
    assert (found["BilledAmount.USD"], found["BilledAmount.EUR"]) == (100, 7.5)


NAMES = {value for name, value in vars(observability).items() if name.isupper() and isinstance(value, str)}


def test_every_metric_is_declared_as_alarming_or_informational() -> None:
    assert NAMES, "there are metrics"
    assert NAMES == observability.ALARM_METRICS | observability.DASHBOARD_METRICS
    assert not observability.ALARM_METRICS & observability.DASHBOARD_METRICS


def test_every_alarming_metric_has_an_alarm_and_no_other_has_one() -> None:
    alarms = [
        each["Properties"]
        for each in parsed("infra/alarms.yaml")["Resources"].values()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    ]
    own = [alarm for alarm in alarms if alarm["Namespace"] == "UsageBilling"]
    assert {alarm["MetricName"] for alarm in own} == observability.ALARM_METRICS
    for alarm in own:
        # With another dimension the alarm would cover a single code or currency only.
        assert alarm["Dimensions"] == [{"Name": "service", "Value": {"Ref": "ServiceName"}}]
        assert alarm["Statistic"] == "Sum"
    for alarm in alarms:
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        section = re.findall(r'"([^"]+)"', alarm["AlarmDescription"])[-1]
        assert f"\n### {section}\n" in (ROOT / "docs/operations.md").read_text()
        name = alarm["AlarmName"]["Fn::Sub"].replace("${ServiceName}", "STACK")
        assert f"`{name}`" in (ROOT / "docs/operations.md").read_text()


def test_every_metric_is_on_the_dashboard_and_in_the_manual() -> None:
    for path in ("infra/dashboard.yaml", "docs/operations.md"):
        text = (ROOT / path).read_text()
        assert {name for name in NAMES if not re.search(rf'["`]{name}\\?["`]', text)} == set()
