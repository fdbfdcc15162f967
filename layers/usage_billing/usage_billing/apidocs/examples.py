"""Examples for the API reference: one story, from a plan to an invoice. Tests check them against the schemas."""

from typing import Any

from usage_billing.kernel.product_version import NAME, VERSION

IDS = {
    "planId": "business",
    "usageType": "assessment",
    "subscriptionId": "sub-456",
    "userId": "user-123",
    "invoiceId": "sub-456-20261101T000000Z",
    "eventId": "assessment-7f3a",
    "runId": "9b1c2f0e5d",
}
"""Example ids by the name of a field or a parameter."""

PARAMETERS: dict[str, str | int] = {
    **IDS,
    "period": "2026-11-15",
    "limit": 10,
    "code": "event_id_conflict",
    "effectiveFrom": "2027-01-01T00:00:00Z",
    "Idempotency-Key": "assessment-7f3a",
    "Prefer": "respond-async",
}

# Without `occurredAt` and `reportedAt`, so that a reader can send it at any time: an event may be a year old.
_EVENT = {
    "eventId": "assessment-7f3a",
    "userId": "user-123",
    "subscriptionId": "sub-456",
    "usageType": "assessment",
    "quantity": 12.5,
    "metadata": {"assessmentId": "a-1001"},
}

_RECORDED = {
    "eventId": "assessment-7f3a",
    "userId": "user-123",
    "subscriptionId": "sub-456",
    "usageType": "assessment",
    "quantity": 12.5,
    "occurredAt": "2026-11-20T09:30:00Z",
    "recordedAt": "2026-11-20T09:30:00.25Z",
    "sequence": 5,
    "billable": True,
    "billableQuantity": 2.5,
    "quota": {
        "limit": 50,
        "used": 52.5,
        "remaining": 0,
        "exceeded": True,
        "unitName": "assessment",
        "periodStart": "2026-11-01T00:00:00Z",
        "periodEnd": "2026-12-01T00:00:00Z",
    },
}

_USAGE = {
    "subscriptionId": "sub-456",
    "userId": "user-123",
    "planId": "business",
    "periodStart": "2026-11-01T00:00:00Z",
    "periodEnd": "2026-12-01T00:00:00Z",
    "usage": [
        {
            "usageType": "assessment",
            "unitName": "assessment",
            "used": 52.5,
            "limit": 50,
            "remaining": 0,
            "exceeded": True,
            "billableQuantity": 2.5,
            "billedQuantity": 2.5,
            "unitPrice": "10.00",
            "charge": "25.00",
            "currency": "USD",
        }
    ],
}

_VERSION = {
    "planId": "business",
    "usageType": "assessment",
    "monthlyLimit": 50,
    "unitPrice": "10.00",
    "price": {"model": "unit", "unitPrice": "10.00"},
    "minimumCharge": None,
    "maximumCharge": "500.00",
    "unitName": "assessment",
    "currency": "USD",
    "effectiveFrom": "2026-10-01T00:00:00Z",
    "changedBy": "admin-7",
    "changedAt": "2026-09-24T08:15:00.5Z",
}

_NEXT_VERSION = _VERSION | {
    "unitPrice": "11.00",
    "price": {"model": "unit", "unitPrice": "11.00"},
    "effectiveFrom": "2027-01-01T00:00:00Z",
    "changedAt": "2026-11-20T08:15:00.5Z",
}

_GRADUATED = {
    "monthlyLimit": 50,
    "price": {
        "model": "graduated",
        "tiers": [
            {"upTo": 100, "unitPrice": "10.00"},
            {"upTo": None, "unitPrice": "8.00", "flatFee": "25.00"},
        ],
    },
    "minimumCharge": "100.00",
    "unitName": "assessment",
    "currency": "USD",
}

_QUOTA = _VERSION | {"next": _NEXT_VERSION}

_INVOICE = {
    "invoiceId": "sub-456-20261101T000000Z",
    "subscriptionId": "sub-456",
    "userId": "user-123",
    "status": "draft",
    "periodStart": "2026-11-01T00:00:00Z",
    "periodEnd": "2026-12-01T00:00:00Z",
    "currency": "USD",
    "total": "25.00",
    "itemCount": 1,
}

_MONTH = {"periodStart": "2026-11-01T00:00:00Z", "periodEnd": "2026-12-01T00:00:00Z"}

_LINE = {
    "usageType": "assessment",
    **_MONTH,
    "unitName": "assessment",
    "quantity": 2.5,
    "unitPrice": "10.00",
    "amount": "25.00",
    "itemCount": 1,
}

