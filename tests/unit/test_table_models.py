"""The models of the tables agree with infra/tables.yaml."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.template import tables_template
from usage_billing.platform import tables
from usage_billing.platform.config import Settings
from usage_billing.platform.dynamodb import Table


@pytest.mark.parametrize("model", tables.ALL, ids=lambda model: model.__name__)
def test_a_model_has_the_keys_and_indexes_of_its_table(model: type[Table]) -> None:
    declared = tables_template()["Resources"][model.__name__]["Properties"]
    known = model._get_schema()
    assert by_kind(known["key_schema"]) == by_kind(declared["KeySchema"])
    assert {
        each["index_name"]: (by_kind(each["key_schema"]), each["projection"]["ProjectionType"])
        for each in known["global_secondary_indexes"]
    } == {
        each["IndexName"]: (by_kind(each["KeySchema"]), each["Projection"]["ProjectionType"])
        for each in declared.get("GlobalSecondaryIndexes", [])
    }
    assert {each["AttributeName"]: each["AttributeType"] for each in known["attribute_definitions"]} == {
        each["AttributeName"]: each["AttributeType"] for each in declared["AttributeDefinitions"]
    }


def by_kind(keys: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The names of key attributes by HASH and RANGE."""
    return {each["KeyType"]: each["AttributeName"] for each in keys}


def test_every_table_has_a_model_and_a_setting() -> None:
    declared = {n for n, r in tables_template()["Resources"].items() if r["Type"] == "AWS::DynamoDB::Table"}
    assert {model.__name__ for model in tables.ALL} == declared
    assert {model.setting for model in tables.ALL} == {
        name for name in Settings.model_fields if name.endswith("_table")
    }
