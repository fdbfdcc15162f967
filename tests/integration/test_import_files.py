"""Importing quotas and subscriptions from files: everything in a file is valid, or nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.client import Response
from scripts.import_file import Imported, import_quotas, import_subscriptions
from scripts.progress import Failure
from tests.api import Api
from tests.clocks import At
from tests.ledgers import rows
from usage_billing.kernel.identifiers import IDENTIFIER_RULE

Quotas = list[dict[str, Any]]


class Client:
    """Calls the handlers in this process instead of a deployed API."""

    url = "here"

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, path: str, **query: str) -> Response:
        response = self._api.get(path, query=query)
        return Response(response.status, response.json, response.headers)

    def put(self, path: str, body: object) -> Response:
        response = self._api.put(path, body)
        return Response(response.status, response.json, response.headers)


def quota_entry(usage_type: str, currency: str, plan: str = "business") -> dict[str, Any]:
    return {"planId": plan, "usageType": usage_type, "monthlyLimit": 5, "unitPrice": "1.00", "unitName": "unit",
            "currency": currency}  # fmt: skip


def import_quota_file(api: Api, tmp_path: Path, *quotas: dict[str, Any]) -> Imported:
    file = tmp_path / "quotas.json"
    file.write_text(json.dumps(quotas))
    return import_quotas(Client(api), file)  # type: ignore[arg-type] # stands in for the client


def stored_quotas(api: Api) -> Quotas:
    """The quotas of the plan `business`, without when they take effect and who changed them."""
    quotas = api.get("/api/usage/quotas/business").json["quotas"]
    return [{name: quota[name] for name in quota_entry("", "")} for quota in quotas]


def test_importing_quotas_again_writes_nothing_and_says_so(api: Api, tmp_path: Path) -> None:
    quotas = [
        quota_entry("analysis", "EUR"),
        quota_entry("report", "EUR"),
        quota_entry("report", "USD", plan="starter"),
    ]
    assert str(import_quota_file(api, tmp_path, *quotas)) == "Imported 3 quotas"
    assert stored_quotas(api) == quotas[:2]
    written = rows("USAGE_QUOTA_TABLE")
    again = import_quota_file(api, tmp_path, *quotas)
    assert str(again) == "Nothing to write: the API has all 3 quotas already"
    assert rows("USAGE_QUOTA_TABLE") == written
    changed = import_quota_file(api, tmp_path, quotas[0] | {"monthlyLimit": 6}, *quotas[1:])
    assert str(changed) == "Imported 3 quotas, 2 of them unchanged"


def test_a_file_can_hold_several_versions_of_a_quota(api: Api, tmp_path: Path, at: At) -> None:
    at("2026-11-20T12:00:00Z")
    quota = quota_entry("report", "USD")
    versions = [quota, quota | {"unitPrice": "2.00", "effectiveFrom": "2027-01-01T00:00:00Z"}]
    assert str(import_quota_file(api, tmp_path, *versions)) == "Imported 2 quotas"
    for now in ("2026-12-31T00:00:00Z", "2026-12-31T23:59:44Z"):
        at(now)
        assert str(import_quota_file(api, tmp_path, *versions)).startswith("Nothing to write")
    at("2026-12-31T23:59:45Z")
    outdated = import_quota_file(api, tmp_path, *versions)
    assert str(outdated) == "Imported 2 quotas, 1 of them unchanged", "without effectiveFrom, 1.00 is the newer version"
    with pytest.raises(Failure, match="entry 2, planId, usageType and effectiveFrom: duplicate of entry 1"):
        import_quota_file(api, tmp_path, *versions, versions[1])


@pytest.mark.parametrize(
    ("stored", "quotas"),
    [
        pytest.param(
            [], [quota_entry("analysis", "USD"), quota_entry("report", "EUR")], id="two currencies in the file"
        ),
        pytest.param(
            [quota_entry("analysis", "USD")], [quota_entry("report", "EUR")], id="another currency in the store"
        ),
        pytest.param(
            [quota_entry("report", "USD")],
            [quota_entry("report", "EUR")],
            id="the same quota in another currency in the store",
        ),
    ],
)
def test_an_import_with_two_currencies_for_a_plan_writes_nothing(
    api: Api, tmp_path: Path, stored: Quotas, quotas: Quotas
) -> None:
    if stored:
        import_quota_file(api, tmp_path, *stored)
    with pytest.raises(Failure, match=r"nothing was written(.|\n)*currency: the plan business is in USD"):
        import_quota_file(api, tmp_path, *quotas)
    assert stored_quotas(api) == stored


SUBSCRIPTION = {"subscriptionId": "sub-1", "userId": "user-1", "planId": "business"}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"unitPrice": None}, "unitPrice: is required if there is no price", id="null instead of a number"),
        pytest.param({"monthlyLimit": -1}, "monthlyLimit: must not be negative", id="negative"),
        pytest.param({"currency": "usd"}, "currency: must be an ISO 4217", id="a currency in lower case"),
        pytest.param({"planId": ""}, f"planId: {IDENTIFIER_RULE}", id="an empty id"),
        pytest.param(
            {"unitprice": 1},
            "unitprice: is not a field of this request; did you mean unitPrice?",
            id="a misspelled field",
        ),
    ],
)
def test_an_invalid_quota_is_explained_in_plain_words(
    api: Api, tmp_path: Path, change: dict[str, Any], error: str
) -> None:
    with pytest.raises(Failure) as failure:
        import_quota_file(api, tmp_path, quota_entry("report", "USD"), quota_entry("analysis", "USD") | change)
    [line] = str(failure.value).splitlines()[1:]
    assert line.startswith(f"  entry 1, {error}")
    assert api.get("/api/usage/quotas/business").json["quotas"] == []


def test_every_invalid_field_of_a_subscription_file_is_reported(api: Api, tmp_path: Path) -> None:
    """In plain words instead of those of pydantic, which are about Python."""
    file = tmp_path / "subscriptions.json"
    entries = [
        "sub-1",
        {name: text for name, text in SUBSCRIPTION.items() if name != "userId"},
        SUBSCRIPTION | {"billingAnchorDay": "1"},
        SUBSCRIPTION | {"billingAnchorDay": 32},
        SUBSCRIPTION | {"status": "asleep", "planId": 7},
        SUBSCRIPTION | {"subscriptionId": ".a"},
    ]
    file.write_text(json.dumps(entries))
    with pytest.raises(Failure) as failure:
        import_subscriptions(Client(api), file)  # type: ignore[arg-type] # stands in for the client
    assert str(failure.value).splitlines()[1:] == [
        "  entry 0, as a whole: must be a JSON object",
        "  entry 1, userId: is required",
        "  entry 2, billingAnchorDay: must be a whole number",
        "  entry 3, billingAnchorDay: must be at most 31",
        "  entry 4, planId: must be a string",
        "  entry 4, status: must be active, paused or canceled",
        f"  entry 5, subscriptionId: {IDENTIFIER_RULE}",
    ]
