"""The settings, and the only reader of the environment."""

import os
from typing import Literal

from botocore.config import Config
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_snake

from usage_billing.platform.caches import cached

CLIENT = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=32,
    parameter_validation=False,  # what is sent is made here, and AWS validates it anyway
    user_agent="usage-billing",  # botocore would put a long one together for every call, which takes a tenth of a ms
)
"""Every client of an AWS service. It waits so long and no longer: a service that hangs is given up before API Gateway
and Lambda give us up, so that the caller is told to come back."""


class Settings(BaseModel):
    """What the template tells the functions; each field is the variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, alias_generator=lambda name: to_snake(name).upper())

    usage_table: str
    usage_quota_table: str
    usage_summary_table: str
    usage_invoice_item_table: str
    subscription_table: str
    invoice_table: str
    dead_event_table: str
    billing_run_table: str
    billing_queue_url: str
    usage_queue_url: str
    jwt_algorithm: Literal["HS256", "RS256", "ES256"]
    jwt_secret_id: str
    jwt_jwks_url: str
    jwt_issuer: str
    jwt_audience: str
    api_keys_secret_id: str
    customers_may_record: bool


@cached
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        RuntimeError: a variable is missing or wrong; the message names it.
    """
    try:
        return Settings.model_validate(dict(os.environ))
    except ValidationError as error:
        names = ", ".join(str(fault["loc"][0]) for fault in error.errors())
        raise RuntimeError(f"missing or wrong in the environment: {names}") from None
