"""The access log of the API: its format, and the documents and tools that read it."""

import json
import re

from bench import cost
from tests.template import ROOT, template

SAFE_VARIABLES = {
    "requestId",
    "requestTime",
    "identity.sourceIp",  # from the connection, not from a header
    "routeKey",  # the route as the template defines it, or $default
    "status",
    "responseLength",
    "responseLatency",
    "integrationLatency",
    "integrationStatus",
    "integration.requestId",
    "error.responseType",  # one of a fixed set of names
}
"""The variables whose values callers cannot choose. API Gateway escapes nothing, so a quote could forge a line."""


def test_an_access_log_line_contains_nothing_that_a_caller_can_choose() -> None:
    line = template()["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"]
    assert set(re.findall(r"\$(?:context\.)?([\w.]+)", line)) == SAFE_VARIABLES
    written = re.sub(r"\$context\.([\w.]+)", r"\1", line)
    assert "$" not in written, "the line has a variable that is not from $context"
    assert set(json.loads(written).values()) == SAFE_VARIABLES, "a field does not consist of exactly one variable"


def test_the_documented_queries_use_fields_of_the_access_log() -> None:
    line = json.loads(template()["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"])
    [query] = re.findall(r"vendedlogs[^`]*`[^`]*```\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    assert set(re.findall(r"by ([\w, ]+?) \|", query)[0].split(", ")) <= set(line)


def test_the_benchmark_can_estimate_the_size_of_an_access_log_line() -> None:
    """The benchmark needs the size for the cost of logs, but only at its very end."""
    assert 200 < cost.access_line() < 1000
