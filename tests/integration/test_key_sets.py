"""Tokens of an identity provider: RS256 and ES256, with keys from a URL."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.api import Answer, Api, token
from tests.clocks import pass_time
from tests.cloud import AUDIENCE, ISSUER, JWT_SECRET
from usage_billing.access import tokens
from usage_billing.platform import renewed_values

RSA_KEYS = {name: rsa.generate_private_key(65537, 2048) for name in ("first", "second", "unpublished")}
EC_KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("first", "second", "unpublished")}
KEYS: dict[str, dict[str, Any]] = {"RS256": RSA_KEYS, "ES256": EC_KEYS}
TO_JWK: dict[str, Callable[..., dict[str, Any]]] = {"RS256": RSAAlgorithm.to_jwk, "ES256": ECAlgorithm.to_jwk}


def key_set(algorithm: str, *names: str) -> str:
    keys = [
        TO_JWK[algorithm](KEYS[algorithm][name].public_key(), as_dict=True) | {"kid": name, "use": "sig"}
        for name in names
    ]
    return json.dumps({"keys": keys})


@dataclass
class Provider:
    """An identity provider on this machine. It counts the requests for its keys."""

    status: int = 200
    body: str = ""
    resets: bool = False
    """True if it resets connections in the middle of a response."""

    requests: int = 0
    url: str = field(default="", init=False)


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.requests += 1
            if found.resets:
                self.send_response(200)
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            self.send_response(found.status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(found.body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/keys"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["RS256", "ES256"])
def algorithm(request: pytest.FixtureRequest, api: Api, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("JWT_ALGORITHM", request.param)
    monkeypatch.setenv("JWT_JWKS_URL", provider.url)
    provider.body = key_set(request.param, "first")
    return str(request.param)


def signed(algorithm: str, key: Any = None, kid: str | None = "first", **claims: Any) -> str:
    standard = {"sub": "user-1", "iss": ISSUER, "aud": AUDIENCE, "exp": 4102444800}
    headers = {"kid": kid} if kid else {}
    key = KEYS[algorithm]["first"] if key is None else key
    return jwt.encode(standard | claims, key, algorithm=algorithm, headers=headers)


def get_usage(api: Api, sent: str) -> Answer:
    return api.get("/api/usage/user/user-1", headers={"authorization": f"Bearer {sent}"})


def test_a_token_of_the_provider_is_accepted(api: Api, algorithm: str) -> None:
    assert get_usage(api, signed(algorithm)).status == 200


def test_the_role_is_read_from_the_token(api: Api, algorithm: str) -> None:
    headers = {"authorization": f"Bearer {signed(algorithm, role='admin')}"}
    assert api.get("/api/usage/user/anyone", headers=headers).status == 200


def test_the_keys_are_fetched_once_for_many_requests(api: Api, algorithm: str, provider: Provider) -> None:
    for _ in range(5):
        assert get_usage(api, signed(algorithm)).status == 200
    assert provider.requests == 1


def test_a_new_key_of_the_provider_is_found_without_a_deployment(api: Api, algorithm: str, provider: Provider) -> None:
    assert get_usage(api, signed(algorithm)).status == 200
    provider.body = key_set(algorithm, "first", "second")
    tokens.key_set(provider.url).cooldown_duration = 0  # as if half a minute had passed
    assert get_usage(api, signed(algorithm, KEYS[algorithm]["second"], "second")).status == 200
    assert get_usage(api, signed(algorithm)).status == 200


def test_tokens_with_unknown_key_ids_do_not_flood_the_provider(api: Api, algorithm: str, provider: Provider) -> None:
    for number in range(5):
        assert get_usage(api, signed(algorithm, kid=f"unknown-{number}")).status == 401
    assert provider.requests == 1


def test_the_hs256_secret_is_not_needed(api: Api, algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_ID", "missing")
    assert get_usage(api, signed(algorithm)).status == 200


@pytest.mark.parametrize("case", ["unknown key id", "no key id", "another signature", "another audience", "expired"])
def test_a_token_that_the_provider_did_not_issue_is_401(api: Api, algorithm: str, case: str) -> None:
    unpublished = KEYS[algorithm]["unpublished"]
    sent, code = {
        "unknown key id": (signed(algorithm, unpublished, "unpublished"), "credentials_invalid"),
        "no key id": (signed(algorithm, kid=None), "credentials_invalid"),
        "another signature": (signed(algorithm, unpublished), "credentials_invalid"),
        "another audience": (signed(algorithm, aud="elsewhere"), "credentials_invalid"),
        "expired": (signed(algorithm, exp=1), "credentials_expired"),
    }[case]
    answer = get_usage(api, sent)
    assert (answer.status, answer.code) == (401, code)
    assert "invalid_token" in answer.headers["WWW-Authenticate"]


def test_the_public_key_cannot_be_used_as_an_hs256_secret(api: Api, algorithm: str) -> None:
    """A known attack: a token declared as HS256 is signed with the public key as if it were a secret."""
    import base64
    import hashlib
    import hmac

    public = KEYS[algorithm]["first"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = signed(algorithm).split(".")[1]

    def b64(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).decode().rstrip("=")

    content = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'first'}).encode())}.{claims}"
    forged = f"{content}.{b64(hmac.new(public, content.encode(), hashlib.sha256).digest())}"
    assert get_usage(api, forged).status == 401


@pytest.mark.parametrize("case", ["HS256 with this stack's secret", "none", "the other algorithm", "garbage"])
def test_a_token_with_another_algorithm_is_401_without_a_request_to_the_provider(
    api: Api, algorithm: str, provider: Provider, case: str
) -> None:
    other = "ES256" if algorithm == "RS256" else "RS256"
    sent = {
        "HS256 with this stack's secret": token(secret=JWT_SECRET),
        "none": jwt.encode({"sub": "user-1"}, "", algorithm="none", headers={"kid": "first"}),
        "the other algorithm": signed(other),
        "garbage": "garbage",
    }[case]
    answer = get_usage(api, sent)
    assert (answer.status, answer.code) == (401, "credentials_invalid")
    assert provider.requests == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(500, "{}", id="responds 500"),
        pytest.param(404, "{}", id="responds 404"),
        pytest.param(200, "<html>maintenance</html>", id="responds with HTML"),
        pytest.param(200, "", id="responds with an empty body"),
        pytest.param(200, '{"keys": []}', id="publishes no keys"),
        pytest.param(200, "[]", id="responds with a list"),
    ],
)
def test_a_failing_provider_is_503_instead_of_401(
    api: Api, algorithm: str, provider: Provider, status: int, body: str
) -> None:
    provider.status, provider.body = status, body
    answer = get_usage(api, signed(algorithm))
    assert (answer.status, answer.code) == (503, "identity_provider_unavailable"), answer.text
    assert answer.headers["Retry-After"] == "1"
    assert "WWW-Authenticate" not in answer.headers
    provider.status, provider.body = 200, key_set(algorithm, "first")
    assert get_usage(api, signed(algorithm)).status == 200


def test_an_unreachable_provider_is_503(api: Api, algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_JWKS_URL", "http://127.0.0.1:1/keys")
    answer = get_usage(api, signed(algorithm))
    assert (answer.status, answer.code) == (503, "identity_provider_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert "127.0.0.1" not in answer.text


def test_an_unknown_key_is_503_while_the_provider_fails(api: Api, algorithm: str, provider: Provider) -> None:
    assert get_usage(api, signed(algorithm)).status == 200
    tokens.key_set(provider.url).cooldown_duration = 0
    provider.body = "<html>maintenance</html>"
    assert get_usage(api, signed(algorithm, KEYS[algorithm]["second"], "second")).status == 503
    assert get_usage(api, signed(algorithm)).status == 200


def test_known_keys_are_used_while_the_provider_fails(api: Api, algorithm: str, provider: Provider) -> None:
    assert get_usage(api, signed(algorithm)).status == 200
    provider.status = 500
    assert get_usage(api, signed(algorithm)).status == 200


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param({"status": 500}, id="responds 500"),
        pytest.param({"body": "<html>maintenance</html>"}, id="responds with HTML"),
        pytest.param({"body": '{"keys": []}'}, id="publishes no keys"),
        pytest.param({"resets": True}, id="resets connections"),
    ],
)
def test_expired_keys_are_used_for_15_minutes_while_the_provider_fails(
    api: Api, algorithm: str, provider: Provider, monkeypatch: pytest.MonkeyPatch, failure: dict[str, Any]
) -> None:
    healthy = dict(vars(provider))
    assert get_usage(api, signed(algorithm)).status == 200
    vars(provider).update(failure)
    pass_time(monkeypatch, tokens.KEY_SET_CACHE_SECONDS)
    for number in range(3):
        assert get_usage(api, signed(algorithm)).status == 200
        assert get_usage(api, signed(algorithm, KEYS[algorithm]["second"], f"unknown-{number}")).status == 503
    assert provider.requests == 2, "one request waited for the failure"
    pass_time(monkeypatch, renewed_values.STALE_SECONDS)
    assert get_usage(api, signed(algorithm)).status == 503
    vars(provider).update(healthy)
    pass_time(monkeypatch, renewed_values.PAUSE_SECONDS)
    assert get_usage(api, signed(algorithm)).status == 200


def test_a_withdrawn_key_is_rejected_after_the_next_refresh(
    api: Api, algorithm: str, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_usage(api, signed(algorithm)).status == 200
    provider.body = key_set(algorithm, "second")
    pass_time(monkeypatch, tokens.KEY_SET_CACHE_SECONDS)
    assert get_usage(api, signed(algorithm)).status == 401
