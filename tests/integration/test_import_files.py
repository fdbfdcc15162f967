"""Importing quotas and subscriptions from files: everything in a file is valid, or nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.client import Response
from scripts.import_file import Imported, Quota, import_quotas, import_subscriptions, review_prices
from scripts.progress import Failure
from tests.api import Api
from tests.clocks import At
from tests.ledgers import rows
from tests.template import ROOT
from usage_billing.kernel.identifiers import IDENTIFIER_RULE

Quotas = list[dict[str, Any]]

EXAMPLES = ROOT / "examples/quotas.json"


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

    def post(self, path: str, body: object) -> Response:
        response = self._api.post(path, body)
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


def import_reviewed(api: Api, *, yes: bool = False) -> Imported:
    """Import the quotas in examples/ as the command does."""
    client: Any = Client(api)
    return import_quotas(client, EXAMPLES, lambda quotas: review_prices(client, quotas, yes=yes))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """A function that connects a terminal, on which this is typed; None is the end of the input."""

    def connect(typed: str | None) -> None:
        def ask(question: str) -> str:
            assert question == "  Write these 9 quotas to here? [y/N] "
            if typed is None:
                raise EOFError
            return typed

        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("builtins.input", ask)

    return connect


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


def test_an_import_shows_what_quantities_cost_before_it_writes(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_reviewed(api, yes=True).entries == 9
    shown = [line.split("│") for line in capsys.readouterr().out.splitlines()]
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:5]] for cells in shown if len(cells) == 6}
    assert "starter/analysis: 60 x minute included" in [line[0].strip() for line in shown]
    assert rows["61"] == ["1", "0.13 USD", "1 x 0.125"]
    assert rows["0"] == ["0", "250.00 USD", "250.00 to the minimum"]
    assert rows["1001"] == ["501", "3756.00 USD", "500 x 7.50, 1 x 6.00"]
    assert rows["1100"] == ["100", "80.00 USD", "1 package of 100 x 80.00"]
    assert rows["1101"] == ["101", "160.00 USD", "2 packages of 100 x 80.00"]
    assert rows["16001"] == ["10001", "600.06 USD", "10001 x 0.06"]
    assert rows["106000"] == ["100000", "5000.00 USD", "100000 x 0.06, -1000.00 to the maximum"]
    assert len(api.get("/api/usage/quotas/enterprise").json["quotas"]) == 3


def test_the_table_of_a_planned_version_says_from_when_it_is_in_force(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    client: Any = Client(api)
    entry = quota_entry("report", "USD") | {"effectiveFrom": "2199-01-01T00:00:00Z"}
    review_prices(client, [Quota.model_validate(entry)], yes=True)
    title, *_ = capsys.readouterr().out.splitlines()
    assert title.strip() == "business/report from 2199-01-01T00:00:00Z: 5 x unit included"


def test_without_a_terminal_the_import_needs_an_answer_in_advance(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(Failure, match=r"Nothing was written, because there is no terminal.* YES=1"):
        import_reviewed(api)
    assert "starter/analysis" in capsys.readouterr().out
    assert api.get("/api/usage/quotas/starter").json["quotas"] == []


@pytest.mark.parametrize("typed", ["y", " Yes "])
def test_quotas_are_written_if_the_answer_is_yes(api: Api, terminal: Callable[[str | None], None], typed: str) -> None:
    terminal(typed)
    assert import_reviewed(api).entries == 9
    assert len(api.get("/api/usage/quotas/starter").json["quotas"]) == 3


@pytest.mark.parametrize("typed", ["", "n", "yep", None])
def test_nothing_is_written_unless_the_answer_is_yes(
    api: Api, terminal: Callable[[str | None], None], typed: str | None
) -> None:
    terminal(typed)
    with pytest.raises(Failure, match=r"Nothing was written\."):
        import_reviewed(api)
    assert api.get("/api/usage/quotas/starter").json["quotas"] == []


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
