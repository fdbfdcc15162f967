"""Verification of tokens (JWT).

It is imported with the first token: PyJWT imports `cryptography`, which takes a tenth of a cold start, and services
call with API keys.
"""

from typing import Any

import jwt

from usage_billing.kernel.errors import CredentialsExpired, CredentialsInvalid, IdentityProviderUnavailable
from usage_billing.platform.caches import cached
from usage_billing.platform.config import settings
from usage_billing.platform.renewed_values import Renewed
from usage_billing.platform.secrets_manager import SecretUnavailable, vault

KEY_SET_CACHE_SECONDS = 3600
CLOCK_LEEWAY_SECONDS = 10


def verified_claims(token: str) -> dict[str, Any]:
    """Return the claims of a valid token.

    Raises:
        CredentialsInvalid, CredentialsExpired: the token is not valid, or no longer.
        IdentityProviderUnavailable: the key to check it with could not be fetched.
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
        # Do not say which check failed: that would only help a forger. ValueError: this is not a token at all.
        raise CredentialsInvalid("The token is not valid.") from None
    return claims


def _verification_key(token: str) -> Any:
    """Return the key that verifies the token. The algorithm is this deployment's, never the token's choice."""
    config = settings()
    if config.jwt_algorithm == "HS256":
        return vault().get(config.jwt_secret_id, str)
    if jwt.get_unverified_header(token).get("alg") != config.jwt_algorithm:
        raise jwt.InvalidAlgorithmError("not the algorithm of this deployment")
    return key_set(config.jwt_jwks_url).get_signing_key_from_jwt(token).key


class _KeySet(jwt.PyJWKClient):
    """PyJWT's client. A provider whose response is not a key set counts as unavailable."""

    def __init__(self, url: str) -> None:
        # Cache the key set only as a whole: PyJWT would keep trusting single keys after they are withdrawn.
        super().__init__(url, cache_keys=False, lifespan=KEY_SET_CACHE_SECONDS, timeout=2)
        self._key_set: Renewed[jwt.PyJWKSet] = Renewed(KEY_SET_CACHE_SECONDS, jwt.PyJWKClientConnectionError)

    def get_jwk_set(self, refresh: bool = False) -> jwt.PyJWKSet:
        """Return the key set. With `refresh`, a token names a key that is not in it, so an old copy does not help."""

        def fetch() -> jwt.PyJWKSet:
            return super(_KeySet, self).get_jwk_set(refresh=True)

        return self._key_set.renew(fetch) if refresh else self._key_set.get(fetch)

    def fetch_data(self) -> Any:
        try:
            return super().fetch_data()
        except (jwt.PyJWTError, ValueError, OSError) as error:  # OSError: the connection was reset
            raise jwt.PyJWKClientConnectionError(str(error)) from error


@cached
def key_set(url: str) -> jwt.PyJWKClient:
    return _KeySet(url)
