"""API keys and secrets in Secrets Manager: rotation, caching, failures and malformed values."""

import hashlib
import hmac
import json
from typing import Any

import boto3
import pytest

from tests import cloud
from tests.api import INTERNAL, Api, bearer
from tests.clocks import pass_time
from tests.cloud import API_KEY
from tests.logs import log_records
from usage_billing.access import credentials
from usage_billing.platform import caches, renewed_values, secrets_manager

PATH = "/api/usage/user/user-1"


def test_without_stored_keys_every_key_is_401(api: Api) -> None:
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString='{"keys": []}')
    assert api.get(PATH, headers=INTERNAL).status == 401


def test_keys_are_rotated_without_a_gap(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both keys are valid until the old one is removed, which takes effect when the cache expires."""
    secrets = boto3.client("secretsmanager")
    secrets.put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(first=API_KEY, second="new-key"))
    new = {"x-api-key": "new-key"}
    assert [api.get(PATH, headers=headers).status for headers in (INTERNAL, new)] == [200, 200]
    secrets.put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(second="new-key"))
    assert api.get(PATH, headers=INTERNAL).status == 200
    pass_time(monkeypatch, secrets_manager.CACHE_SECONDS)
    assert [api.get(PATH, headers=headers).status for headers in (INTERNAL, new)] == [401, 200]


def test_a_new_key_is_accepted_soon_and_made_up_keys_cause_few_fetches(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.get(PATH, headers=INTERNAL).status == 200
    fetched: list[Any] = []
    events = secrets_manager.vault().client.meta.events
    events.register("before-call.secrets-manager.*", lambda **_: fetched.append(1))
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(new="new-key"))
    new = {"x-api-key": "new-key"}
    assert api.get(PATH, headers=new).status == 401
    pass_time(monkeypatch, credentials.NEW_KEY_SECONDS)
    assert api.get(PATH, headers=new).status == 200
    for number in range(10):
        assert api.get(PATH, headers={"x-api-key": f"made-up-{number}"}).status == 401
    assert len(fetched) == 1


def test_all_keys_are_compared_in_constant_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"first": API_KEY, "second": "another", "third": "one more"}
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(**keys))
    compared: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def watched(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert api.get(PATH, headers=INTERNAL).status == 200
    sent = hashlib.sha256(API_KEY.encode()).hexdigest()
    assert compared == [(hashlib.sha256(key.encode()).hexdigest(), sent) for key in keys.values()]


@pytest.mark.parametrize("headers", [INTERNAL, bearer()], ids=["key", "token"])
def test_secrets_that_cannot_be_fetched_are_503_instead_of_401(
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
def test_a_secret_without_a_list_of_keys_is_503(api: Api, secret: str) -> None:
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
    "an unknown scope": {"id": "bad", "sha256": GOOD_HASH, "scope": "everything"},
    "a scope that is null": {"id": "bad", "sha256": GOOD_HASH, "scope": None},
    "a misspelled field": {"id": "bad", "sha256": GOOD_HASH, "scopes": "read"},
}


@pytest.mark.parametrize("entry", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_key_is_ignored_and_the_others_work(
    api: Api, entry: object, caplog: pytest.LogCaptureFixture
) -> None:
    for keys in ([entry, cloud.api_key("good", "good-key")], [cloud.api_key("good", "good-key"), entry]):
        boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=json.dumps({"keys": keys}))
        caches.clear_all()
        assert api.get(PATH, headers={"x-api-key": "good-key"}).status == 200
        assert api.get(PATH, headers={"x-api-key": "bad-key"}).status == 401
        [record] = log_records(caplog, "API key ignored")
        assert "bad-key" not in str(record), "logged once per version of the secret, without its content"
        caplog.clear()


def make_fetches_fail(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every fetch of a secret fail from now on. Return a list that gets the id of each secret asked for."""
    fetches: list[str] = []

    def fail(_self: secrets_manager.Vault, secret_id: str) -> str:
        fetches.append(secret_id)
        raise secrets_manager.SecretUnavailable(secret_id)

    monkeypatch.setattr(secrets_manager.Vault, "_fetch", fail)
    return fetches


@pytest.mark.parametrize("headers", [INTERNAL, bearer()], ids=["key", "token"])
def test_cached_secrets_stay_valid_for_15_minutes_if_they_cannot_be_fetched(
    api: Api, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    assert api.get(PATH, headers=headers).status == 200
    fetches = make_fetches_fail(monkeypatch)
    pass_time(monkeypatch, secrets_manager.CACHE_SECONDS)
    for _ in range(5):
        assert api.get(PATH, headers=headers).status == 200
    assert len(fetches) == 1, "one request waited for the failure"
    pass_time(monkeypatch, renewed_values.PAUSE_SECONDS)
    assert api.get(PATH, headers=headers).status == 200
    assert len(fetches) == 2
    pass_time(monkeypatch, renewed_values.STALE_SECONDS)
    answer = api.get(PATH, headers=headers)
    assert (answer.status, answer.code) == (503, "identity_provider_unavailable")


@pytest.mark.parametrize("secret", ["no JSON", "[]", '{"keys": {}}', '{"keys": [,]}', "[" * 10_000])
def test_cached_keys_stay_valid_for_15_minutes_if_the_secret_becomes_unreadable(
    api: Api, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    assert api.get(PATH, headers=INTERNAL).status == 200
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=secret)
    pass_time(monkeypatch, secrets_manager.CACHE_SECONDS)
    assert api.get(PATH, headers=INTERNAL).status == 200
    pass_time(monkeypatch, renewed_values.STALE_SECONDS)
    assert api.get(PATH, headers=INTERNAL).code == "identity_provider_unavailable"


@pytest.mark.parametrize("odd", ['{"id": "a", "id": "a", "sha256": "x"}', '{"id": "a", "sha256": 1e99999}'])
def test_an_entry_of_unusual_json_does_not_disable_the_other_keys(api: Api, odd: str) -> None:
    secret = f'{{"keys": [{odd}, {json.dumps(cloud.api_key("good", "good-key"))}]}}'
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=secret)
    assert api.get(PATH, headers={"x-api-key": "good-key"}).status == 200


def test_secrets_are_refreshed_once_they_can_be_fetched_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.get(PATH, headers=INTERNAL).status == 200
    with monkeypatch.context() as broken:
        make_fetches_fail(broken)
        pass_time(broken, secrets_manager.CACHE_SECONDS)
        assert api.get(PATH, headers=INTERNAL).status == 200
    boto3.client("secretsmanager").put_secret_value(SecretId="api-keys", SecretString=cloud.api_keys(new="new-key"))
    pass_time(monkeypatch, secrets_manager.CACHE_SECONDS + renewed_values.PAUSE_SECONDS)
    assert api.get(PATH, headers=INTERNAL).status == 401
    assert api.get(PATH, headers={"x-api-key": "new-key"}).status == 200


def test_secrets_are_fetched_once_for_many_requests(api: Api) -> None:
    fetched: list[Any] = []
    api.get(PATH, headers=bearer())  # creates the client, whose calls are counted below
    provider = secrets_manager.vault()
    provider.client.meta.events.register("before-call.secrets-manager.*", lambda **call: fetched.append(call["params"]))
    provider.store.clear()
    for _ in range(5):
        assert api.get(PATH, headers=bearer()).status == 200
        assert api.get(PATH, headers=INTERNAL).status == 200
        assert api.get(PATH, headers={"x-api-key": "wrong"}).status == 401
    assert sorted(json.loads(call["body"])["SecretId"] for call in fetched) == ["api-keys", "jwt"]