_ITEM = {
    "itemId": "2026-11-01T00:00:00Z#assessment#000000000000005",
    "usageType": "assessment",
    **_MONTH,
    "description": "2.5 x assessment beyond the 50 included",
    "quantity": 2.5,
    "unitPrice": "10.00",
    "amount": "25.00",
    "fromSequence": 1,
    "toSequence": 5,
    "runId": "9b1c2f0e5d",
    "createdAt": "2026-11-21T00:00:04Z",
}

_RECORD = {
    "eventId": "assessment-7f3a",
    "userId": "user-123",
    "subscriptionId": "sub-456",
    "usageType": "assessment",
    "quantity": 12.5,
    "cumulativeQuantity": 52.5,
    "occurredAt": "2026-11-20T09:30:00Z",
    "recordedAt": "2026-11-20T09:30:00.25Z",
    "sequence": 5,
    "billable": True,
    "billableQuantity": 2.5,
    "processed": True,
    "invoiceId": "sub-456-20261101T000000Z",
    "invoiceItemId": "2026-11-01T00:00:00Z#assessment#000000000000005",
    "metadata": {"assessmentId": "a-1001"},
}

_CONFLICT = "Another event of this subscription already has the event id assessment-7f3a. Fields that differ: quantity."

_DEAD = {
    "id": "WyJzdWItNDU2IiwiYXNzZXNzbWVudC03ZjNhIGQ2ODlkODdjNzY0YzRmNzMiXQ",
    "code": "event_id_conflict",
    "detail": _CONFLICT,
    "deadAt": "2026-11-20T09:31:00Z",
    "lastDeadAt": "2026-11-20T09:31:00Z",
    "attempts": 1,
    "subscriptionId": "sub-456",
    "eventId": "assessment-7f3a",
    "userId": "user-123",
    "event": _EVENT | {"acceptedAt": "2026-11-20T09:30:00Z"},
    "body": None,
}

_SUBSCRIPTION = {"userId": "user-123", "planId": "business", "status": "active", "billingAnchorDay": 1}

_RUN = {
    "runId": "9b1c2f0e5d",
    "status": "completed",
    "subscriptionId": None,
    "startedAt": "2026-11-21T00:00:04Z",
    "updatedAt": "2026-11-21T00:00:05.5Z",
    "ledgersSettled": 1,
    "itemsCreated": 1,
    "failures": 1,
    "ledgersUnrated": 1,
    "totals": {"USD": "25.00"},
    "segmentsCompleted": 1,
    "segmentsUnderWay": 0,
    "interruptions": 0,
}

DETAILS = {
    "not_json": "The body is not valid JSON: expecting value, line 1, column 14.",
    "credentials_missing": "Send a token as 'Authorization: Bearer ...' or an API key as 'x-api-key: ...'.",
    "credentials_invalid": "The API key is not valid.",
    "credentials_expired": "The token has expired; get a new one.",
    "forbidden": "You do not have access to this resource, or it does not exist.",
    "subscription_not_owned": "The subscription sub-456 does not belong to the user user-789.",
    "not_found": "No such route.",
    "method_not_allowed": "DELETE is not allowed here; use GET or PUT.",
    "subscription_not_found": "There is no subscription sub-456.",
    "quota_not_found": "The plan business has no quota for assessment.",
    "quota_version_not_found": "The plan business has no version of assessment from 2027-01-01T00:00:00Z.",
    "invoice_not_found": "There is no invoice sub-456-20261101T000000Z.",
    "event_not_found": "No event assessment-7f3a is recorded for this subscription. It may still be in the queue.",
    "run_not_found": "There is no billing run 9b1c2f0e5d.",
    "event_id_conflict": _CONFLICT,
    "subscription_inactive": "The subscription sub-456 is paused.",
    "subscription_user_fixed": (
        "The user of a subscription cannot be changed. Cancel it, and create another one for the other user."
    ),
    "plan_currency_mismatch": "The plan business has the currency USD, which cannot be changed.",
    "quota_version_in_effect": "The version of assessment in the plan business from 2026-10-01T00:00:00Z is in effect, "
    "or will be in a few seconds. Put a newer version instead.",
    "invoice_not_draft": "The invoice sub-456-20261101T000000Z is final and accepts no more items.",
    "invoice_currency_mismatch": "The invoice sub-456-20261101T000000Z is in USD, the charge for assessment in EUR.",
    "body_too_large": "The body is larger than 16384 bytes.",
    "unsupported_media_type": "Send the body as application/json.",
    "validation_error": "quantity: must be greater than 0",
    "too_many_usage_types": "The subscription sub-456 already has 200 usage types in this period, which is the "
    "maximum; report cannot be added.",
    "internal_error": "An internal error occurred on our side.",
    "ledger_busy": "Too many concurrent writes for usage type assessment of this subscription.",
    "database_unavailable": "The database did not answer; send the same request again.",
    "queue_unavailable": "The queue did not accept the event; send the same request again.",
    "identity_provider_unavailable": "The token cannot be checked right now.",
}
"""An example of the `detail` of each error, by its code."""

