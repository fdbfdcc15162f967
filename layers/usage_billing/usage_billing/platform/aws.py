"""Clients of AWS services.

Made by botocore itself. boto3 would only wrap them, and importing it is a seventh of a cold start.
"""

from typing import Any

import botocore.session
from botocore.config import Config

from usage_billing.platform.caches import cached
from usage_billing.platform.config import CLIENT


def client(service: str, differing: Config | None = None) -> Any:
    """A client for the region and with the credentials that the environment names."""
    return _session().create_client(service, config=CLIENT.merge(differing) if differing else CLIENT)


@cached
def _session() -> Any:
    return botocore.session.get_session()
