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
PACKAGE = ROOT / "layers/usage_billing/usage_billing"
MODULES = {path.name for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*.py")}


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_modules_that_a_document_names_exist(document: Path) -> None:
    """A bare name may be anywhere in the tree. A path starts at the root or in the package `usage_billing`."""
    named = re.findall(r"`([\w./-]+\.py)`", prose(document))
    bare = {name for name in named if "/" not in name}
    paths = set(named) - bare
    missing = {path for path in paths if not (ROOT / path).exists() and not (PACKAGE / path).exists()}
    assert (bare - MODULES, missing) == (set(), set())


def constants(package: str) -> set[str]:
    """The constants that the modules of a package define."""
    code = "\n".join(path.read_text() for path in (PACKAGE / package).rglob("*.py"))
    return set(re.findall(r"^([A-Z][A-Z_]+)(?:: \w+)? = ", code, re.MULTILINE))


def test_the_constants_in_the_section_on_tuning_are_in_the_packages_that_it_names() -> None:
    tuning = (ROOT / "docs/scale.md").read_text().partition("\n## Tuning\n")[2]
    rows = [row.split("|")[1:3] for row in tuning.splitlines() if row.startswith("| ")]
    named = {
        (name, package)
        for settings, place in rows
        for name in re.findall(r"`([A-Z][A-Z_]+)`", settings)
        for package in re.findall(r"^ package `(\w+)` $", place) or ["no package"]
    }
    assert named
    assert {(name, package) for name, package in named if name not in constants(package)} == set()
