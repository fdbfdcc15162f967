"""The pages of docs/decisions have one format, and their index is up to date."""

import re
from pathlib import Path

import pytest

from tests.template import ROOT

HOME = ROOT / "docs/decisions"
PAGES = sorted(path for path in HOME.glob("*.md") if path.name != "README.md")
FORMAT = re.compile(
    r"# (?P<number>\d+)\. (?P<title>[^\n]+)\n\n"
    r"> (?P<line>[^\n]+)\n\n"
    r"Status: (?P<status>accepted · \d{4}-\d{2}-\d{2}"
    r"(?: · revised \d{4}-\d{2}-\d{2})?(?: · superseded(?: in part)? by \[\d+\]\(\d\d-[a-z-]+\.md\))?)\n\n"
    r"## Context\n\n(?P<context>.+)\n\n"
    r"## Decision\n\n(?P<decision>.+)\n\n"
    r"## Rejected alternatives\n\n(?P<alternatives>.+)\n\n"
    r"## Trade-offs\n\n(?P<trade_offs>.+)\n\n"
    r"## References\n\n(?P<references>.+)\n",
    re.DOTALL,
)


def parts(page: Path) -> dict[str, str]:
    found = FORMAT.fullmatch(page.read_text())
    assert found, f"{page.name} does not have the format of a decision"
    return found.groupdict()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_the_format(page: Path) -> None:
    found = parts(page)
    assert page.name.startswith(f"{int(found['number']):02}-")
    for name, text in found.items():
        assert not re.search("^##? ", text, re.MULTILINE), f"{name} contains a heading that the format does not have"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_names_tests_that_exist(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", parts(page)["references"])
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(parts(page)["number"]) for page in PAGES] == list(range(1, len(PAGES) + 1))


def test_the_index_lists_every_decision_with_its_title_status_and_line() -> None:
    rows = [line for line in (HOME / "README.md").read_text().splitlines() if line.startswith("| [")]
    found = [(page.name, parts(page)) for page in PAGES]
    assert rows == [
        f"| [{each['number']}]({name}) | {each['title']} | {each['status']} | {each['line']} |" for name, each in found
    ]
