"""Credentials for a stack: tokens signed with its secret, and its internal API keys.

Keys are kept as SHA-256 hashes in the stack's secret `{"keys": [{"id", "sha256"}]}`; a key itself is seen once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import jwt

from scripts.progress import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_secretsmanager import SecretsManagerClient

    from scripts.local_stack import Jwt


def signed(by: Jwt, user: str, role: str, life: timedelta) -> str:
    """A token for `user` that the stack takes until `life` is over."""
    now = datetime.now(UTC)
    claims = {"sub": user, "role": role, "iss": by["issuer"], "aud": by["audience"], "iat": now, "exp": now + life}
    return jwt.encode(claims, by["secret"], algorithm=by["algorithm"])


class ApiKeys:
    """The internal API keys that a stack accepts."""

    def __init__(self, vault: SecretsManagerClient, secret: str) -> None:
        self._vault = vault
        self._secret = secret

    def all(self) -> list[dict[str, str]]:
        stored = self._vault.get_secret_value(SecretId=self._secret)["SecretString"]
        keys: list[dict[str, str]] = json.loads(stored)["keys"]
        return keys

    def add(self, identity: str) -> str:
        """A new key, which is known nowhere else.

        Raises:
            Failure: there is a key of that id.
        """
        keys = self.all()
        if any(key["id"] == identity for key in keys):
            raise Failure(f"There is a key {identity} already. Choose another id, or revoke it first.")
        key = secrets.token_urlsafe(32)
        self._store([*keys, {"id": identity, "sha256": sha256(key)}])
        return key

    def revoke(self, identity: str) -> None:
        """Raises Failure if there is no key of that id."""
        keys = self.all()
        left = [key for key in keys if key["id"] != identity]
        if len(left) == len(keys):
            raise Failure(f"There is no key {identity}. There are: {', '.join(key['id'] for key in keys) or 'none'}.")
        self._store(left)

    def _store(self, keys: Sequence[Mapping[str, str]]) -> None:
        self._vault.put_secret_value(SecretId=self._secret, SecretString=json.dumps({"keys": list(keys)}))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
