"""Each error of the domain has exactly one HTTP status."""

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
