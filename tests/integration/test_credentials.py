"""Every way in which credentials can be wrong, and what the caller is told."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from typing import Any

import boto3
import jwt
import pytest

from tests import cloud
from tests.api import INTERNAL, Api, bearer, token
from tests.cloud import API_KEY, AUDIENCE, ISSUER, JWT_SECRET
from tests.template import ROOT
from usage_billing.access import credentials
from usage_billing.platform import caches, renewal, vault

NOW = int(time.time())
PATH = "/api/usage/user/user-1"
CHALLENGE = 'Bearer realm="usage-billing"'


def b64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def signed(header: dict[str, Any], claims: dict[str, Any], algorithm: str = "sha256") -> str:
    """A token with the right signature, as nobody's library would make it."""
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
    "not ASCII": "Bearer ä.ö.ü",
    "half a character": "Bearer \udcff",
    "two tokens": f"Bearer {token()} {token()}",
    "header is no JSON": f"Bearer {b64(b'{')}.{b64(b'{}')}.x",
    "header is a list": f"Bearer {b64(b'[]')}.{b64(b'{}')}.x",
    "claims are a list": f"Bearer {jwt.api_jws.encode(b'[]', JWT_SECRET, algorithm='HS256')}",
    "claims are nested without end": f"Bearer {jwt.api_jws.encode(b'[' * 100_000, JWT_SECRET, algorithm='HS256')}",
    "not yet valid": f"Bearer {token(nbf=NOW + 86_400)}",
    "issued in the future": f"Bearer {token(iat=NOW + 86_400)}",
    "signed by another": f"Bearer {token(secret='another-secret-that-is-as-long-as-the-real-one')}",
    "signature cut off": f"Bearer {token().rpartition('.')[0]}.",
    "no algorithm": f"Bearer {jwt.encode(CLAIMS, None, algorithm='none')}",
    "no algorithm, in capitals": f"Bearer {signed(HS256 | {'alg': 'NONE'}, CLAIMS).rpartition('.')[0]}.",
    "HS512": f"Bearer {signed({'alg': 'HS512', 'typ': 'JWT'}, CLAIMS, algorithm='sha512')}",
    "HS256 said to be RS256": f"Bearer {signed(HS256 | {'alg': 'RS256'}, CLAIMS)}",
    "critical extension": f"Bearer {signed(HS256 | {'crit': ['exp2'], 'exp2': 1}, CLAIMS)}",
    "another issuer": f"Bearer {token(iss='https://elsewhere.test')}",
    "no issuer": f"Bearer {token(iss=None)}",
    "another audience": f"Bearer {token(aud='elsewhere')}",
    "several audiences, none ours": f"Bearer {token(aud=['a', 'b'])}",
    "no audience": f"Bearer {token(aud=None)}",
    "no expiry": f"Bearer {token(exp=None)}",
    "expiry is text": f"Bearer {signed(HS256, CLAIMS | {'exp': 'never'})}",
    "expiry is infinite": f"Bearer {signed(HS256, CLAIMS | {'exp': float('inf')})}",
    "no subject": f"Bearer {token(sub=None)}",
    "empty subject": f"Bearer {token(sub='')}",
    "subject is a number": f"Bearer {signed(HS256, CLAIMS | {'sub': 5})}",
    "subject is a list": f"Bearer {signed(HS256, CLAIMS | {'sub': ['user-1']})}",
    "subject is null": f"Bearer {signed(HS256, CLAIMS | {'sub': None})}",
    "unknown role": f"Bearer {token(role='root')}",
    "role in capitals": f"Bearer {token(role='ADMIN')}",
    "role is empty": f"Bearer {token(role='')}",
    "role is null": f"Bearer {signed(HS256, CLAIMS | {'role': None})}",
    "role is a list": f"Bearer {token(role=['admin'])}",
    "role is an object": f"Bearer {token(role={'name': 'admin'})}",
    "role is a number": f"Bearer {token(role=1)}",
}


