"""Reads the metrics that the functions write to the log, as CloudWatch does."""

import json

import pytest


class Metrics:
    """The metrics written since the last call."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self) -> dict[str, float]:
        """The sum of each metric. Dimensions are part of the name: `BilledAmount.USD`, `EventsRejected.forbidden`."""
        found: dict[str, float] = {}
        for line in self._capsys.readouterr().out.splitlines():
            document = json.loads(line) if line.startswith("{") else {}
            for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
                assert directive["Namespace"] == "UsageBilling"
                assert document["service"] == "usage-billing-test"
                for metric in directive["Metrics"]:
                    [dimensions] = directive["Dimensions"]
                    name = ".".join([metric["Name"], *(document[each] for each in dimensions if each != "service")])
                    values = document[metric["Name"]]
                    found[name] = found.get(name, 0) + sum(values if isinstance(values, list) else [values])
        return found
