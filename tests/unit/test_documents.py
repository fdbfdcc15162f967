"""The links, file names and constants in the documents exist."""

import re
from pathlib import Path

import pytest

from tests.template import ROOT

DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "layers").rglob("*.md")),
]
FOLDERS = "bench|docs|examples|functions|infra|layers|scripts|tests"


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub generates for the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", prose(document))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_constants_in_the_section_on_tuning_exist() -> None:
    tuning = (ROOT / "docs/scale.md").read_text().partition("\n## Tuning\n")[2]
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", tuning))
    code = "\n".join(path.read_text() for path in (ROOT / "layers/usage_billing").rglob("*.py"))
    assert named
    assert named - set(re.findall(r"^([A-Z][A-Z_]+)(?:: \w+)? = ", code, re.MULTILINE)) == set()
