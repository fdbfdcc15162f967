"""The one-line way: `record_usage`, configured by the environment."""

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from usage_recorder.errors import RecorderError
from usage_recorder.events import Quantity
from usage_recorder.recorder import UsageRecorder

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
    """Record usage and say whether the service has acknowledged it. Never raises.

    True: the service has it. False: it has not said so within ten seconds, or it refused, or the event could not be
    accepted here; the log says which. An event that was merely not answered stays buffered and goes on being sent, so
    do not record the same usage again, except with an `event_id` of your own, which counts once.

    The environment says where and who: USAGE_API_URL, and INTERNAL_API_KEY or USAGE_API_TOKEN. With USAGE_SPOOL, the
    path of a file, unsent and refused events survive the process.
    """
    try:
        default_recorder().record_now(
            user_id, subscription_id, usage_type, quantity, metadata, event_id=event_id, occurred_at=occurred_at
        )
    except (RecorderError, ValueError) as error:
        log.error("usage is not recorded: %s", error)
    except Exception:
        log.exception("usage is not recorded")
    else:
        return True
    return False


@cache
def default_recorder() -> UsageRecorder:
    """The recorder of the environment, which is asked again the next time if it lacks something.

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
