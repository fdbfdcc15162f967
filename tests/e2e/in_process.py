"""Steps that run in this process against an account of the local cloud (the fixture `account`)."""

import pytest

from tests.builders import NOW, Number, make_quota, make_subscription
from tests.deadlines import stopped
from tests.quotas import save_quota
from usage_billing.billing import runner
from usage_billing.billing.model import RunSegment, RunTotals
from usage_billing.billing.runner import whole_run
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription


def subscribe(subscription_id: str, *, monthly_limit: Number, unit_price: Number) -> Subscription:
    """Save a subscription on the plan `business`, and the plan's quota of `assessment`."""
    subscription = make_subscription(subscription_id)
    subscription_store.save_subscription(subscription)
    save_quota(make_quota(monthly_limit=monthly_limit, unit_price=unit_price))
    return subscription


def bill() -> RunTotals:
    """Bill everything in one invocation."""
    return runner.run(whole_run(), now=lambda: NOW, deadline=stopped(900), hand_over=_fail)


def _fail(_: RunSegment) -> None:
    pytest.fail("the run ran out of time")
