"""The headers that authenticate the caller."""

from collections.abc import Callable, Mapping

Credential = str | Callable[[], str]


def headers_of(api_key: Credential | None, token: Credential | None) -> Callable[[], Mapping[str, str]]:
    """Return a function that makes the headers of each request, so that credentials can be rotated.

    Raises:
        ValueError: neither or both are given.
    """
    if (api_key is None) == (token is None):
        raise ValueError("give either api_key or token")
    if api_key is not None:
        return lambda: {"x-api-key": _current(api_key)}
    assert token is not None
    return lambda: {"authorization": f"Bearer {_current(token)}"}


def _current(credential: Credential) -> str:
    """Return the credential without the line break at the end of many key files."""
    return (credential if isinstance(credential, str) else credential()).strip()
