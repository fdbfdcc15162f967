"""The PynamoDB models of the eight tables: keys, indexes and attributes.

The names of the attributes are the names in DynamoDB.
"""

from typing import Any

from pynamodb.attributes import MapAttribute, UnicodeAttribute
from pynamodb.connection import Connection
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection

from usage_billing.platform.caches import on_clear
from usage_billing.platform.dynamodb import DecimalAttribute, IntegerAttribute, Table


class LedgerIndex(GlobalSecondaryIndex["UsageTable"]):  # type: ignore[no-untyped-call]
    """The entries of a ledger in order."""

    class Meta:
        index_name = "ledger-index"
        projection = AllProjection()

    ledger_id = UnicodeAttribute(hash_key=True)
    sequence = IntegerAttribute(range_key=True)


class UsageTable(Table):
    """Entries. They are never updated."""

    setting = "usage_table"

    class Meta:
        table_name = ""

    subscription_id = UnicodeAttribute(hash_key=True)
    event_id = UnicodeAttribute(range_key=True)
    ledger_id = UnicodeAttribute()
    sequence = IntegerAttribute()
    user_id = UnicodeAttribute()
    quantity = DecimalAttribute()
    cumulative = DecimalAttribute()
    billable_quantity = DecimalAttribute(null=True)
    occurred_at = UnicodeAttribute()
    recorded_at = UnicodeAttribute()
    metadata = UnicodeAttribute(null=True)
    ledger_index = LedgerIndex()


class TermsAttribute(MapAttribute[str, Any]):
    plan_id = UnicodeAttribute()
    included = DecimalAttribute()
    price = UnicodeAttribute()
    unit_name = UnicodeAttribute()
    currency = UnicodeAttribute()
    minimum_charge = DecimalAttribute(null=True)
    maximum_charge = DecimalAttribute(null=True)


class PendingIndex(GlobalSecondaryIndex["UsageSummaryTable"]):  # type: ignore[no-untyped-call]
    """The ledgers with unsettled entries, by shard."""

    class Meta:
        index_name = "pending-index"
        projection = KeysOnlyProjection()

    pending = UnicodeAttribute(hash_key=True)


class UsageSummaryTable(Table):
    """Heads. The first group of attributes is written by recording, the second by billing, `terms` once by either."""

    setting = "usage_summary_table"

    class Meta:
        table_name = ""

    subscription_id = UnicodeAttribute(hash_key=True)
    ledger = UnicodeAttribute(range_key=True)
    user_id = UnicodeAttribute()
    period_end = UnicodeAttribute()
    last_sequence = IntegerAttribute()
    used = DecimalAttribute()
    pending = UnicodeAttribute(null=True)

    billed_through = IntegerAttribute()
    billed_quantity = DecimalAttribute()
    billed_amount = DecimalAttribute()
    billed_items = IntegerAttribute(null=True)

    terms = TermsAttribute(null=True)  # type: ignore[no-untyped-call]
    pending_index = PendingIndex()


class PlanIndex(GlobalSecondaryIndex["UsageQuotaTable"]):  # type: ignore[no-untyped-call]
    """The plans. Versions of quotas are not in it."""

    class Meta:
        index_name = "plan-index"
        projection = IncludeProjection(["currency", "changed_by", "changed_at"])

    kind = UnicodeAttribute(hash_key=True)
    plan_id = UnicodeAttribute(range_key=True)


class UsageQuotaTable(Table):
    """Versions of quotas, at `{usage_type}#{effective_from}`.

    For each plan there is one item at `PLAN`, with the plan's currency and who fixed it when, and with a revision that
    every change of the plan's versions increments. Deleted versions are kept under `DELETED` and their former key.

    Prices that are too long for ledgers to copy have a partition of their own each, with one item at `PRICE`.
    """

    setting = "usage_quota_table"
    PLAN = "#plan"
    DELETED = "#deleted#"
    PRICE = "#price"
    """None begins with a valid usage type. All sort before them."""

    class Meta:
        table_name = ""

    plan_id = UnicodeAttribute(hash_key=True)
    version = UnicodeAttribute(range_key=True)
    currency = UnicodeAttribute()
    changed_by = UnicodeAttribute()
    changed_at = UnicodeAttribute()

    monthly_limit = DecimalAttribute(null=True)
    price = UnicodeAttribute(null=True)
    unit_name = UnicodeAttribute(null=True)
    minimum_charge = DecimalAttribute(null=True)
    maximum_charge = DecimalAttribute(null=True)
    deleted_by = UnicodeAttribute(null=True)
    deleted_at = UnicodeAttribute(null=True)

    kind = UnicodeAttribute(null=True)
    revision = IntegerAttribute(null=True)
    plan_index = PlanIndex()


