"""Credentials of requests: valid, missing, expired, and invalid in every possible way."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from typing import Any

import jwt
import pytest

from tests.api import INTERNAL, Api, bearer, token
from tests.cloud import API_KEY, AUDIENCE, ISSUER, JWT_SECRET
from tests.template import ROOT

NOW = int(time.time())
PATH = "/api/usage/user/user-1"
CHALLENGE = 'Bearer realm="usage-billing"'


def b64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def signed(header: dict[str, Any], claims: dict[str, Any], algorithm: str = "sha256") -> str:
    """A correctly signed token with a header and claims that no library would write."""
    content = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    digest = hmac.new(JWT_SECRET.encode(), content.encode(), algorithm).digest()
    return f"{content}.{b64(digest)}"


CLAIMS = {"sub": "user-1", "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 86_400}
HS256 = {"alg": "HS256", "typ": "JWT"}

INVALID = {
    "no scheme": token(),
    "Basic": "Basic dXNlcjpwYXNz",
    "scheme only": "Bearer",
    "scheme and a space": "Bearer ",
    "garbage": "Bearer garbage",
    "garbage in three parts": "Bearer a.b.c",
    "non-ASCII": "Bearer ä.ö.ü",
    "lone surrogate": "Bearer \udcff",
    "two tokens": f"Bearer {token()} {token()}",
    "header is not JSON": f"Bearer {b64(b'{')}.{b64(b'{}')}.x",
    "header is a list": f"Bearer {b64(b'[]')}.{b64(b'{}')}.x",
    "claims are a list": f"Bearer {jwt.api_jws.encode(b'[]', JWT_SECRET, algorithm='HS256')}",
    "claims are nested too deeply": f"Bearer {jwt.api_jws.encode(b'[' * 100_000, JWT_SECRET, algorithm='HS256')}",
    "not yet valid": f"Bearer {token(nbf=NOW + 86_400)}",
    "issued in the future": f"Bearer {token(iat=NOW + 86_400)}",
    "signed by somebody else": f"Bearer {token(secret='another-secret-that-is-as-long-as-the-real-one')}",
    "signature is missing": f"Bearer {token().rpartition('.')[0]}.",
    "no algorithm": f"Bearer {jwt.encode(CLAIMS, '', algorithm='none')}",
    "no algorithm, in upper case": f"Bearer {signed(HS256 | {'alg': 'NONE'}, CLAIMS).rpartition('.')[0]}.",
    "HS512": f"Bearer {signed({'alg': 'HS512', 'typ': 'JWT'}, CLAIMS, algorithm='sha512')}",
    "HS256 declared as RS256": f"Bearer {signed(HS256 | {'alg': 'RS256'}, CLAIMS)}",
    "critical extension": f"Bearer {signed(HS256 | {'crit': ['exp2'], 'exp2': 1}, CLAIMS)}",
    "another issuer": f"Bearer {token(iss='https://elsewhere.test')}",
    "no issuer": f"Bearer {token(iss=None)}",
    "another audience": f"Bearer {token(aud='elsewhere')}",
    "several audiences, none ours": f"Bearer {token(aud=['a', 'b'])}",
    "no audience": f"Bearer {token(aud=None)}",
    "no expiry": f"Bearer {token(exp=None)}",
    "expiry is a string": f"Bearer {signed(HS256, CLAIMS | {'exp': 'never'})}",
    "expiry is infinite": f"Bearer {signed(HS256, CLAIMS | {'exp': float('inf')})}",
    "no subject": f"Bearer {token(sub=None)}",
    "empty subject": f"Bearer {token(sub='')}",
    "subject is a number": f"Bearer {signed(HS256, CLAIMS | {'sub': 5})}",
    "subject is a list": f"Bearer {signed(HS256, CLAIMS | {'sub': ['user-1']})}",
    "subject is null": f"Bearer {signed(HS256, CLAIMS | {'sub': None})}",
    "unknown role": f"Bearer {token(role='root')}",
    "role in upper case": f"Bearer {token(role='ADMIN')}",
    "role is empty": f"Bearer {token(role='')}",
    "role is null": f"Bearer {signed(HS256, CLAIMS | {'role': None})}",
    "role is a list": f"Bearer {token(role=['admin'])}",
    "role is an object": f"Bearer {token(role={'name': 'admin'})}",
    "role is a number": f"Bearer {token(role=1)}",
}


@pytest.mark.parametrize("authorization", INVALID.values(), ids=INVALID)
def test_an_invalid_token_is_401(api: Api, authorization: str) -> None:
    answer = api.get(PATH, headers={"authorization": authorization})
    assert (answer.status, answer.code) == (401, "credentials_invalid"), answer.text
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_response_does_not_reveal_which_check_a_forged_token_failed(api: Api) -> None:
    texts = {
        api.get(PATH, headers={"authorization": INVALID[name]}).text
        for name in (
            "signed by somebody else",
            "another issuer",
            "another audience",
            "no expiry",
            "no algorithm",
            "HS512",
        )
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"authorization": ""}, id="empty token"),
        pytest.param({"x-api-key": ""}, id="empty key"),
        pytest.param({"cookie": f"authorization={token()}"}, id="a token in another header"),
    ],
)
def test_missing_credentials_are_401_without_an_error_in_the_challenge(api: Api, headers: dict[str, str]) -> None:
    answer = api.get(PATH, headers=headers)
    assert (answer.status, answer.code) == (401, "credentials_missing")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE


def test_an_expired_token_has_its_own_error_code(api: Api) -> None:
    answer = api.get(PATH, headers=bearer(exp=NOW - 60))
    assert (answer.status, answer.code) == (401, "credentials_expired")
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'


def test_an_expired_token_with_a_wrong_signature_is_only_invalid(api: Api) -> None:
    answer = api.get(PATH, headers=bearer(exp=NOW - 60, secret="another-secret-that-is-as-long-as-the-real-one"))
    assert answer.code == "credentials_invalid"


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="valid"),
        pytest.param({"exp": -2}, id="expired within the leeway"),
        pytest.param({"nbf": 5}, id="valid in a moment, within the leeway"),
        pytest.param({"aud": ["elsewhere", AUDIENCE]}, id="one of several audiences"),
        pytest.param({"role": "user", "email": "user@example.test"}, id="with additional claims"),
    ],
)
def test_a_valid_token_is_accepted(api: Api, claims: dict[str, Any]) -> None:
    now = int(time.time())  # when the test runs, which may be minutes after its collection
    dated: dict[str, Any] = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
    assert api.get(PATH, headers=bearer(**dated)).status == 200


@pytest.mark.parametrize(
    "authorization",
    [f"bearer {token()}", f"BEARER {token()}", f"Bearer   {token()}  "],
    ids=["lower case", "upper case", "spaces"],
)
def test_the_scheme_is_case_insensitive(api: Api, authorization: str) -> None:
    assert api.get(PATH, headers={"authorization": authorization}).status == 200


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("wrong", id="unknown"),
        pytest.param(API_KEY.upper(), id="upper case"),
        pytest.param(API_KEY[:-1], id="truncated"),
        pytest.param(f" {API_KEY}", id="with a space"),
        pytest.param(hashlib.sha256(API_KEY.encode()).hexdigest(), id="its own hash"),
        pytest.param("first", id="its id"),
        pytest.param("schlüssel", id="non-ASCII"),
        pytest.param("\udcff", id="lone surrogate"),
        pytest.param("x" * 10_000, id="very long"),
    ],
)
def test_an_unknown_api_key_is_401(api: Api, key: str) -> None:
    answer = api.get(PATH, headers={"x-api-key": key})
    assert (answer.status, answer.code) == (401, "credentials_invalid")
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'


def test_a_token_together_with_an_api_key_is_401(api: Api) -> None:
    answer = api.get(PATH, headers=INTERNAL | bearer())
    assert (answer.status, answer.code) == (401, "credentials_invalid")


def test_credentials_are_checked_before_anything_else(api: Api) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, bearer(exp=NOW - 60)):
        for raw in (b"\xff", "{", "[" * 100_000, "", "null", '{"a": 1}'):
            assert api.post("/api/usage/record", raw=raw, headers=headers).status == 401
        headers |= {"content-type": "text/plain"}
        assert api.post("/api/usage/record", raw="{}", headers=headers).status == 401
        assert api.get("/api/usage/user/a b", headers=headers, query={"unknown": "1", "limit": "x"}).status == 401


def test_the_role_is_checked_before_the_request_is_parsed(api: Api) -> None:
    answer = api.put("/api/usage/quotas/business/report", None, raw="{", headers=bearer())
    assert (answer.status, answer.code) == (403, "forbidden")


def test_with_hs256_the_library_cryptography_is_not_imported() -> None:
    code = f"""
import sys
sys.path[:0] = ["layers/usage_billing", "functions", "."]
import tests.conftest, os, importlib
from pathlib import Path
from moto import mock_aws
from tests import cloud
with mock_aws():
    os.environ |= cloud.create()
    # moto imports it, and so does PyJWT if it can. Unload both; from now on importing it fails.
    for name in [name for name in sys.modules if name.split(".")[0] in ("cryptography", "jwt")]:
        del sys.modules[name]
    sys.modules["cryptography"] = None
    from tests.api import Api
    for path in Path("functions").glob("*.py"):
        importlib.import_module(path.stem)
    answer = Api().get("{PATH}", headers={{"authorization": "Bearer {token()}"}})
    assert answer.status == 200, answer.text
    assert sys.modules["cryptography"] is None
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
