"""Terms for unrated ledgers in a billing run: a quota that is missing is looked up once, not for each of its ledgers.

Only what is missing is remembered. Terms hold for a whole period, so plan and quota are read afresh for each ledger
that gets them; a ledger that is left unrated for what was remembered is rated by the next run.
"""

from concurrent.futures import Future
from threading import Lock

from usage_billing.billing.model import Unrated
from usage_billing.plans import store as quota_store
from usage_billing.pricing.terms import Terms
from usage_billing.subscriptions import store as subscription_store
from usage_billing.usage.ledger import Head

MAX_PLANS = 100_000
"""How many subscriptions' plans are remembered before all are forgotten: some ten megabytes."""


class Rating:
    """Rates the unrated ledgers of one invocation. Safe under threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._plans: dict[str, str] = {}
        self._looks: dict[tuple[str, str], Future[bool]] = {}
        """For each plan and usage type whether the quota is missing, or is being looked up."""

    def rated(self, head: Head) -> Head:
        """Return an unrated head with the terms that its subscription's plan has by now.

        Raises:
            Unrated: there are none.
            SubscriptionNotFound: its subscription is gone.
        """
        subscription_id, usage_type = head.key.subscription_id, head.key.usage_type
        plan_id = self._plans.get(subscription_id)
        if plan_id is None or not self._is_missing(plan_id, usage_type):
            plan_id = subscription_store.subscription(subscription_id).plan_id
            self._remember(subscription_id, plan_id)
        terms = self._terms(plan_id, usage_type)
        if terms is None:
            raise Unrated(plan_id, usage_type)
        return head.rated(terms)

    def _remember(self, subscription_id: str, plan_id: str) -> None:
        with self._lock:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[subscription_id] = plan_id

    def _is_missing(self, plan_id: str, usage_type: str) -> bool:
        look = self._looks.get((plan_id, usage_type))
        return look is not None and look.result()

    def _terms(self, plan_id: str, usage_type: str) -> Terms | None:
        """Look up terms; None where they are missing. While one looks for the first time, the others wait for it."""
        name = plan_id, usage_type
        with self._lock:
            look = self._looks.get(name)
            if look is None:
                self._looks[name] = mine = Future[bool]()
        if look is not None:
            return None if look.result() else quota_store.terms(*name)
        terms, answered = None, False
        try:
            terms, answered = quota_store.terms(*name), True
        finally:
            if not answered:
                with self._lock:
                    del self._looks[name]
            mine.set_result(answered and terms is None)
        return terms