@pytest.mark.parametrize("authorization", INVALID.values(), ids=INVALID)
def test_a_token_that_is_wrong_in_any_way_is_401(api: Api, authorization: str) -> None:
    answer = api.get(PATH, headers={"authorization": authorization})
    assert (answer.status, answer.code) == (401, "credentials_invalid"), answer.text
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_answer_does_not_say_which_check_a_made_up_token_failed(api: Api) -> None:
    texts = {
        api.get(PATH, headers={"authorization": INVALID[name]}).text
        for name in ("signed by another", "another issuer", "another audience", "no expiry", "no algorithm", "HS512")
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"authorization": ""}, id="empty token"),
        pytest.param({"x-api-key": ""}, id="empty key"),
        pytest.param({"cookie": f"authorization={token()}"}, id="a token elsewhere"),
    ],
)
def test_no_credentials_are_401_without_an_error_in_the_challenge(api: Api, headers: dict[str, str]) -> None:
    answer = api.get(PATH, headers=headers)
    assert (answer.status, answer.code) == (401, "credentials_missing")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE


def test_an_expired_token_says_so_that_a_client_can_renew_it(api: Api) -> None:
    answer = api.get(PATH, headers=bearer(exp=NOW - 60))
    assert (answer.status, answer.code) == (401, "credentials_expired")
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'


def test_an_expired_token_of_another_signer_is_only_invalid(api: Api) -> None:
    answer = api.get(PATH, headers=bearer(exp=NOW - 60, secret="another-secret-that-is-as-long-as-the-real-one"))
    assert answer.code == "credentials_invalid"


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="as it should be"),
        pytest.param({"exp": -2}, id="expired within the leeway"),
        pytest.param({"nbf": 5}, id="valid in a moment"),
        pytest.param({"aud": ["elsewhere", AUDIENCE]}, id="one of several audiences"),
        pytest.param({"role": "user", "email": "user@example.test"}, id="with claims that mean nothing here"),
    ],
)
def test_a_good_token_is_taken(api: Api, claims: dict[str, Any]) -> None:
    now = int(time.time())  # of the test, and not of its collection, which may be minutes ago
    dated = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
    assert api.get(PATH, headers=bearer(**dated)).status == 200


@pytest.mark.parametrize(
    "authorization",
    [f"bearer {token()}", f"BEARER {token()}", f"Bearer   {token()}  "],
    ids=["small", "capital", "spaces"],
)
def test_the_scheme_may_be_written_in_any_case(api: Api, authorization: str) -> None:
    assert api.get(PATH, headers={"authorization": authorization}).status == 200


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("wrong", id="unknown"),
        pytest.param(API_KEY.upper(), id="another case"),
        pytest.param(API_KEY[:-1], id="cut off"),
        pytest.param(f" {API_KEY}", id="with a space"),
        pytest.param(hashlib.sha256(API_KEY.encode()).hexdigest(), id="its own hash"),
        pytest.param("first", id="its id"),
        pytest.param("schlüssel", id="not ASCII"),
        pytest.param("\udcff", id="half a character"),
        pytest.param("x" * 10_000, id="very long"),
    ],
)
def test_a_wrong_key_is_401(api: Api, key: str) -> None:
    answer = api.get(PATH, headers={"x-api-key": key})
    assert (answer.status, answer.code) == (401, "credentials_invalid")
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'


def test_two_credentials_are_one_too_many(api: Api) -> None:
    answer = api.get(PATH, headers=INTERNAL | bearer())
    assert (answer.status, answer.code) == (401, "credentials_invalid")


def test_with_no_keys_stored_no_key_is_right(api: Api) -> None:
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString='{"keys": []}')
    assert api.get(PATH, headers=INTERNAL).status == 401


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so many more seconds have gone by for what is remembered for a time."""
    later = renewal.time.monotonic() + seconds
    monkeypatch.setattr(renewal.time, "monotonic", lambda: later)


def test_keys_are_rotated_without_a_gap(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old and new are both valid until the old one is removed; that is noticed when the cache expires."""
    secrets = boto3.client("secretsmanager")
    secrets.put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(first=API_KEY, second="new-key"))
    new = {"x-api-key": "new-key"}
    assert [api.get(PATH, headers=headers).status for headers in (INTERNAL, new)] == [200, 200]
    secrets.put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(second="new-key"))
    assert api.get(PATH, headers=INTERNAL).status == 200
    pass_time(monkeypatch, vault.CACHE_SECONDS)
    assert [api.get(PATH, headers=headers).status for headers in (INTERNAL, new)] == [401, 200]


