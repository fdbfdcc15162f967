"""Who is calling, and what they may do.

Credentials are a JWT (`Authorization: Bearer ...`) or an internal API key (`x-api-key: ...`), never both. Everything
that is not allowed is refused. A user reaches only what is theirs, and learns nothing about what else exists.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Any, Final, Literal, Protocol, TypeVar

import jwt
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError, TransformParameterError

from usage_billing.config import NETWORK, settings
from usage_billing.errors import (
    CredentialsExpired,
    CredentialsInvalid,
    CredentialsMissing,
    Forbidden,
    IdentityProviderUnavailable,
    InvoiceNotFound,
    SubscriptionNotFound,
)

SECRET_CACHE_SECONDS = 300
KEY_SET_CACHE_SECONDS = 3600
CLOCK_LEEWAY_SECONDS = 10


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
    claims = _verified_claims(token.strip())
    sub, role = claims["sub"], claims.get("role", Role.USER)
    if not isinstance(sub, str) or not sub or role not in list(Role):
        raise CredentialsInvalid("The token's sub or role is not one we know.")
    return Caller(sub=sub, role=Role(role))


def _verified_claims(token: str) -> dict[str, Any]:
    config = settings()
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            _verification_key(token),
            algorithms=[config.jwt_algorithm],
            issuer=config.jwt_issuer,
            audience=config.jwt_audience,
            leeway=CLOCK_LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except jwt.ExpiredSignatureError:
        raise CredentialsExpired("The token has expired; get a new one.") from None
    except (jwt.PyJWKClientConnectionError, GetParameterError) as error:
        raise IdentityProviderUnavailable("The token cannot be checked right now.") from error
    except (jwt.PyJWTError, ValueError):
        # Not said which check failed: that would help only who makes tokens up. ValueError: not a token at all.
        raise CredentialsInvalid("The token is not valid here.") from None
    return claims


def _verification_key(token: str) -> Any:
    """What verifies this deployment's one algorithm. `cryptography` is imported for the asymmetric ones only."""
    config = settings()
    if config.jwt_algorithm == "HS256":
        return _secrets().get(config.jwt_secret_id, max_age=SECRET_CACHE_SECONDS)
    if jwt.get_unverified_header(token).get("alg") != config.jwt_algorithm:
        raise jwt.InvalidAlgorithmError("another algorithm than this deployment's")
    return _key_set(config.jwt_jwks_url).get_signing_key_from_jwt(token).key


class _KeySet(jwt.PyJWKClient):
    """PyJWT's client. A provider that answers, but not with keys, is as good as out of reach."""

    def fetch_data(self) -> Any:
        try:
            return super().fetch_data()
        except (jwt.PyJWTError, ValueError) as error:
            raise jwt.PyJWKClientConnectionError(str(error)) from error


@cache
def _key_set(url: str) -> jwt.PyJWKClient:
    # The key set is remembered as a whole. Single keys are not: PyJWT would trust a withdrawn one for ever.
    return _KeySet(url, cache_keys=False, lifespan=KEY_SET_CACHE_SECONDS, timeout=2)


@cache
def _secrets() -> parameters.SecretsProvider:
    return parameters.SecretsProvider(boto_config=NETWORK)


def _api_keys() -> list[dict[str, str]]:
    try:
        stored: Any = _secrets().get(settings().api_keys_secret_id, transform="json", max_age=SECRET_CACHE_SECONDS)
    except (GetParameterError, TransformParameterError) as error:
        raise IdentityProviderUnavailable("API keys cannot be checked right now.") from error
    keys: list[dict[str, str]] = stored["keys"]
    return keys
