"""What Secrets Manager keeps, remembered by this process for some minutes."""

import time
from functools import cache

from botocore.exceptions import BotoCoreError, ClientError

from usage_billing import aws

CACHE_SECONDS = 300


class SecretUnavailable(Exception):
    """The secret could not be fetched."""


class Vault:
    """The secrets, and when each was fetched."""

    def __init__(self) -> None:
        self.client = aws.client("secretsmanager")
        self.store: dict[str, tuple[float, str]] = {}

    def get(self, secret_id: str) -> str:
        """The text of a secret as it was at most `CACHE_SECONDS` ago.

        Raises:
            SecretUnavailable: it could not be fetched.
        """
        now = time.monotonic()
        fetched_at, secret = self.store.get(secret_id, (0.0, None))
        if secret is None or now - fetched_at >= CACHE_SECONDS:
            try:
                secret = str(self.client.get_secret_value(SecretId=secret_id)["SecretString"])
            except (BotoCoreError, ClientError, KeyError) as error:
                raise SecretUnavailable(secret_id) from error
            self.store[secret_id] = (now, secret)
        return secret


@cache
def vault() -> Vault:
    return Vault()
