"""Who is calling, and what they may do.

Credentials are a JWT (`Authorization: Bearer ...`) or an internal API key (`x-api-key: ...`), never both. Everything
that is not allowed is refused. A user reaches only what is theirs, and learns nothing about what else exists.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final, Literal, Protocol, TypeVar

from usage_billing.config import settings
from usage_billing.errors import (
    CredentialsInvalid,
    CredentialsMissing,
    Forbidden,
    IdentityProviderUnavailable,
    InvoiceNotFound,
    SubscriptionNotFound,
)
from usage_billing.secrets import SecretUnavailable, vault


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"
    INTERNAL = "internal"


ANYONE = frozenset(Role)
"""Every caller with valid credentials; a user still reaches only what is theirs."""

OPERATORS = frozenset({Role.ADMIN, Role.INTERNAL})


class Public(Enum):
    """Not a set of roles, so that no empty or forgotten set can ever be taken for it."""

    PUBLIC = "everybody, with credentials or without"


PUBLIC: Final = Public.PUBLIC
"""Everybody may call; there is no caller then, and credentials are not looked at."""

Allowed = frozenset[Role] | Literal[Public.PUBLIC]
"""Who may call a route."""


class Owned(Protocol):
    @property
    def user_id(self) -> str: ...


OwnedT = TypeVar("OwnedT", bound=Owned)


@dataclass(frozen=True, slots=True)
class Caller:
    """`sub` is the user's id, or for an internal API key `key:` and the key's id."""

    sub: str
    role: Role

    def reach(self, load: Callable[[], OwnedT]) -> OwnedT:
        """What `load` finds, if the caller may see it.

        Raises:
            Forbidden: it is not theirs; for a user also when there is no such thing.
            SubscriptionNotFound, InvoiceNotFound: there is no such thing, and the caller may know.
        """
        if self.role in OPERATORS:
            return load()
        try:
            found = load()
        except (SubscriptionNotFound, InvoiceNotFound):
            raise _not_yours() from None
        if found.user_id != self.sub:
            raise _not_yours()
        return found

    def require_user(self, user_id: str) -> None:
        """Raises Forbidden unless the caller is that user or may act for all."""
        if self.role not in OPERATORS and self.sub != user_id:
            raise _not_yours()

    def require_own(self, user_id: str, load: Callable[[], Owned]) -> None:
        """Raises Forbidden for a user who is not `user_id`, or to whom what `load` finds does not belong."""
        if self.role not in OPERATORS:
            self.require_user(user_id)
            self.reach(load)

    def require_role(self, allowed: frozenset[Role]) -> None:
        """Raises Forbidden unless the caller's role is among those allowed."""
        if self.role not in allowed:
            raise Forbidden(f"This takes the role {' or '.join(sorted(allowed))}.")


def _not_yours() -> Forbidden:
    return Forbidden("This is not yours to use, or there is no such thing.")


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
    raise CredentialsMissing("Send a token as 'Authorization: Bearer ...' or an internal key as 'x-api-key: ...'.")


def _key_holder(api_key: str) -> Caller:
    digest = hashlib.sha256(api_key.encode(errors="replace")).hexdigest()
    # Every key is compared, so that the time taken tells nothing about which one was near.
    matches = [key["id"] for key in _api_keys() if hmac.compare_digest(str(key["sha256"]).lower(), digest)]
    if not matches:
        raise CredentialsInvalid("This x-api-key is not known.")
    return Caller(sub=f"key:{matches[0]}", role=Role.INTERNAL)


def _token_holder(authorization: str) -> Caller:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CredentialsInvalid("Authorization must be 'Bearer' and a token.")
    from usage_billing.tokens import verified_claims  # noqa: PLC0415 - only where tokens come: see there

    claims = verified_claims(token.strip())
    sub, role = claims["sub"], claims.get("role", Role.USER)
    if not isinstance(sub, str) or not sub or role not in list(Role):
        raise CredentialsInvalid("The token's sub or role is not one we know.")
    return Caller(sub=sub, role=Role(role))


def _api_keys() -> list[dict[str, str]]:
    try:
        stored: Any = json.loads(vault().get(settings().api_keys_secret_id))
    except (SecretUnavailable, ValueError) as error:
        raise IdentityProviderUnavailable("API keys cannot be checked right now.") from error
    keys: list[dict[str, str]] = stored["keys"]
    return keys
