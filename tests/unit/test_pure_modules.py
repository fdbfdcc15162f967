"""The list of pure modules, which coverage and `make mutants` use, is complete and the modules are pure."""

import ast
import dataclasses
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from tests.template import ROOT
from usage_billing.billing.model import RunTotals

PACKAGE = ROOT / "layers/usage_billing/usage_billing"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
PATTERNS = SETTINGS["coverage"]["report"]["include"]


def listed() -> set[Path]:
    return {path for pattern in PATTERNS for path in ROOT.glob(pattern)}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_in_the_list_matches_a_module(pattern: str) -> None:
    assert list(ROOT.glob(pattern))


def test_every_module_whose_docstring_says_pure_is_in_the_list() -> None:
    docstrings = {path: ast.get_docstring(ast.parse(path.read_text())) or "" for path in PACKAGE.rglob("*.py")}
    pure = {path for path, text in docstrings.items() if re.search(r"\bPure\b[.:]", text)}
    assert pure
    assert pure <= listed()


def test_the_import_linter_checks_exactly_these_modules() -> None:
    [contract] = [each for each in SETTINGS["importlinter"]["contracts"] if each["name"].startswith("Pure modules")]
    places = [PACKAGE.parent.joinpath(*name.split(".")) for name in contract["source_modules"]]
    kept = {
        path for place in places for path in (place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")])
    }
    assert kept == listed()


def test_no_pure_module_reads_the_clock() -> None:
    """Imports cannot show it: `datetime` is both the type of an instant and the class that reads the clock."""
    clocks = {"now", "utcnow", "today", "time", "monotonic", "perf_counter"}
    calls = {
        path.name: ast.unparse(node)
        for path in listed()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    }
    assert calls == {}


STANDARD_LIBRARY = {"abc", "ast", "base64", "calendar", "collections", "contextlib", "dataclasses", "datetime",
                    "decimal", "difflib", "enum", "fractions", "functools", "hashlib", "itertools", "json", "math",
                    "re", "typing", "unicodedata", "zlib"}  # fmt: skip
LIBRARIES = {"pydantic", "pydantic_core", "simplejson"}


def test_a_pure_module_imports_only_what_is_known_to_be_pure() -> None:
    allowed = STANDARD_LIBRARY | LIBRARIES | {"usage_billing"}
    imported = {
        (path.name, (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for path in listed()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {(name, module) for name, module in imported if module.partition(".")[0] not in allowed} == set()


def test_a_handler_knows_neither_the_database_nor_aws_nor_the_environment() -> None:
    modules = r"os|boto3|botocore|pynamodb|usage_billing\.platform\.(?:aws|dynamodb|tables|transactions)"
    forbidden = re.compile(rf"^ *(?:from|import) (?:{modules})\b", re.MULTILINE)
    assert [path.name for path in (ROOT / "functions").glob("*.py") if forbidden.search(path.read_text())] == []


def classes() -> list[type]:
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in sorted(listed())]
    return [
        each
        for name in names
        for each in vars(importlib.import_module(name)).values()
        if isinstance(each, type) and each.__module__ == name
    ]


VALUES = [
    each for each in classes() if dataclasses.is_dataclass(each) and each is not RunTotals
]  # RunTotals is a counter


@pytest.mark.parametrize("value", VALUES, ids=lambda each: each.__qualname__)
def test_a_value_is_frozen_and_has_slots(value: type) -> None:
    assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(value)
