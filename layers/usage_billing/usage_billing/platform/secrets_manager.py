"""Secrets from Secrets Manager, cached by this process for some minutes."""

from collections.abc import Callable
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from usage_billing.platform import aws
from usage_billing.platform.caches import cached
from usage_billing.platform.renewed_values import Renewed

CACHE_SECONDS = 300.0

SHORT_TIMEOUT = Config(read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})
"""Requests wait for this call, and there may be a cached copy to use instead."""

ValueT = TypeVar("ValueT")


class SecretUnavailable(Exception):
    """The secret could not be fetched, or its content is invalid."""


class Vault:
    """A cache of secrets."""

    def __init__(self) -> None:
        self.client = aws.client("secretsmanager", SHORT_TIMEOUT)
        self.store: dict[str, Renewed[Any]] = {}

    def get(self, secret_id: str, parse: Callable[[str], ValueT], *, seconds: float = CACHE_SECONDS) -> ValueT:
        """Return what `parse` returns for a secret's text that is at most `seconds` old.

        If the secret cannot be fetched, or `parse` raises ValueError, the previous value is used for a limited time.

        Raises:
            SecretUnavailable: there is no value that may still be used.
        """

        def fetch() -> ValueT:
            try:
                return parse(self._fetch(secret_id))
            except (ValueError, RecursionError) as error:
                raise SecretUnavailable(secret_id) from error

        cached_value: Renewed[ValueT] = self.store.setdefault(secret_id, Renewed(CACHE_SECONDS, SecretUnavailable))
        return cached_value.get(fetch, lifespan=seconds)

    def _fetch(self, secret_id: str) -> str:
        try:
            response = self.client.get_secret_value(SecretId=secret_id, VersionStage="AWSCURRENT")
            return str(response["SecretString"])
        except (BotoCoreError, ClientError, KeyError) as error:
            raise SecretUnavailable(secret_id) from error


@cached
def vault() -> Vault:
    return Vault()
