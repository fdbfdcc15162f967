"""The package's README lists every module, and says which of them are pure."""

import re
import tomllib

from tests.template import ROOT

PACKAGE = ROOT / "layers/usage_billing/usage_billing"
ROWS = re.findall(r"^\| (`[^|]+\.py`) \| [^|]+ \| (yes|no) \|$", (PACKAGE / "README.md").read_text(), re.MULTILINE)
LISTED = {name: pure == "yes" for cell, pure in ROWS for name in re.findall(r"`([^`]+)`", cell)}


def test_every_module_is_in_the_readme() -> None:
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert set(LISTED) == modules


def test_the_readme_calls_pure_what_is_checked_to_be_pure() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["report"]["include"]
    pure = {str(path.relative_to(PACKAGE)) for pattern in settings for path in ROOT.glob(pattern)}
    pure = {name for name in pure if not name.endswith("__init__.py")} - {"web/field_errors.py"}  # it shares a row
    assert {name for name, is_pure in LISTED.items() if is_pure} == pure


def test_only_the_topmost_package_does_something_when_it_is_imported() -> None:
    filled = [path for path in PACKAGE.rglob("__init__.py") if path.read_text().strip()]
    assert filled == [PACKAGE / "__init__.py"]
