"""The documents name targets that exist, and each target says what it does."""

import re
import shlex
from pathlib import Path

import pytest

from scripts.deployment import chosen
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
    table = manual.partition("\n| parameter | what it sets |\n")[2].partition("\n\n")[0]
    listed = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(set(template()["Parameters"]) - {"Stage"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_deployments_of_a_section_can_be_pasted_one_after_the_other(document: Path) -> None:
    """None is refused because a block before it exported the name of another stage's stack."""
    for section in re.split(r"^##+ ", document.read_text(), flags=re.MULTILINE):
        exported: dict[str, str] = {}
        for block in re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            for line in re.findall(r"^(?:export|make deploy) .*", block, re.MULTILINE):
                words = shlex.split(line, comments=True)
                given = dict(word.split("=", 1) for word in words if "=" in word)
                if words[0] == "export":
                    exported |= given
                else:
                    chosen(given["STAGE"], exported | given)
