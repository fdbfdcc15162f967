"""Each error of the domain has exactly one HTTP status, and the API reference lists it."""

import re

from tests.template import ROOT
from usage_billing.kernel.errors import BillingError
from usage_billing.web import problems


def leaves(error: type[BillingError]) -> set[type[BillingError]]:
    """All subclasses of `error` that have no subclasses."""
    below = error.__subclasses__()
    return {leaf for each in below for leaf in leaves(each)} if below else {error}


def test_every_billing_error_has_a_status_and_a_unique_code() -> None:
    assert set(problems.STATUS) == leaves(BillingError)
    codes = [error.code for error in problems.STATUS]
    assert len(set(codes)) == len(codes)


def test_the_api_reference_lists_every_error_with_its_status() -> None:
    section = (ROOT / "docs/api.md").read_text().partition("\n## Errors\n")[2]
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", section, re.MULTILINE)
    [never_returned] = re.findall(r"^No request is answered with (.+?)\.", section, re.MULTILINE | re.DOTALL)
    others = re.findall(r"`(\w+)`", never_returned)
    expected = {error.code: status.value for error, status in problems.STATUS.items()}
    assert sorted([code for _, code in rows] + others) == sorted(expected)
    assert {code: int(status) for status, code in rows} == {code: expected[code] for _, code in rows}
