"""The documents name targets that exist, and each target says what it does."""

import re
from pathlib import Path

import pytest

from tests.template import ROOT, template

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_targets_that_exist(document: Path) -> None:
    text = document.read_text()
    blocks = "\n".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL))
    code = re.findall(r"`make (?:-s )?([a-z-]+)", text)
    code += re.findall(r"^(?:\$ )?make (?:-s )?([a-z-]+)", blocks, re.MULTILINE)
    assert set(code) <= TARGETS


def test_every_target_explains_itself() -> None:
    described = set(re.findall(r"^([a-z-]+):.* ## \S", MAKEFILE, re.MULTILINE))
    assert described == TARGETS


def test_every_parameter_is_in_the_operations_manual() -> None:
    """But Stage, which the section of samconfig.toml decides."""
    manual = (ROOT / "docs/operations.md").read_text()
    missing = {name for name in template()["Parameters"] if f"`{name}`" not in manual}
    assert missing == {"Stage"}
