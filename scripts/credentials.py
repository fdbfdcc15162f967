"""Credentials for a stack: tokens signed with its secret, and its API keys.

Keys are kept as hashes (SHA-256) in the stack's secret `{"keys": [{"id", "sha256", "scope"}]}`; a key is shown once.
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
"""The label of the version that a secret's readers get."""

ATTEMPTS = 5


def signed(by: Jwt, user: str, role: str, life: timedelta) -> str:
    """A token for `user` that the stack takes until `life` is over."""
    now = datetime.now(UTC)
    claims = {"sub": user, "role": role, "iss": by["issuer"], "aud": by["audience"], "iat": now, "exp": now + life}
    return jwt.encode(claims, by["secret"], algorithm=by["algorithm"])


class ApiKeys:
    """The API keys that a stack accepts."""

    def __init__(self, vault: SecretsManagerClient, secret: str) -> None:
        self._vault = vault
        self._secret = secret

    def all(self) -> list[dict[str, str]]:
        """The keys by id, hash and scope; entries that are no keys are left out, as the stack does.

        Raises:
            Failure: the secret holds no list of keys.
        """
        return [entry for entry in self._read()[1] if _id(entry)]

    def add(self, identity: str, scope: Scope) -> str:
        """A new key, which is known nowhere else.

        Raises:
            Failure: there is a key of that id.
        """
        key = secrets.token_urlsafe(32)

        def added(entries: list[Any]) -> list[Any]:
            if identity in map(_id, entries):
                raise Failure(f"There is a key {identity} already. Choose another id, or revoke it first.")
            return [*entries, {"id": identity, "sha256": sha256(key), "scope": scope.value}]

        self._change(added)
        return key

    def revoke(self, identity: str) -> None:
        """Raises Failure if there is no key of that id."""

        def revoked(entries: list[Any]) -> list[Any]:
            left = [entry for entry in entries if _id(entry) != identity]
            if len(left) == len(entries):
                present = ", ".join(filter(None, map(_id, entries))) or "none"
                raise Failure(f"There is no key {identity}. There are: {present}.")
            return left

        self._change(revoked)

    def _change(self, change: Callable[[list[Any]], list[Any]]) -> None:
        """Replace the keys by what `change` makes of them, on condition that nobody has replaced them meanwhile.

        Writing a secret knows no condition. Moving the label of its current version does: the move names the version
        that it takes the label from.

        Raises:
            Failure: others kept changing the keys; nothing was changed.
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
                # The label is elsewhere by now: with somebody else's keys, or with ours if the SDK had to ask twice.
                moved = self._read()[0] == draft["VersionId"]
            # Secrets Manager deletes versions without a label in time.
            self._vault.update_secret_version_stage(
                SecretId=self._secret, VersionStage=label, RemoveFromVersionId=draft["VersionId"]
            )
            if moved:
                return
        raise Failure("Others keep changing the API keys. Nothing was changed; try again.")

    def _read(self) -> tuple[str, list[Any]]:
        stored = self._vault.get_secret_value(SecretId=self._secret, VersionStage=CURRENT)
        try:
            entries = json.loads(stored["SecretString"])["keys"]
        except (ValueError, KeyError, TypeError):
            entries = None
        if not isinstance(entries, list):
            raise Failure(f'The secret {self._secret} does not hold {{"keys": [...]}}: correct it by hand.')
        return stored["VersionId"], entries


def _id(entry: Any) -> str | None:
    """The id of a key, None where an entry of the secret is none."""
    identity = entry.get("id") if isinstance(entry, dict) and isinstance(entry.get("sha256"), str) else None
    return identity if isinstance(identity, str) else None


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