def test_a_new_key_is_accepted_soon_and_made_up_keys_cause_few_calls(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.get(PATH, headers=INTERNAL).status == 200
    fetched: list[Any] = []
    events = vault.vault().client.meta.events
    events.register("before-call.secrets-manager.*", lambda **_: fetched.append(1))
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(new="new-key"))
    new = {"x-api-key": "new-key"}
    assert api.get(PATH, headers=new).status == 401
    pass_time(monkeypatch, credentials.NEW_KEY_SECONDS)
    assert api.get(PATH, headers=new).status == 200
    for number in range(10):
        assert api.get(PATH, headers={"x-api-key": f"made-up-{number}"}).status == 401
    assert len(fetched) == 1


def test_keys_are_compared_in_constant_time_and_all_of_them(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"first": API_KEY, "second": "another", "third": "one more"}
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(**keys))
    compared, compare = [], hmac.compare_digest

    def watched(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(credentials.hmac, "compare_digest", watched)
    assert api.get(PATH, headers=INTERNAL).status == 200
    sent = hashlib.sha256(API_KEY.encode()).hexdigest()
    assert compared == [(hashlib.sha256(key.encode()).hexdigest(), sent) for key in keys.values()]


@pytest.mark.parametrize("headers", [INTERNAL, bearer()], ids=["key", "token"])
def test_secrets_that_cannot_be_fetched_are_503_and_not_a_refusal(
    api: Api, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    monkeypatch.setenv("JWT_SECRET_ID", "missing")
    monkeypatch.setenv("API_KEYS_SECRET_ID", "missing")
    answer = api.get(PATH, headers=headers)
    assert (answer.status, answer.code) == (503, "identity_provider_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert "WWW-Authenticate" not in answer.headers
    assert "missing" not in answer.text


@pytest.mark.parametrize("secret", ["no JSON", "[]", "{}", '{"keys": {}}', '{"keys": null}', "[" * 10_000])
def test_keys_that_are_no_list_are_our_fault_and_let_nobody_in(api: Api, secret: str) -> None:
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=secret)
    answer = api.get(PATH, headers=INTERNAL)
    assert (answer.status, answer.code) == (503, "identity_provider_unavailable")


GOOD_HASH = hashlib.sha256(b"bad-key").hexdigest()
MALFORMED: dict[str, object] = {
    "a number": 1,
    "null": None,
    "a list": [],
    "no hash": {"id": "bad"},
    "no id": {"sha256": GOOD_HASH},
    "an empty id": {"id": "", "sha256": GOOD_HASH},
    "an id that is a number": {"id": 1, "sha256": GOOD_HASH},
    "a hash that is null": {"id": "bad", "sha256": None},
    "the key in place of its hash": {"id": "bad", "sha256": "bad-key"},
    "a scope that there is not": {"id": "bad", "sha256": GOOD_HASH, "scope": "everything"},
    "a scope that is null": {"id": "bad", "sha256": GOOD_HASH, "scope": None},
    "a misspelt scope": {"id": "bad", "sha256": GOOD_HASH, "scopes": "read"},
}


@pytest.mark.parametrize("entry", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_key_lets_nobody_in_and_stops_no_other(
    api: Api, entry: object, caplog: pytest.LogCaptureFixture
) -> None:
    for keys in ([entry, cloud.api_key("good", "good-key")], [cloud.api_key("good", "good-key"), entry]):
        boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=json.dumps({"keys": keys}))
        caches.clear_all()
        assert api.get(PATH, headers={"x-api-key": "good-key"}).status == 200
        assert api.get(PATH, headers={"x-api-key": "bad-key"}).status == 401
        [record] = [record for record in caplog.records if record.getMessage() == "API key ignored"]
        assert "bad-key" not in str(vars(record)), "once for each version of the secret, without what it says"
        caplog.clear()


def break_secrets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Secrets cannot be fetched any more; what is asked for all the same is in the list."""
    asked: list[str] = []

    def fail(_self: vault.Vault, secret_id: str) -> str:
        asked.append(secret_id)
        raise vault.SecretUnavailable(secret_id)

    monkeypatch.setattr(vault.Vault, "_fetch", fail)
    return asked


@pytest.mark.parametrize("headers", [INTERNAL, bearer()], ids=["key", "token"])
def test_secrets_that_cannot_be_renewed_are_used_for_a_quarter_of_an_hour(
    api: Api, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    assert api.get(PATH, headers=headers).status == 200
    asked = break_secrets(monkeypatch)
    pass_time(monkeypatch, vault.CACHE_SECONDS)
    for _ in range(5):
        assert api.get(PATH, headers=headers).status == 200
    assert len(asked) == 1, "the others did not wait for another failure"
    pass_time(monkeypatch, renewal.PAUSE_SECONDS)
    assert api.get(PATH, headers=headers).status == 200
    assert len(asked) == 2
    pass_time(monkeypatch, renewal.STALE_SECONDS)
    answer = api.get(PATH, headers=headers)
    assert (answer.status, answer.code) == (503, "identity_provider_unavailable")


@pytest.mark.parametrize("secret", ["no JSON", "[]", '{"keys": {}}', '{"keys": [,]}', "[" * 10_000])
def test_keys_that_cannot_be_read_any_more_are_like_keys_that_cannot_be_fetched(
    api: Api, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    assert api.get(PATH, headers=INTERNAL).status == 200
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=secret)
    pass_time(monkeypatch, vault.CACHE_SECONDS)
    assert api.get(PATH, headers=INTERNAL).status == 200
    pass_time(monkeypatch, renewal.STALE_SECONDS)
    assert api.get(PATH, headers=INTERNAL).code == "identity_provider_unavailable"


@pytest.mark.parametrize("odd", ['{"id": "a", "id": "a", "sha256": "x"}', '{"id": "a", "sha256": 1e99999}'])
def test_an_entry_that_is_odd_json_stops_no_other_key(api: Api, odd: str) -> None:
    secret = f'{{"keys": [{odd}, {json.dumps(cloud.api_key("good", "good-key"))}]}}'
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=secret)
    assert api.get(PATH, headers={"x-api-key": "good-key"}).status == 200


def test_secrets_that_can_be_fetched_again_are_renewed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.get(PATH, headers=INTERNAL).status == 200
    with monkeypatch.context() as broken:
        break_secrets(broken)
        pass_time(broken, vault.CACHE_SECONDS)
        assert api.get(PATH, headers=INTERNAL).status == 200
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(new="new-key"))
    pass_time(monkeypatch, vault.CACHE_SECONDS + renewal.PAUSE_SECONDS)
    assert api.get(PATH, headers=INTERNAL).status == 401
    assert api.get(PATH, headers={"x-api-key": "new-key"}).status == 200


def test_secrets_are_fetched_once_for_many_requests(api: Api) -> None:
    fetched = []
    api.get(PATH, headers=bearer())  # makes the client, whose calls can then be counted
    provider = vault.vault()
    provider.client.meta.events.register("before-call.secrets-manager.*", lambda **call: fetched.append(call["params"]))
    provider.store.clear()
    for _ in range(5):
        assert api.get(PATH, headers=bearer()).status == 200
        assert api.get(PATH, headers=INTERNAL).status == 200
        assert api.get(PATH, headers={"x-api-key": "wrong"}).status == 401
    assert sorted(json.loads(call["body"])["SecretId"] for call in fetched) == ["api-keys", "jwt"]


def test_credentials_are_checked_before_anything_else(api: Api) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, bearer(exp=NOW - 60)):
        for raw in (b"\xff", "{", "[" * 100_000, "", "null", '{"a": 1}'):
            assert api.post("/api/usage/record", raw=raw, headers=headers).status == 401
        headers |= {"content-type": "text/plain"}
        assert api.post("/api/usage/record", raw="{}", headers=headers).status == 401
        assert api.get("/api/usage/user/a b", headers=headers, query={"unknown": "1", "limit": "x"}).status == 401


def test_the_role_is_checked_before_the_request_is_looked_at(api: Api) -> None:
    answer = api.put("/api/usage/quotas/business/report", None, raw="{", headers=bearer())
    assert (answer.status, answer.code) == (403, "forbidden")


def test_with_hs256_the_16_mb_of_cryptography_are_not_imported() -> None:
    code = f"""
import sys
sys.path[:0] = ["layers/usage_billing", "functions", "."]
import tests.conftest, os, importlib
from pathlib import Path
from moto import mock_aws
from tests import cloud
with mock_aws():
    os.environ |= cloud.create()
    # moto itself imports it, and PyJWT where it can: both are forgotten, and from now on importing it fails.
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
