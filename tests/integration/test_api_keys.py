"""Creating and revoking API keys, also when several people do it at the same time."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import boto3
import pytest

from scripts.credentials import ApiKeys
from scripts.progress import Failure
from tests import cloud
from tests.api import Api
from tests.builders import quota_body
from usage_billing.access.callers import Scope


@pytest.fixture
def vault(api: Api) -> Any:
    return boto3.client("secretsmanager")


@pytest.fixture
def keys(vault: Any, monkeypatch: pytest.MonkeyPatch) -> ApiKeys:
    """An empty list of keys, in a secret of the test's own."""
    return keys_in_secret(vault, monkeypatch, '{"keys": []}')


def keys_in_secret(vault: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> ApiKeys:
    name = str(uuid4())
    vault.create_secret(Name=name, SecretString=text)
    monkeypatch.setenv("API_KEYS_SECRET_ID", name)
    return ApiKeys(vault, name)


def other_client(keys: ApiKeys) -> ApiKeys:
    """Another client for the same keys."""
    return ApiKeys(boto3.client("secretsmanager"), keys._secret)


def key_ids(keys: ApiKeys) -> list[str]:
    return [key["id"] for key in keys.all()]


@pytest.mark.parametrize("scope", Scope)
def test_a_new_key_is_limited_to_its_scope(keys: ApiKeys, api: Api, scope: Scope) -> None:
    headers = {"x-api-key": keys.add("reports", scope)}
    quota = quota_body("report")
    statuses = [
        api.get("/api/usage/user/user-1", headers=headers).status,
        api.record(subscriptionId="unheard-of", headers=headers).status,
        api.put("/api/usage/quotas/business/report", quota, headers=headers).status,
    ]
    expected = {Scope.READ: [200, 403, 403], Scope.RECORD: [200, 404, 403], Scope.OPERATE: [200, 404, 200]}
    assert statuses == expected[scope]


def test_revoking_a_key_leaves_the_others(keys: ApiKeys) -> None:
    for name in "abc":
        keys.add(name, Scope.RECORD)
    keys.revoke("b")
    assert key_ids(keys) == ["a", "c"]
    with pytest.raises(Failure, match=r"no key b\. Existing keys: a, c"):
        keys.revoke("b")
    with pytest.raises(Failure, match="key a already"):
        keys.add("a", Scope.READ)


def test_entries_that_are_not_keys_are_left_unchanged(vault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = [1, {"id": "bad"}, {"sha256": "x"}, {"id": 1, "sha256": "x"}]
    keys = keys_in_secret(vault, monkeypatch, json.dumps({"keys": [*odd, cloud.api_key("old", "key")]}))
    keys.add("new", Scope.READ)
    keys.revoke("old")
    assert key_ids(keys) == ["new"]
    stored = json.loads(vault.get_secret_value(SecretId=keys._secret)["SecretString"])["keys"]
    assert stored[:4] == odd


@pytest.mark.parametrize("secret", ["no JSON", "[]", "{}", '{"keys": 1}'])
def test_a_secret_that_is_not_a_list_of_keys_is_not_overwritten(
    vault: Any, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    keys = keys_in_secret(vault, monkeypatch, secret)
    for change in (lambda: keys.add("a", Scope.READ), lambda: keys.revoke("a"), keys.all):
        with pytest.raises(Failure, match="Correct it by hand"):
            change()
    assert vault.get_secret_value(SecretId=keys._secret)["SecretString"] == secret


def interrupt_before_the_label_moves(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch, interrupt: Callable[[], object]
) -> None:
    """Call `interrupt` once, after the keys are read and before the new ones become current."""
    move, pending = keys._vault.update_secret_version_stage, [interrupt]

    def moved(**call: Any) -> Any:
        if pending and call["VersionStage"] == "AWSCURRENT":
            pending.pop()()
        return move(**call)

    monkeypatch.setattr(keys._vault, "update_secret_version_stage", moved)


def test_when_two_keys_are_created_at_once_both_are_stored(
    keys: ApiKeys, vault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_before_the_label_moves(keys, monkeypatch, lambda: other_client(keys).add("b", Scope.READ))
    keys.add("a", Scope.READ)
    assert sorted(key_ids(keys)) == ["a", "b"]


def test_creating_a_key_does_not_undo_a_concurrent_revocation(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.add("stolen", Scope.OPERATE)
    interrupt_before_the_label_moves(keys, monkeypatch, lambda: other_client(keys).revoke("stolen"))
    keys.add("a", Scope.READ)
    assert key_ids(keys) == ["a"]


def test_a_retried_change_that_already_took_effect_is_made_once(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK repeats a call whose response was lost. By then the label has already moved."""
    move = keys._vault.update_secret_version_stage

    def twice(**call: Any) -> Any:
        if call["VersionStage"] == "AWSCURRENT":
            move(**call)
        return move(**call)

    monkeypatch.setattr(keys._vault, "update_secret_version_stage", twice)
    keys.add("a", Scope.READ)
    assert key_ids(keys) == ["a"]


def test_a_change_that_loses_every_race_reports_that_nothing_was_changed(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, count = other_client(keys), iter(range(100))
    move = keys._vault.update_secret_version_stage

    def late(**call: Any) -> Any:
        if call["VersionStage"] == "AWSCURRENT":
            other.add(f"other-{next(count)}", Scope.READ)
        return move(**call)

    monkeypatch.setattr(keys._vault, "update_secret_version_stage", late)
    with pytest.raises(Failure, match="Nothing was changed"):
        keys.add("a", Scope.READ)
    assert "a" not in key_ids(keys)


def test_no_version_of_the_secret_keeps_a_draft_label(keys: ApiKeys, vault: Any) -> None:
    keys.add("a", Scope.READ)
    versions = vault.list_secret_version_ids(SecretId=keys._secret, IncludeDeprecated=True)["Versions"]
    assert not [stage for version in versions for stage in version["VersionStages"] if stage.startswith("draft-")]
