"""What Secrets Manager keeps, remembered by this process for some minutes."""

from collections.abc import Callable
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from usage_billing.platform import aws
from usage_billing.platform.caches import cached
from usage_billing.platform.renewal import Renewed

CACHE_SECONDS = 300.0

PATIENCE = Config(read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})
"""Every request waits for this, and an old copy may be at hand."""


ValueT = TypeVar("ValueT")


class SecretUnavailable(Exception):
    """The secret could not be fetched, or does not hold what it should."""


class Vault:
    """The secrets, each as it was when it was last fetched."""

    def __init__(self) -> None:
        self.client = aws.client("secretsmanager", PATIENCE)
        self.store: dict[str, Renewed[Any]] = {}

    def get(self, secret_id: str, parse: Callable[[str], ValueT], *, seconds: float = CACHE_SECONDS) -> ValueT:
        """What `parse` makes of a secret's text as it was at most so many `seconds` ago.

        A bounded time longer if the secret cannot be renewed: it is not answered, or `parse` raises ValueError for it.

        Raises:
            SecretUnavailable: there is nothing that may still be used.
        """

        def fetch() -> ValueT:
            try:
                return parse(self._fetch(secret_id))
            except (ValueError, RecursionError) as error:
                raise SecretUnavailable(secret_id) from error

        kept: Renewed[ValueT] = self.store.setdefault(secret_id, Renewed(CACHE_SECONDS, SecretUnavailable))
        return kept.get(fetch, lifespan=seconds)

    def _fetch(self, secret_id: str) -> str:
        try:
            answer = self.client.get_secret_value(SecretId=secret_id, VersionStage="AWSCURRENT")
            return str(answer["SecretString"])
        except (BotoCoreError, ClientError, KeyError) as error:
            raise SecretUnavailable(secret_id) from error


@cached
def vault() -> Vault:
    return Vault()
