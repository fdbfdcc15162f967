"""What Secrets Manager keeps, remembered by this process for some minutes."""

from functools import cache

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from usage_billing import aws
from usage_billing.renewal import Renewed

CACHE_SECONDS = 300.0

PATIENCE = Config(read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})
"""Every request waits for this, and an old copy may be at hand."""


class SecretUnavailable(Exception):
    """The secret could not be fetched."""


class Vault:
    """The secrets, each as it was when it was last fetched."""

    def __init__(self) -> None:
        self.client = aws.client("secretsmanager", PATIENCE)
        self.store: dict[str, Renewed[str]] = {}

    def get(self, secret_id: str) -> str:
        """The text of a secret as it was at most `CACHE_SECONDS` ago, or a bounded time longer if it cannot be renewed.

        Raises:
            SecretUnavailable: it could not be fetched.
        """
        kept = self.store.setdefault(secret_id, Renewed(CACHE_SECONDS, SecretUnavailable))
        return kept.get(lambda: self._fetch(secret_id))

    def _fetch(self, secret_id: str) -> str:
        try:
            answer = self.client.get_secret_value(SecretId=secret_id, VersionStage="AWSCURRENT")
            return str(answer["SecretString"])
        except (BotoCoreError, ClientError, KeyError) as error:
            raise SecretUnavailable(secret_id) from error


@cache
def vault() -> Vault:
    return Vault()
