"""Credentials for a stack: tokens signed with its secret, and API keys.

The stack's secret holds only the SHA-256 hash of each key: `{"keys": [{"id", "sha256", "scope"}]}`. So a key can be
shown only when it is created.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import jwt

from scripts.progress import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_secretsmanager import SecretsManagerClient

    from scripts.local_stack import Jwt
    from usage_billing.access.callers import Scope

CURRENT = "AWSCURRENT"
"""The label of the version that readers of a secret get."""

ATTEMPTS = 5


def signed(by: Jwt, user: str, role: str, lifetime: timedelta) -> str:
    """Return a token for `user` that the stack accepts for `lifetime`."""
    now = datetime.now(UTC)
    claims = {"sub": user, "role": role, "iss": by["issuer"], "aud": by["audience"], "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, by["secret"], algorithm=by["algorithm"])


class ApiKeys:
    """The API keys that a stack accepts."""

    def __init__(self, vault: SecretsManagerClient, secret: str) -> None:
        self._vault = vault
        self._secret = secret

    def all(self) -> list[dict[str, str]]:
        """Return the id, hash and scope of each key. Malformed entries are left out; the stack ignores them too.

        Raises:
            Failure: the secret does not hold a list of keys.
        """
        return [entry for entry in self._read()[1] if _id(entry)]

    def add(self, identity: str, scope: Scope) -> str:
        """Create a key and return it. Only its hash is stored.

        Raises:
            Failure: a key with that id exists.
        """
        key = secrets.token_urlsafe(32)

        def added(entries: list[Any]) -> list[Any]:
            if identity in map(_id, entries):
                raise Failure(f"There is a key {identity} already. Choose another id, or revoke that key first.")
            return [*entries, {"id": identity, "sha256": sha256(key), "scope": scope.value}]

        self._change(added)
        return key

    def revoke(self, identity: str) -> None:
        """Revoke a key. Raises Failure if no key has that id."""

        def revoked(entries: list[Any]) -> list[Any]:
            left = [entry for entry in entries if _id(entry) != identity]
            if len(left) == len(entries):
                present = ", ".join(filter(None, map(_id, entries))) or "none"
                raise Failure(f"There is no key {identity}. Existing keys: {present}.")
            return left

        self._change(revoked)

    def _change(self, change: Callable[[list[Any]], list[Any]]) -> None:
        """Replace the keys with the result of `change`, unless somebody else has replaced them in the meantime.

        Secrets Manager has no conditional write. But moving the label of the current version is conditional, because
        the call names the version that loses the label.

        Raises:
            Failure: the keys were changed concurrently in every attempt. Nothing was changed.
        """
        for _ in range(ATTEMPTS):
            version, entries = self._read()
            text = json.dumps({"keys": change(entries)})
            label = f"draft-{uuid4().hex}"
            draft = self._vault.put_secret_value(SecretId=self._secret, SecretString=text, VersionStages=[label])
            try:
                self._vault.update_secret_version_stage(
                    SecretId=self._secret,
                    VersionStage=CURRENT,
                    RemoveFromVersionId=version,
                    MoveToVersionId=draft["VersionId"],
                )
                moved = True
            except self._vault.exceptions.InvalidParameterException:
                # The label has moved: to somebody else's version, or to ours if the SDK sent the call twice.
                moved = self._read()[0] == draft["VersionId"]
            # Secrets Manager deletes versions that have no label.
            self._vault.update_secret_version_stage(
                SecretId=self._secret, VersionStage=label, RemoveFromVersionId=draft["VersionId"]
            )
            if moved:
                return
        raise Failure("The API keys were changed by others at the same time. Nothing was changed; try again.")

    def _read(self) -> tuple[str, list[Any]]:
        stored = self._vault.get_secret_value(SecretId=self._secret, VersionStage=CURRENT)
        try:
            entries = json.loads(stored["SecretString"])["keys"]
        except (ValueError, KeyError, TypeError):
            entries = None
        if not isinstance(entries, list):
            raise Failure(f'The secret {self._secret} does not contain {{"keys": [...]}}. Correct it by hand.')
        return stored["VersionId"], entries


def _id(entry: Any) -> str | None:
    """Return the id of a key, or None if the entry is not a key."""
    identity = entry.get("id") if isinstance(entry, dict) and isinstance(entry.get("sha256"), str) else None
    return identity if isinstance(identity, str) else None


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