BODIES: dict[str, dict[str, Any]] = {
    "Index": {"name": NAME, "version": VERSION, "docs": "docs", "openapi": "openapi.json"},
    "ReportedUsage": _EVENT,
    "RecordedUsage": _RECORDED,
    "QueuedEvent": {"queued": True, "eventId": "assessment-7f3a"},
    "UsageBatch": {"events": [_EVENT, _EVENT | {"eventId": "assessment-7f3b", "quantity": 1}]},
    "BatchResults": {
        "results": [{"eventId": "assessment-7f3a", "status": "recorded", "record": _RECORDED, "problem": None}],
        "totals": {"recorded": 1, "replayed": 0, "queued": 0, "rejected": 0},
    },
    "SubscriptionUsage": _USAGE,
    "UserUsage": {"userId": "user-123", "subscriptions": [_USAGE]},
    "UsageRecords": {"records": [_RECORD]},
    "RecordedEvent": {"status": "recorded"} | _RECORD,
    "DeadUsageEvents": {"deadEvents": [_DEAD]},
    "DeadEventSelection": {"code": "event_id_conflict", "subscriptionId": "sub-456"},
    "RedrivenEvents": {"redriven": 12, "kept": 0},
    "DroppedEvents": {"dropped": 12, "kept": 0},
    "BillingScope": {"subscriptionId": "sub-456"},
    "BillingRun": {
        "runId": "9b1c2f0e5d",
        "status": "completed",
        "ledgersSettled": 1,
        "itemsCreated": 1,
        "failures": 0,
        "ledgersUnrated": 0,
        "totals": {"USD": "25.00"},
    },
    "BillingRunReport": _RUN
    | {
        "failedLedgers": [
            {
                "code": "invoice_not_draft",
                "subscriptionId": "sub-457",
                "periodStart": "2026-10-01T00:00:00Z",
                "usageType": "assessment",
                "shard": None,
            }
        ],
        "unratedLedgers": [
            {
                "subscriptionId": "sub-456",
                "periodStart": "2026-11-01T00:00:00Z",
                "usageType": "assesment",  # codespell:ignore assesment - misspelled, so no quota has it
                "planId": "business",
            }
        ],
    },
    "BillingRuns": {"runs": [_RUN]},
    "QuotaTerms": {
        "monthlyLimit": 50,
        "unitPrice": "11.00",
        "maximumCharge": "500.00",
        "unitName": "assessment",
        "currency": "USD",
        "effectiveFrom": "2027-01-01T00:00:00Z",
    },
    "QuotaPreview": {"quota": _GRADUATED, "quantities": [160]},
    "PreviewedCharges": {
        "unitName": "assessment",
        "currency": "USD",
        "charges": [
            {
                "quantity": 160,
                "includedQuantity": 50,
                "billableQuantity": 110,
                "charge": "1105.00",
                "amount": "1105.00",
                "lines": [
                    {
                        "kind": "usage",
                        "quantity": 100,
                        "unitPrice": "10.00",
                        "flatFee": "0.00",
                        "packageSize": None,
                        "amount": "1000.00",
                    },
                    {
                        "kind": "usage",
                        "quantity": 10,
                        "unitPrice": "8.00",
                        "flatFee": "25.00",
                        "packageSize": None,
                        "amount": "105.00",
                    },
                ],
            }
        ],
    },
    "Quota": _QUOTA,
    "Quotas": {"quotas": [_QUOTA]},
    "QuotaVersions": {"versions": [_NEXT_VERSION, _VERSION]},
    "DeletedQuotaVersion": _NEXT_VERSION | {"deletedBy": "admin-7", "deletedAt": "2026-11-24T16:30:00Z"},
    "Plans": {
        "plans": [
            {
                "planId": "business",
                "currency": "USD",
                "changedBy": "admin-7",
                "changedAt": "2026-09-24T08:15:00.5Z",
            }
        ]
    },
    "SubscriptionTerms": _SUBSCRIPTION,
    "Subscription": {"subscriptionId": "sub-456"} | _SUBSCRIPTION,
    "InvoiceWithLines": _INVOICE | {"lines": [_LINE]},
    "ItemsOfInvoice": {"items": [_ITEM]},
    "InvoicesOfSubscription": {"invoices": [_INVOICE]},
}
"""Examples of requests and responses, by the name of their model."""
