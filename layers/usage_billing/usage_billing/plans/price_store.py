"""Prices as ledgers pin them: as JSON, or if that is long, as a reference to a price that is stored once.

DynamoDB charges by the KB for each event that is recorded, and a price with 20 tiers would add one. A reference is the
digest of the price, so it means the same price forever, whatever becomes of the quota. Prices are never deleted.
"""

from hashlib import sha256
from typing import Any

from pynamodb.exceptions import DoesNotExist

from usage_billing.platform.caches import register_cache
from usage_billing.platform.tables import UsageQuotaTable
from usage_billing.pricing.model import PriceModel
from usage_billing.pricing.price_models import PRICE_MODELS

MAX_PINNED_BYTES = 256
"""Maximum size of a price that is copied into ledgers. Eight tiers with a few digits each fit.

A smaller number would need each longer price to be stored before it is pinned: save its quota again.
"""

MAX_CACHED = 1000
"""Maximum prices in the cache of this process, about ten megabytes. Then all are dropped."""

_REFERENCE = "sha256:"

cache = register_cache(dict[str, PriceModel]())
"""Stored prices by their reference. They never change."""


def pinned(price: PriceModel) -> str:
    """Return the text with which a ledger pins a price that its quota was saved with."""
    text = PRICE_MODELS.dumps(price)
    return text if len(text) <= MAX_PINNED_BYTES else _reference(text)


def price_of(text: str) -> PriceModel:
    """Return the price that `pinned` wrote. A reference is read from the database once per process.

    Raises:
        LookupError: the reference is of no stored price.
    """
    if not text.startswith(_REFERENCE):
        return PRICE_MODELS.loads(text)
    price = cache.get(text)
    if price is None:
        price = PRICE_MODELS.loads(_stored(text))
        if len(cache) >= MAX_CACHED:
            cache.clear()
        cache[text] = price
    return price


def stored_with_quota(price: PriceModel) -> list[dict[str, Any]]:
    """Return the transaction's updates that store a price for ledgers to refer to; none if ledgers can copy it."""
    text = PRICE_MODELS.dumps(price)
    if len(text) <= MAX_PINNED_BYTES:
        return []
    # The same price is written again by each quota that has it, without a condition that could fail.
    row = UsageQuotaTable(_partition(_reference(text)), UsageQuotaTable.PRICE)
    return [row.change([UsageQuotaTable.price.set(text)])]


def _stored(reference: str) -> str:
    try:
        text: str = UsageQuotaTable.get(_partition(reference), UsageQuotaTable.PRICE, consistent_read=True).price
    except DoesNotExist:
        raise LookupError(f"the price {reference} is not stored") from None
    return text


def _partition(reference: str) -> str:
    """Return the partition of a stored price, which no plan can have."""
    return f"#{reference}"


def _reference(text: str) -> str:
    return f"{_REFERENCE}{sha256(text.encode()).hexdigest()}"
