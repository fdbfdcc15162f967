"""Who is calling, and what they may do.

Credentials are a JWT (`Authorization: Bearer ...`) or an API key (`x-api-key: ...`), never both. Everything
that is not allowed is refused. A user reaches only what is theirs, and learns nothing about what else exists.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from usage_billing.kernel.errors import (
    CredentialsInvalid,
    CredentialsMissing,
    Forbidden,
    IdentityProviderUnavailable,
    InvoiceNotFound,
    SubscriptionNotFound,
)
from usage_billing.kernel.identifiers import CUSTOMER_PREFIX
from usage_billing.platform.config import settings
from usage_billing.platform.observability import logger
from usage_billing.platform.vault import CACHE_SECONDS, SecretUnavailable, vault

NEW_KEY_SECONDS = 15.0
"""For a key that is not known the list is fetched again once it is so old. A new key is accepted soon, and who makes
keys up causes no more than one call in so many seconds."""


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"
    INTERNAL = "internal"


class Scope(StrEnum):
    """What credentials are good for. Each scope includes those before it."""

    READ = "read"
    RECORD = "record"
    OPERATE = "operate"

    def includes(self, other: "Scope") -> bool:
        ranked = list(Scope)
        return ranked.index(other) <= ranked.index(self)


ANYONE = frozenset(Role)
"""Every caller with valid credentials; a user still reaches only what is theirs."""

OPERATORS = frozenset({Role.ADMIN, Role.INTERNAL})

ADMINS = frozenset({Role.ADMIN})


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
    """`sub` is the user's id, or for an API key `key:` and the key's id."""

    sub: str
    role: Role
    key_scope: Scope = Scope.OPERATE
    """Of an API key; what its role may do is narrowed to it."""

    @property
    def is_customer(self) -> bool:
        """Whether this is a user, who is billed for what is recorded, and not one of our services or operators."""
        return self.role is Role.USER

    @property
    def scope(self) -> Scope:
        """Customers read. They record only where the deployment says so: what they report is what they pay for."""
        if self.is_customer:
            return Scope.RECORD if settings().customers_may_record else Scope.READ
        return self.key_scope

    def event_id(self, claimed: str) -> str:
        """The id under which an event is recorded that this caller calls `claimed`.

        Customers' ids have a prefix, so that no customer can take the id of an event that a service will report.
        """
        return f"{CUSTOMER_PREFIX}{claimed}" if self.is_customer else claimed

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

    def require_that(self, theirs: Callable[[], bool]) -> None:
        """Raises Forbidden for a user to whom it does not belong, according to `theirs`."""
        if self.role not in OPERATORS and not theirs():
            raise _not_yours()

    def require_role(self, allowed: frozenset[Role]) -> None:
        """Raises Forbidden unless the caller's role is among those allowed."""
        if self.role not in allowed:
            raise Forbidden(f"This endpoint requires the role {' or '.join(sorted(allowed))}.")

    def require_scope(self, needed: Scope) -> None:
        """Raises Forbidden unless the caller's credentials are good for `needed`."""
        if self.is_customer and not self.scope.includes(needed):
            raise Forbidden("Usage is recorded by services here; users may read it.")
        if not self.scope.includes(needed):
            raise Forbidden(f"This endpoint requires the scope {needed}; your credentials have the scope {self.scope}.")


def _not_yours() -> Forbidden:
    return Forbidden("You do not have access to this resource, or it does not exist.")


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
    from usage_billing.tokens import verified_claims  # noqa: PLC0415 - only where tokens come: see there

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
            logger.error("API key ignored", entry=number, wrong=wrong)
    return keys
