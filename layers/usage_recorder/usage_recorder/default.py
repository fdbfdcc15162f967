"""`record_usage`: one function that needs nothing but environment variables."""

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from usage_recorder.errors import RecorderError
from usage_recorder.recorder import UsageRecorder
from usage_recorder.validation import Quantity

log = logging.getLogger("usage_recorder")


def record_usage(
    user_id: str,
    subscription_id: str,
    usage_type: str,
    quantity: Quantity,
    metadata: Mapping[str, Any] | None = None,
    *,
    event_id: str | None = None,
    occurred_at: datetime | None = None,
) -> bool:
    """Record usage and return whether the service has acknowledged it. Never raises.

    False means that the service did not answer within ten seconds, that it refused the event, or that the event could
    not be accepted; the log says which. An event without an answer stays buffered and is still sent. So do not record
    the same usage again, except with an `event_id` of your own, which counts once.

    Environment variables: USAGE_API_URL, and INTERNAL_API_KEY or USAGE_API_TOKEN. With USAGE_SPOOL, the path of a
    file, unsent and refused events survive the process.
    """
    try:
        default_recorder().record_now(
            user_id, subscription_id, usage_type, quantity, metadata, event_id=event_id, occurred_at=occurred_at
        )
    except (RecorderError, ValueError) as error:
        log.error("usage was not recorded: %s", error)
    except Exception:
        log.exception("usage was not recorded")
    else:
        return True
    return False


@cache
def default_recorder() -> UsageRecorder:
    """Return the recorder that the environment configures. After an error, the next call tries again.

    Raises:
        ValueError: a variable is missing.
    """
    url = os.environ.get("USAGE_API_URL")
    if not url:
        raise ValueError("USAGE_API_URL is not set")
    api_key = os.environ.get("INTERNAL_API_KEY")
    token = os.environ.get("USAGE_API_TOKEN")
    if not api_key and not token:
        raise ValueError("neither INTERNAL_API_KEY nor USAGE_API_TOKEN is set")
    return UsageRecorder(
        url,
        api_key=api_key or None,
        token=None if api_key else token,
        spool=os.environ.get("USAGE_SPOOL") or None,
    )
