"""Examples for the API's description: one story, from a plan to an invoice. Tests hold them against the schemas."""

from typing import Any

IDS = {
    "planId": "business",
    "usageType": "assessment",
    "subscriptionId": "sub-456",
    "userId": "user-123",
    "invoiceId": "sub-456-20261101T000000Z",
    "eventId": "assessment-7f3a",
    "runId": "9b1c2f0e5d",
}
"""By the name of a field or a parameter."""

PARAMETERS: dict[str, str | int] = {
    **IDS,
    "period": "2026-11-15",
    "limit": 10,
    "Idempotency-Key": "assessment-7f3a",
    "Prefer": "respond-async",
}

# Without `occurredAt`, so that it can be sent as it is at any time: an event may be a year old, not more.
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

_QUOTA = {
    "planId": "business",
    "usageType": "assessment",
    "monthlyLimit": 50,
    "unitPrice": "10.00",
    "unitName": "assessment",
    "currency": "USD",
}

_INVOICE = {
    "invoiceId": "sub-456-20261101T000000Z",
    "subscriptionId": "sub-456",
    "userId": "user-123",
    "status": "draft",
    "periodStart": "2026-11-01T00:00:00Z",
    "periodEnd": "2026-12-01T00:00:00Z",
    "currency": "USD",
    "total": "25.00",
    "items": [
        {
            "itemId": "assessment#000000000000005",
            "usageType": "assessment",
            "description": "2.5 x assessment beyond the 50 included",
            "quantity": 2.5,
            "unitPrice": "10.00",
            "amount": "25.00",
            "fromSequence": 1,
            "toSequence": 5,
            "runId": "9b1c2f0e5d",
            "createdAt": "2026-11-21T00:00:04Z",
        }
    ],
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
    "invoiceItemId": "assessment#000000000000005",
    "metadata": {"assessmentId": "a-1001"},
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

BODIES: dict[str, dict[str, Any]] = {
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
                "usageType": "assesment",
                "planId": "business",
            }
        ],
    },
    "BillingRuns": {"runs": [_RUN]},
    "QuotaTerms": {"monthlyLimit": 50, "unitPrice": "10.00", "unitName": "assessment", "currency": "USD"},
    "Quota": _QUOTA,
    "Quotas": {"quotas": [_QUOTA]},
    "SubscriptionTerms": _SUBSCRIPTION,
    "Subscription": {"subscriptionId": "sub-456"} | _SUBSCRIPTION,
    "InvoiceWithItems": _INVOICE,
    "InvoicesOfSubscription": {"invoices": [_INVOICE]},
}
"""By the name of the model that a request or an answer is."""
