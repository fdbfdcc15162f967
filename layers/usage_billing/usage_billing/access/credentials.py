"""Credentials to caller: a JWT (`Authorization: Bearer ...`) or an API key (`x-api-key: ...`), never both."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from usage_billing.access.callers import Caller, Role, Scope
from usage_billing.kernel.errors import (
    CredentialsInvalid,
    CredentialsMissing,
    IdentityProviderUnavailable,
)
from usage_billing.platform.config import settings
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger
from usage_billing.platform.vault import CACHE_SECONDS, SecretUnavailable, vault

NEW_KEY_SECONDS = 15.0
"""For a key that is not known the list is fetched again once it is so old. A new key is accepted soon, and who makes
keys up causes no more than one call in so many seconds."""


def authenticate(headers: Mapping[str, str]) -> Caller:
    """The caller whose credentials `headers` (names in lower case) carry.

    Raises:
        CredentialsMissing, CredentialsInvalid, CredentialsExpired: they do not say who is calling.
        IdentityProviderUnavailable: what they are checked against could not be fetched.
    """
    authorization, api_key = headers.get("authorization"), headers.get("x-api-key")
    if authorization is not None and api_key is not None:  # even if one is empty: nothing is guessed
        raise CredentialsInvalid("Send either Authorization or x-api-key, not both.")
    if api_key:
        return _key_holder(api_key)
    if authorization:
        return _token_holder(authorization)
    raise CredentialsMissing("Send a token as 'Authorization: Bearer ...' or an API key as 'x-api-key: ...'.")


def _key_holder(api_key: str) -> Caller:
    digest = hashlib.sha256(api_key.encode(errors="replace")).hexdigest()
    found = _matching(digest, _api_keys()) or _matching(digest, _api_keys(NEW_KEY_SECONDS))
    if not found:
        raise CredentialsInvalid("This x-api-key is not known.")
    return Caller(sub=f"key:{found.id}", role=Role.INTERNAL, key_scope=found.scope)


def _matching(digest: str, keys: "Sequence[_ApiKey]") -> "_ApiKey | None":
    # Every key is compared, so that the time taken tells nothing about which one was near.
    matches = [key for key in keys if hmac.compare_digest(key.sha256.lower(), digest)]
    return matches[0] if matches else None


def _token_holder(authorization: str) -> Caller:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CredentialsInvalid("Authorization must be 'Bearer' and a token.")
    from usage_billing.access.tokens import verified_claims  # noqa: PLC0415 - only where tokens come: see there

    claims = verified_claims(token.strip())
    sub, role = claims["sub"], claims.get("role", Role.USER)
    if not isinstance(sub, str) or not sub or role not in list(Role):
        raise CredentialsInvalid("The token's sub or role is not one we know.")
    return Caller(sub=sub, role=Role(role))


class _ApiKey(BaseModel):
    """An entry of the API keys' secret. Keys that were made before there were scopes may do everything."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    id: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
    scope: Annotated[Scope, Field(strict=False)] = Scope.OPERATE


def _api_keys(seconds: float = CACHE_SECONDS) -> Sequence[_ApiKey]:
    """The keys that are accepted, as they were at most so many seconds ago.

    Raises:
        IdentityProviderUnavailable: the secret cannot be fetched, or holds no list of keys.
    """
    try:
        return vault().get(settings().api_keys_secret_id, _parsed, seconds=seconds)
    except SecretUnavailable as error:
        raise IdentityProviderUnavailable("API keys cannot be checked right now.") from error


def _parsed(secret: str) -> Sequence[_ApiKey]:
    """The keys that a secret's text holds. An entry that is no key is logged and lets nobody in; the others count.

    Raises:
        ValueError: it holds no list of keys.
    """
    stored: Any = json.loads(secret)
    if not isinstance(stored, dict) or not isinstance(stored.get("keys"), list):
        raise ValueError("the secret of the API keys has no list of keys")
    keys = []
    for number, entry in enumerate(stored["keys"]):
        try:
            keys.append(_ApiKey.model_validate(entry))
        except ValidationError as error:
            wrong = sorted({".".join(map(str, fault["loc"])) or "entry" for fault in error.errors()})
            logger.error(LogEvent.API_KEY_IGNORED, entry=number, wrong=wrong)
    return keys
