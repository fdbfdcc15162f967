"""The Makefile's targets are described, and the documents use targets and parameters that exist."""

import re
import shlex
from pathlib import Path

import pytest

from scripts.deployment import chosen
from tests.template import ROOT, template
from tests.unit.test_documents import DOCUMENTS

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_targets_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text()
    blocks = "\n".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL))
    code = re.findall(r"`make (?:-s )?([a-z-]+)", text)
    code += re.findall(r"^(?:\$ )?make (?:-s )?([a-z-]+)", blocks, re.MULTILINE)
    assert set(code) <= TARGETS


def test_every_target_has_a_description() -> None:
    described = set(re.findall(r"^([a-z-]+):.* ## \S", MAKEFILE, re.MULTILINE))
    assert described == TARGETS


def test_the_operations_manual_lists_every_parameter() -> None:
    """Except Stage, which each section of samconfig.toml sets."""
    manual = (ROOT / "docs/operations.md").read_text()
    table = manual.partition("\n| parameter | what it sets |\n")[2].partition("\n\n")[0]
    listed = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(set(template()["Parameters"]) - {"Stage"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_deploy_commands_of_a_section_work_one_after_the_other(document: Path) -> None:
    """None is refused because an earlier block exported the stack of another stage."""
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
