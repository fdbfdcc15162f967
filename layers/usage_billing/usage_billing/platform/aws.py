"""Clients of AWS services.

They are botocore's own: boto3 only wraps them, and importing it would take a seventh of a cold start.
"""

from typing import Any

import botocore.session
from botocore.config import Config

from usage_billing.platform.caches import cached
from usage_billing.platform.config import CLIENT_CONFIG


def client(service: str, overrides: Config | None = None) -> Any:
    """Return a client that uses the region and the credentials of the environment."""
    return _session().create_client(service, config=CLIENT_CONFIG.merge(overrides) if overrides else CLIENT_CONFIG)


@cached
def _session() -> Any:
    return botocore.session.get_session()
