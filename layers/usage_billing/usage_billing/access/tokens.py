"""Tokens (JWT): is this one ours, and what does it say.

Imported with the first token that comes: PyJWT brings `cryptography` with it, a tenth of a cold start, and services
call with keys.
"""

from typing import Any

import jwt

from usage_billing.kernel.errors import CredentialsExpired, CredentialsInvalid, IdentityProviderUnavailable
from usage_billing.platform.caches import cached
from usage_billing.platform.config import settings
from usage_billing.platform.renewal import Renewed
from usage_billing.platform.vault import SecretUnavailable, vault

KEY_SET_CACHE_SECONDS = 3600
CLOCK_LEEWAY_SECONDS = 10


def verified_claims(token: str) -> dict[str, Any]:
    """What a valid token says.

    Raises:
        CredentialsInvalid, CredentialsExpired: it is not valid here, or no longer.
        IdentityProviderUnavailable: what it is checked against could not be fetched.
    """
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
    except (jwt.PyJWKClientConnectionError, SecretUnavailable) as error:
        raise IdentityProviderUnavailable("The token cannot be checked right now.") from error
    except (jwt.PyJWTError, ValueError):
        # Not said which check failed: that would help only who makes tokens up. ValueError: not a token at all.
        raise CredentialsInvalid("The token is not valid here.") from None
    return claims


def _verification_key(token: str) -> Any:
    """What verifies this deployment's one algorithm. HS256 works without `cryptography`."""
    config = settings()
    if config.jwt_algorithm == "HS256":
        return vault().get(config.jwt_secret_id, str)
    if jwt.get_unverified_header(token).get("alg") != config.jwt_algorithm:
        raise jwt.InvalidAlgorithmError("another algorithm than this deployment's")
    return key_set(config.jwt_jwks_url).get_signing_key_from_jwt(token).key


class _KeySet(jwt.PyJWKClient):
    """PyJWT's client. A provider that answers, but not with keys, is as good as out of reach."""

    def __init__(self, url: str) -> None:
        # The key set is remembered as a whole. Single keys are not: PyJWT would trust a withdrawn one for ever.
        super().__init__(url, cache_keys=False, lifespan=KEY_SET_CACHE_SECONDS, timeout=2)
        self._kept: Renewed[jwt.PyJWKSet] = Renewed(KEY_SET_CACHE_SECONDS, jwt.PyJWKClientConnectionError)

    def get_jwk_set(self, refresh: bool = False) -> jwt.PyJWKSet:
        """The key set. `refresh` is asked for where a token names a key that is not in it: no old copy helps there."""

        def fetch() -> jwt.PyJWKSet:
            return super(_KeySet, self).get_jwk_set(refresh=True)

        return self._kept.renew(fetch) if refresh else self._kept.get(fetch)

    def fetch_data(self) -> Any:
        try:
            return super().fetch_data()
        except (jwt.PyJWTError, ValueError, OSError) as error:  # OSError: a connection that is reset while it is read
            raise jwt.PyJWKClientConnectionError(str(error)) from error


@cached
def key_set(url: str) -> jwt.PyJWKClient:
    return _KeySet(url)
