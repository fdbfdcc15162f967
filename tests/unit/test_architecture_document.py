"""docs/architecture.md names the tables, keys, indexes and functions that the templates define."""

import re

from tests.template import ROOT, functions, tables_template

TEXT = (ROOT / "docs/architecture.md").read_text()


def test_the_described_tables_are_those_of_the_template() -> None:
    described: dict[str, tuple[list[str], list[str]]] = {}
    section = TEXT.partition("\n## Tables\n")[2].partition("\n\nTwo transactions")[0]
    row = re.compile(r"^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)
    for name, hash_key, range_key, _, indexes in row.findall(section):
        keys = [key for cell in (hash_key, range_key) for key in re.findall(r"`(\w+)`", cell)]
        described[name] = keys, sorted(re.findall(r"`([\w-]+-index)`", indexes))
    defined: dict[str, tuple[list[str], list[str]]] = {}
    for name, resource in tables_template()["Resources"].items():
        properties = resource["Properties"]
        keys = [key["AttributeName"] for key in properties["KeySchema"]]
        indexes = sorted(index["IndexName"] for index in properties.get("GlobalSecondaryIndexes", []))
        defined[name.removesuffix("Table")] = keys, indexes
    assert described == defined


def test_the_functions_in_the_diagrams_exist() -> None:
    diagrams = "\n".join(re.findall(r"^```mermaid\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
    existing = {each["Properties"]["FunctionName"]["Fn::Sub"].partition("-")[2] for each in functions().values()}
    first_words = "|".join({name.partition("-")[0] for name in existing})
    named = set(re.findall(rf"\b(?:{first_words})-[a-z]+(?:-[a-z]+)*\b", diagrams))
    assert named
    assert named - existing == set()
