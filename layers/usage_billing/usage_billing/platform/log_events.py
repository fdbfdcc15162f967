"""The log events: the texts that the `message` of a log line can have.

docs/operations.md lists them with their levels and what to do about them; a test compares the two.
"""

from enum import StrEnum


class LogEvent(StrEnum):
    API_KEY_IGNORED = "API key ignored"
    RENEWAL_FAILED = "renewal failed, previous value still used"

    REQUEST_REFUSED = "request refused"
    REQUEST_FAILED = "request failed"
    INTERNAL_ERROR = "internal error"

    EVENTS_REJECTED = "events rejected"
    EVENTS_NOT_RECORDED = "events not recorded"
    EVENTS_POSTPONED = "events postponed"
    LEDGER_CONFLICT = "ledger write conflict"
    QUOTA_MISSING = "quota missing"

    QUEUE_UNAVAILABLE = "queue unavailable"
    QUEUE_REFUSED_MESSAGES = "queue refused messages"
    DELIVERIES_NOT_POSTPONED = "deliveries not postponed"

    EVENT_DEAD_LETTERED = "event dead-lettered"
    DEAD_EVENT_NOT_SAVED = "dead event not saved"
    DEAD_EVENT_NOT_REMOVED = "dead event not removed"
    DEAD_EVENT_REDRIVEN = "dead event redriven"
    DEAD_EVENT_DROPPED = "dead event dropped"
    UNDELIVERED_EVENT_RECORDED = "undelivered event already recorded"

    LEDGER_NOT_SETTLED = "ledger not settled"
    LEDGERS_NOT_LISTED = "ledgers not listed"
    LEDGER_LISTING_RETRIED = "ledgers not listed, retrying"
    BATCH_READ_FAILED = "batch read of heads failed, reading one by one"
    RUN_SEGMENT_COMPLETED = "run segment completed"
    RUN_SEGMENT_NOT_ENQUEUED = "run segment not enqueued"
    RUN_PROGRESS_NOT_SAVED = "run progress not saved"
    RUN_REPORT_NOT_SAVED = "run report not saved"
    RUN_CONTINUES = "billing run continues"
    RUN_COMPLETED = "billing run completed"
