"""Making and revoking API keys, also when several people do it at the same time."""

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
from usage_billing.access.callers import Scope


@pytest.fixture
def vault(api: Api) -> Any:
    return boto3.client("secretsmanager")


@pytest.fixture
def keys(vault: Any, monkeypatch: pytest.MonkeyPatch) -> ApiKeys:
    """No keys yet, in a secret of the test's own."""
    return holding(vault, monkeypatch, '{"keys": []}')


def holding(vault: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> ApiKeys:
    name = str(uuid4())
    vault.create_secret(Name=name, SecretString=text)
    monkeypatch.setenv("API_KEYS_SECRET_ID", name)
    return ApiKeys(vault, name)


def elsewhere(keys: ApiKeys) -> ApiKeys:
    """The same keys for somebody else."""
    return ApiKeys(boto3.client("secretsmanager"), keys._secret)


def ids(keys: ApiKeys) -> list[str]:
    return [key["id"] for key in keys.all()]


@pytest.mark.parametrize("scope", Scope)
def test_a_new_key_is_good_for_its_scope(keys: ApiKeys, api: Api, scope: Scope) -> None:
    headers = {"x-api-key": keys.add("reports", scope)}
    quota = {"monthlyLimit": 1, "unitPrice": "1", "unitName": "report"}
    statuses = [
        api.get("/api/usage/user/user-1", headers=headers).status,
        api.record(subscriptionId="unheard-of", headers=headers).status,
        api.put("/api/usage/quotas/business/report", quota, headers=headers).status,
    ]
    expected = {Scope.READ: [200, 403, 403], Scope.RECORD: [200, 404, 403], Scope.OPERATE: [200, 404, 200]}
    assert statuses == expected[scope]


def test_a_key_is_revoked_and_the_others_stay(keys: ApiKeys) -> None:
    for name in "abc":
        keys.add(name, Scope.RECORD)
    keys.revoke("b")
    assert ids(keys) == ["a", "c"]
    with pytest.raises(Failure, match=r"no key b\. Existing keys: a, c"):
        keys.revoke("b")
    with pytest.raises(Failure, match="key a already"):
        keys.add("a", Scope.READ)


def test_entries_that_are_no_keys_are_left_as_they_are(vault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = [1, {"id": "bad"}, {"sha256": "x"}, {"id": 1, "sha256": "x"}]
    keys = holding(vault, monkeypatch, json.dumps({"keys": [*odd, cloud.api_key("old", "key")]}))
    keys.add("new", Scope.READ)
    keys.revoke("old")
    assert ids(keys) == ["new"]
    stored = json.loads(vault.get_secret_value(SecretId=keys._secret)["SecretString"])["keys"]
    assert stored[:4] == odd


@pytest.mark.parametrize("secret", ["no JSON", "[]", "{}", '{"keys": 1}'])
def test_a_secret_that_holds_no_keys_is_not_overwritten(
    vault: Any, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    keys = holding(vault, monkeypatch, secret)
    for change in (lambda: keys.add("a", Scope.READ), lambda: keys.revoke("a"), keys.all):
        with pytest.raises(Failure, match="Correct it by hand"):
            change()
    assert vault.get_secret_value(SecretId=keys._secret)["SecretString"] == secret


def before_the_move(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch, interrupt: Callable[[], object]) -> None:
    """Let something happen once between reading the keys and making the new ones current."""
    move, pending = keys._vault.update_secret_version_stage, [interrupt]

    def moved(**call: Any) -> Any:
        if pending and call["VersionStage"] == "AWSCURRENT":
            pending.pop()()
        return move(**call)

    monkeypatch.setattr(keys._vault, "update_secret_version_stage", moved)


def test_two_keys_that_are_made_at_once_are_both_there(
    keys: ApiKeys, vault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_move(keys, monkeypatch, lambda: elsewhere(keys).add("b", Scope.READ))
    keys.add("a", Scope.READ)
    assert sorted(ids(keys)) == ["a", "b"]


def test_a_key_that_is_made_while_another_is_revoked_does_not_undo_that(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.add("stolen", Scope.OPERATE)
    before_the_move(keys, monkeypatch, lambda: elsewhere(keys).revoke("stolen"))
    keys.add("a", Scope.READ)
    assert ids(keys) == ["a"]


def test_a_change_that_took_effect_before_it_was_asked_for_again_is_done_once(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK repeats a call whose answer was lost; the second time the label is not where it was."""
    move = keys._vault.update_secret_version_stage

    def twice(**call: Any) -> Any:
        if call["VersionStage"] == "AWSCURRENT":
            move(**call)
        return move(**call)

    monkeypatch.setattr(keys._vault, "update_secret_version_stage", twice)
    keys.add("a", Scope.READ)
    assert ids(keys) == ["a"]


def test_whoever_never_gets_a_turn_is_told_that_nothing_was_changed(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, count = elsewhere(keys), iter(range(100))
    move = keys._vault.update_secret_version_stage

    def late(**call: Any) -> Any:
        if call["VersionStage"] == "AWSCURRENT":
            other.add(f"other-{next(count)}", Scope.READ)
        return move(**call)

    monkeypatch.setattr(keys._vault, "update_secret_version_stage", late)
    with pytest.raises(Failure, match="Nothing was changed"):
        keys.add("a", Scope.READ)
    assert "a" not in ids(keys)


def test_no_version_keeps_the_label_of_a_draft(keys: ApiKeys, vault: Any) -> None:
    keys.add("a", Scope.READ)
    versions = vault.list_secret_version_ids(SecretId=keys._secret, IncludeDeprecated=True)["Versions"]
    assert not [stage for version in versions for stage in version["VersionStages"] if stage.startswith("draft-")]