class UsageInvoiceItemTable(Table):
    """Charges."""

    setting = "usage_invoice_item_table"

    class Meta:
        table_name = ""

    invoice_id = UnicodeAttribute(hash_key=True)
    item_id = UnicodeAttribute(range_key=True)
    usage_type = UnicodeAttribute()
    period_start = UnicodeAttribute()
    period_end = UnicodeAttribute()
    description = UnicodeAttribute()
    quantity = DecimalAttribute()
    unit_price = DecimalAttribute(null=True)
    amount = DecimalAttribute()
    currency = UnicodeAttribute()
    from_sequence = IntegerAttribute()
    to_sequence = IntegerAttribute()
    run_id = UnicodeAttribute()
    created_at = UnicodeAttribute()


class SubscriptionUserIndex(GlobalSecondaryIndex["SubscriptionTable"]):  # type: ignore[no-untyped-call]
    """The subscriptions of a user."""

    class Meta:
        index_name = "user-index"
        projection = AllProjection()

    user_id = UnicodeAttribute(hash_key=True)
    subscription_id = UnicodeAttribute(range_key=True)


class SubscriptionTable(Table):
    """Subscriptions."""

    setting = "subscription_table"

    class Meta:
        table_name = ""

    subscription_id = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute()
    plan_id = UnicodeAttribute()
    status = UnicodeAttribute()
    cycle = UnicodeAttribute()
    earlier_cycles = UnicodeAttribute(null=True)
    user_index = SubscriptionUserIndex()


class DraftIndex(GlobalSecondaryIndex["InvoiceTable"]):  # type: ignore[no-untyped-call]
    """Draft invoices by the end of their period. A final invoice is not in it."""

    class Meta:
        index_name = "draft-index"
        projection = KeysOnlyProjection()

    draft = UnicodeAttribute(hash_key=True)
    period_end = UnicodeAttribute(range_key=True)


class InvoiceTable(Table):
    """Invoices. A draft grows until it is final."""

    setting = "invoice_table"

    class Meta:
        table_name = ""

    subscription_id = UnicodeAttribute(hash_key=True)
    period_start = UnicodeAttribute(range_key=True)
    period_end = UnicodeAttribute()
    user_id = UnicodeAttribute()
    status = UnicodeAttribute()
    draft = UnicodeAttribute(null=True)
    currency = UnicodeAttribute()
    total = DecimalAttribute()
    item_count = IntegerAttribute()
    draft_index = DraftIndex()


class CodeIndex(GlobalSecondaryIndex["DeadEventTable"]):  # type: ignore[no-untyped-call]
    """The dead events by code, in the order in which they died."""

    class Meta:
        index_name = "code-index"
        projection = AllProjection()

    code = UnicodeAttribute(hash_key=True)
    dead_at = UnicodeAttribute(range_key=True)


class DeadEventTable(Table):
    """Accepted events that could not be recorded, and unreadable messages. They are kept until redriven or dropped."""

    setting = "dead_event_table"

    class Meta:
        table_name = ""

    subscription_id = UnicodeAttribute(hash_key=True)
    event_key = UnicodeAttribute(range_key=True)
    code = UnicodeAttribute()
    detail = UnicodeAttribute()
    dead_at = UnicodeAttribute()
    last_dead_at = UnicodeAttribute()
    attempts = IntegerAttribute()
    version = UnicodeAttribute()
    message_id = UnicodeAttribute()
    content = UnicodeAttribute()
    event_id = UnicodeAttribute(null=True)
    user_id = UnicodeAttribute(null=True)
    code_index = CodeIndex()


class BillingRunTable(Table):
    """The reports of billing runs: one row per invocation. One more partition lists the runs; it has only keys."""

    setting = "billing_run_table"

    class Meta:
        table_name = ""

    run_id = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True)
    segment_id = UnicodeAttribute(null=True)
    attempt_id = UnicodeAttribute(null=True)
    subscription_id = UnicodeAttribute(null=True)
    started_at = UnicodeAttribute(null=True)
    updated_at = UnicodeAttribute(null=True)
    revision = IntegerAttribute(null=True)
    status = UnicodeAttribute(null=True)
    settled = IntegerAttribute(null=True)
    items = IntegerAttribute(null=True)
    failures = IntegerAttribute(null=True)
    unrated = IntegerAttribute(null=True)
    amounts = UnicodeAttribute(null=True)
    failed = UnicodeAttribute(null=True)
    unrated_ledgers = UnicodeAttribute(null=True)
    handed_over = UnicodeAttribute(null=True)
    expires_at = IntegerAttribute()


ALL: tuple[type[Table], ...] = (
    UsageTable,
    UsageQuotaTable,
    UsageSummaryTable,
    UsageInvoiceItemTable,
    SubscriptionTable,
    InvoiceTable,
    DeadEventTable,
    BillingRunTable,
)


def connection() -> Connection:
    """Return the connection for transactions. It uses the shared client."""
    return UsageTable._get_connection().connection


@on_clear
def disconnect() -> None:
    """Drop the tables' names and connections, so that the next call reads them from the settings again."""
    for table in ALL:
        table._connection = None
