"""The settings, and the configuration of AWS clients. Nothing else reads the environment."""

import os
from typing import Literal

from botocore.config import Config
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_snake

from usage_billing.platform.caches import cached

CLIENT_CONFIG = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=32,
    parameter_validation=False,  # our own code makes the parameters, and AWS validates them anyway
    user_agent="usage-billing",  # botocore would build a long one for every call, which takes a tenth of a ms
)
"""The configuration of every AWS client. A call to a service that hangs times out before API Gateway and Lambda do, so
that the caller still gets a response that says to try again."""


class Settings(BaseModel):
    """The settings from the template. Each field is the environment variable of the same name in upper case."""

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
    """Return the settings of this process, which are read once.

    Raises:
        RuntimeError: a variable is missing or invalid; the message names it.
    """
    try:
        return Settings.model_validate(dict(os.environ))
    except ValidationError as error:
        names = ", ".join(str(each["loc"][0]) for each in error.errors())
        raise RuntimeError(f"missing or invalid environment variables: {names}") from None
