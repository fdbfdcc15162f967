"""Importing quotas from a file: the file and the store agree on one currency per plan, or nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.client import Answer
from scripts.import_file import import_quotas
from scripts.progress import Failure
from tests.api import Api

Quotas = list[dict[str, Any]]


class Client:
    """Calls the handlers in this process in place of an API."""

    url = "here"

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, path: str, **query: str) -> Answer:
        answer = self._api.get(path, query=query)
        return Answer(answer.status, answer.json, answer.headers)

    def put(self, path: str, body: object) -> Answer:
        answer = self._api.put(path, body)
        return Answer(answer.status, answer.json, answer.headers)


def quota(usage_type: str, currency: str, plan: str = "business") -> dict[str, Any]:
    return {"planId": plan, "usageType": usage_type, "monthlyLimit": 5, "unitPrice": "1.00", "unitName": "unit",
            "currency": currency}  # fmt: skip


def imported(api: Api, tmp_path: Path, *quotas: dict[str, Any]) -> int:
    file = tmp_path / "quotas.json"
    file.write_text(json.dumps(quotas))
    return import_quotas(Client(api), file)  # type: ignore[arg-type]


def test_quotas_are_imported_and_can_be_imported_again(api: Api, tmp_path: Path) -> None:
    quotas = [quota("analysis", "EUR"), quota("report", "EUR"), quota("report", "USD", plan="starter")]
    for _ in range(2):
        assert imported(api, tmp_path, *quotas) == 3
        assert api.get("/api/usage/quotas/business").json["quotas"] == quotas[:2]


@pytest.mark.parametrize(
    ("stored", "quotas"),
    [
        pytest.param([], [quota("analysis", "USD"), quota("report", "EUR")], id="two in the file"),
        pytest.param([quota("analysis", "USD")], [quota("report", "EUR")], id="another in the store"),
        pytest.param([quota("report", "USD")], [quota("report", "EUR")], id="the same quota in the store"),
    ],
)
def test_an_import_that_would_give_a_plan_two_currencies_writes_nothing(
    api: Api, tmp_path: Path, stored: Quotas, quotas: Quotas
) -> None:
    if stored:
        imported(api, tmp_path, *stored)
    with pytest.raises(Failure, match=r"nothing was written(.|\n)*currency: the plan business is in USD"):
        imported(api, tmp_path, *quotas)
    assert api.get("/api/usage/quotas/business").json["quotas"] == stored
