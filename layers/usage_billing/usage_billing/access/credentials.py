"""Authentication: find the caller by a JWT (`Authorization: Bearer ...`) or an API key (`x-api-key: ...`)."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from usage_billing.access.callers import Caller, Role, Scope
from usage_billing.kernel.errors import CredentialsInvalid, CredentialsMissing, IdentityProviderUnavailable
from usage_billing.platform.config import settings
from usage_billing.platform.log_events import LogEvent
from usage_billing.platform.observability import logger
from usage_billing.platform.secrets_manager import CACHE_SECONDS, SecretUnavailable, vault

NEW_KEY_SECONDS = 15.0
"""For an unknown key, the list of keys is fetched again if it is older than this. So a new key is accepted soon, and
invalid keys cause at most one call in this time."""


def authenticate(headers: Mapping[str, str]) -> Caller:
    """Return the caller whose credentials are in `headers`, whose names are in lower case.

    Raises:
        CredentialsMissing, CredentialsInvalid, CredentialsExpired: the headers do not identify a caller.
        IdentityProviderUnavailable: the keys or secrets to check them with could not be fetched.
    """
    authorization, api_key = headers.get("authorization"), headers.get("x-api-key")
    if authorization is not None and api_key is not None:  # even if one of them is empty
        raise CredentialsInvalid("Send either Authorization or x-api-key, not both.")
    if api_key:
        return _caller_of_key(api_key)
    if authorization:
        return _caller_of_token(authorization)
    raise CredentialsMissing("Send a token as 'Authorization: Bearer ...' or an API key as 'x-api-key: ...'.")


def _caller_of_key(api_key: str) -> Caller:
    digest = hashlib.sha256(api_key.encode(errors="replace")).hexdigest()
    key = _find_key(digest, _api_keys()) or _find_key(digest, _api_keys(NEW_KEY_SECONDS))
    if not key:
        raise CredentialsInvalid("The API key is not valid.")
    return Caller(sub=f"key:{key.id}", role=Role.INTERNAL, key_scope=key.scope)


def _find_key(digest: str, keys: "Sequence[_ApiKey]") -> "_ApiKey | None":
    # Compare every key, so that the time it takes does not reveal which one nearly matched.
    matches = [key for key in keys if hmac.compare_digest(key.sha256.lower(), digest)]
    return matches[0] if matches else None


def _caller_of_token(authorization: str) -> Caller:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CredentialsInvalid("Authorization must be 'Bearer' followed by a token.")
    from usage_billing.access.tokens import verified_claims  # noqa: PLC0415 - slow to import, see there

    claims = verified_claims(token.strip())
    sub, role = claims["sub"], claims.get("role", Role.USER)
    if not isinstance(sub, str) or not sub or role not in list(Role):
        raise CredentialsInvalid("The claim sub or role of the token is not valid.")
    return Caller(sub=sub, role=Role(role))


class _ApiKey(BaseModel):
    """An entry of the secret with the API keys. A key without a scope has the scope `operate`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    id: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
    scope: Annotated[Scope, Field(strict=False)] = Scope.OPERATE


def _api_keys(seconds: float = CACHE_SECONDS) -> Sequence[_ApiKey]:
    """Return the accepted keys, from a list that is at most `seconds` old.

    Raises:
        IdentityProviderUnavailable: the secret cannot be fetched, or does not contain a list of keys.
    """
    try:
        return vault().get(settings().api_keys_secret_id, _parse_keys, seconds=seconds)
    except SecretUnavailable as error:
        raise IdentityProviderUnavailable("API keys cannot be checked right now.") from error


def _parse_keys(secret: str) -> Sequence[_ApiKey]:
    """Return the keys in a secret's text. An invalid entry is logged and skipped.

    Raises:
        ValueError: the secret does not contain a list of keys.
    """
    stored: Any = json.loads(secret)
    if not isinstance(stored, dict) or not isinstance(stored.get("keys"), list):
        raise ValueError("the secret does not contain a list of API keys")
    keys = []
    for index, entry in enumerate(stored["keys"]):
        try:
            keys.append(_ApiKey.model_validate(entry))
        except ValidationError as error:
            invalid_fields = sorted({".".join(map(str, each["loc"])) or "entry" for each in error.errors()})
            logger.error(LogEvent.API_KEY_IGNORED, entry=index, wrong=invalid_fields)
    return keys
