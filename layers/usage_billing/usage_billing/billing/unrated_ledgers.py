"""Terms for unrated ledgers in a billing run. A missing quota is looked up once, not once per ledger.

Only missing quotas are remembered. Terms hold for a whole period, so each ledger that gets terms has its plan and quota
read again. If a quota is added after it was found missing, the next run rates its ledgers.
"""

from concurrent.futures import Future
from threading import Lock

from usage_billing.billing.model import Unrated
from usage_billing.pricing.terms import Terms
from usage_billing.subscriptions import store as subscription_store
from usage_billing.subscriptions.model import Subscription
from usage_billing.usage.ledger import Head
from usage_billing.usage.rating import terms_for

MAX_PLANS = 100_000
"""Maximum subscriptions whose plan is remembered, about ten megabytes. Then all are forgotten."""


class Rating:
    """Rates the unrated ledgers of one invocation. Safe under threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._plans: dict[str, str] = {}
        self._lookups: dict[tuple[str, str], Future[bool]] = {}
        """For each plan and usage type, whether its quota is missing. The first thread that asks looks it up."""

    def rated(self, head: Head) -> Head:
        """Return an unrated head with the current terms of its subscription's plan.

        Raises:
            Unrated: the plan has no quota for its usage type.
            SubscriptionNotFound: its subscription does not exist.
        """
        subscription_id, usage_type = head.key.subscription_id, head.key.usage_type
        plan_id = self._plans.get(subscription_id)
        if plan_id is not None and self._is_missing(plan_id, usage_type):
            raise Unrated(plan_id, usage_type)
        subscription = subscription_store.subscription(subscription_id)
        self._remember(subscription_id, subscription.plan_id)
        terms = self._terms(subscription, head)
        if terms is None:
            raise Unrated(subscription.plan_id, usage_type)
        return head.rated(terms)

    def _remember(self, subscription_id: str, plan_id: str) -> None:
        with self._lock:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[subscription_id] = plan_id

    def _is_missing(self, plan_id: str, usage_type: str) -> bool:
        lookup = self._lookups.get((plan_id, usage_type))
        return lookup is not None and lookup.result()

    def _terms(self, subscription: Subscription, head: Head) -> Terms | None:
        """Look up terms; None if they are missing. During the first lookup, other threads wait for its result."""
        name = subscription.plan_id, head.key.usage_type
        with self._lock:
            lookup = self._lookups.get(name)
            if lookup is None:
                self._lookups[name] = own = Future[bool]()
        if lookup is not None:
            return None if lookup.result() else terms_for(subscription, head.period, head.key.usage_type)
        terms, found_out = None, False
        try:
            terms, found_out = terms_for(subscription, head.period, head.key.usage_type), True
        finally:
            if not found_out:
                with self._lock:
                    del self._lookups[name]
            own.set_result(found_out and terms is None)
        return terms
