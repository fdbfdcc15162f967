"""Cost of a million events on AWS: measured units, durations and log bytes, times the prices in prices.json."""

import json
import math
from decimal import Decimal
from typing import Any

import yaml

from bench import ROOT

MILLION = 1_000_000
FULL_CORE_MB = 1769
"""A function with this much memory has one vCPU. With less memory it has a proportional share."""

SQS_BATCH = 10
"""Messages that Lambda's poller receives or deletes with one request."""

ACCESS_LOG_VALUES = {
    "requestId": "JKJaXmPLvHcESHA=",
    "requestTime": "20/Nov/2026:12:00:00 +0000",
    "identity.sourceIp": "203.0.113.117",
    "routeKey": "POST /api/usage/record",
    "status": "201",
    "responseLength": "472",
    "responseLatency": "24",
    "integrationLatency": "22",
    "integrationStatus": "200",
    "integration.requestId": "8b5b0ef5-4c10-4f40-8d50-5f6f60a5a1a4",
    "error.responseType": "-",
}
LINE_BYTES = 26
"""Bytes that CloudWatch Logs adds to each line when it computes charges."""

ASSUMPTIONS = (
    "An arm64 vCPU is as fast as a core of this machine, and a function has memory/1769 of a vCPU.",
    "DynamoDB is as slow as the emulator was. Another 10 ms per event would add 0.07 USD at 512 MB.",
    "The sum leaves out billing, storage, data transfer, snapshots and cold starts. Some are listed separately.",
)


def measure(capacity: dict[str, Any], runtime: dict[str, Any], spilled: dict[str, Any]) -> dict[str, Any]:
    """Compute the costs. `spilled` is the measurement of single events that all go to one ledger at once."""
    table = json.loads((ROOT / "bench/prices.json").read_text())
    price = {name: Decimal(each["price"]) for name, each in table["prices"].items()}
    batch = capacity["batch"]["events"]
    one = {
        "write_units": capacity["record"]["write_units"],
        "read_units": capacity["record"]["read_units"],
        "requests": 1.0,
        "gb_seconds": _gb_seconds(runtime["warm_cpu"]["ours_ms"], runtime["warm_wall"]["ours_ms"], runtime["memory"]),
        "log_bytes": runtime["log_bytes"] + access_line(),
    }
    many = {
        "write_units": capacity["batch"]["write_units"] / batch,
        "read_units": capacity["batch"]["read_units"] / batch,
        "requests": 1 / batch,
        "gb_seconds": _gb_seconds(runtime["batch"]["cpu"], runtime["batch"]["wall"], runtime["batch"]["memory"])
        / batch,
        "log_bytes": (runtime["batch"]["log_bytes"] + access_line()) / batch,
    }
    settle = capacity["settle"]["small"]
    return {
        "prices": {name: table[name] for name in ("region", "currency", "mode", "as_of")},
        "single": _bill(one, price),
        "batch": _bill(many, price) | {"events_per_batch": batch},
        "hot_single": _bill(_hot(one, many, spilled), price, _sqs_requests(spilled)),
        "not_included": {
            "settling_a_million_ledgers": _usd(
                Decimal(settle["write_units"]) * price["dynamodb_million_write_request_units"]
                + Decimal(settle["read_units"]) * price["dynamodb_million_read_request_units"]
            ),
            "custom_metrics_per_month": _usd(price["custom_metric_month"] * _metrics()),
            "storing_a_million_events_per_month": _usd(2 * price["dynamodb_gb_month"] * Decimal("0.4")),
            "responses_of_a_million_single_events_to_the_internet": _usd(price["data_out_gb"] * Decimal("0.7")),
        },
        "assumptions": ASSUMPTIONS,
    }


def _gb_seconds(cpu_ms: float, wall_ms: float, memory: int) -> float:
    """Return the GB-seconds of one call: CPU time at the function's share of a vCPU, plus waiting."""
    duration = cpu_ms / min(1, memory / FULL_CORE_MB) + max(0, wall_ms - cpu_ms)
    return math.ceil(duration) / 1000 * memory / 1024


def _hot(one: dict[str, float], many: dict[str, float], spilled: dict[str, Any]) -> dict[str, float]:
    """Return the resources of a spilled event: callers use those of a single event, consumers those of a batch."""
    invocations = spilled["consumer_invocations"] / spilled["events"]
    return {
        "write_units": spilled["write_units_per_event"],
        "read_units": spilled["read_units_per_event"],
        "requests": 1.0,
        "gb_seconds": one["gb_seconds"] + many["gb_seconds"],
        "log_bytes": one["log_bytes"] + many["log_bytes"],
        "invocations": 1.0 + invocations,
    }


def _sqs_requests(spilled: dict[str, Any]) -> float:
    """Return the SQS requests per event. Messages are sent one by one, and received and deleted ten at a time."""
    queued = spilled["responses"].get("202", 0) / spilled["events"]
    return float(queued * (1 + 2 / SQS_BATCH))


def _bill(event: dict[str, float], price: dict[str, Decimal], sqs_requests: float = 0) -> dict[str, Any]:
    """Return the cost of a million events in USD, in total and by service, with the resources of one event."""
    parts = {
        "api": event["requests"] * float(price["http_api_million_requests"]),
        "lambda_requests": event.get("invocations", event["requests"]) * float(price["lambda_million_requests"]),
        "lambda_duration": event["gb_seconds"] * MILLION * float(price["lambda_arm_gb_second"]),
        "dynamodb": event["write_units"] * float(price["dynamodb_million_write_request_units"])
        + event["read_units"] * float(price["dynamodb_million_read_request_units"]),
        "logs": event["log_bytes"] * MILLION / 2**30 * float(price["logs_gb"]),
        "sqs": sqs_requests * float(price["sqs_million_requests"]),
    }
    return {"usd": sum(parts.values()), "parts": parts, "per_event": event}


def access_line() -> int:
    """Return the bytes of an access log line, in the template's format and with typical values."""
    template = (ROOT / "template.yaml").read_text()

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda *_: None)
    line: str = yaml.load(template, Loader)["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"]  # noqa: S506
    for name, value in sorted(ACCESS_LOG_VALUES.items(), key=lambda pair: -len(pair[0])):
        line = line.replace(f"$context.{name}", value)
    assert "$context" not in line, line
    return len(line) + LINE_BYTES


def _metrics() -> int:
    """Return the maximum number of custom metrics. Each is charged per month, however often it is written."""
    # Powertools reads the environment when it is imported.
    from usage_billing.platform import observability  # noqa: PLC0415
    from usage_billing.web.problems import STATUS  # noqa: PLC0415

    # Rejected events have at most one more metric per code.
    return len(observability.ALARM_METRICS | observability.DASHBOARD_METRICS) + len(STATUS)


def _usd(amount: Decimal) -> float:
    return float(round(amount, 2))
