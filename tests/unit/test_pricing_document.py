"""Every number in docs/pricing.md is right: each table is computed again from the quota above it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import pytest

from scripts.price_table import arithmetic
from tests.builders import NOW
from tests.charges import charge_of
from tests.template import ROOT
from usage_billing.kernel.exact_json import loads
from usage_billing.kernel.fields import DECIMAL_PLACES, INTEGER_DIGITS
from usage_billing.kernel.money import with_minor_digits
from usage_billing.kernel.numbers import as_text
from usage_billing.plans.api import QuotaTerms
from usage_billing.plans.model import Quota
from usage_billing.plans.price_store import MAX_PINNED_BYTES
from usage_billing.pricing.api import ChargeLine
from usage_billing.pricing.price_models import PRICE_MODELS
from usage_billing.pricing.terms import WHOLE, Terms, prorated_money
from usage_billing.pricing.tiers import MAX_TIERS

DOCUMENT = (ROOT / "docs/pricing.md").read_text()

CODE = re.compile(r"^```json\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(?:^\|.*\|\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A table of the document, and the quota above it."""

    quota: Quota
    columns: list[str]
    rows: list[list[str]]


def quota_of(text: str) -> Quota:
    sent = QuotaTerms.model_validate(loads(text), by_alias=True, by_name=False)
    assert sent.plan_id
    assert sent.usage_type
    return sent.quota(sent.plan_id, sent.usage_type, "admin-1", NOW)


def examples() -> Iterator[Example]:
    code = list(CODE.finditer(DOCUMENT))
    for table in TABLE.finditer(DOCUMENT):
        above = [block for block in code if block.end() <= table.start()][-1]
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines())
        yield Example(quota_of(above[1]), head, rows)


EXAMPLES = list(examples())


def money(amount: Decimal, terms: Terms) -> str:
    return as_text(with_minor_digits(amount, terms.currency))


def how(terms: Terms, charged: Decimal, closed_share: Fraction | None = None) -> str:
    lines = terms.lines(charged, closed_share)
    return ", ".join(arithmetic(ChargeLine.of(line, terms.currency).model_dump(by_alias=True)) for line in lines)


BY_USAGE: dict[str, Callable[[Terms, Decimal], str]] = {
    "used": lambda terms, used: as_text(used),
    "charged": lambda terms, used: as_text(terms.overage(used)),
    "charge": lambda terms, used: money(terms.charge(terms.overage(used)), terms),
    "amount": lambda terms, used: as_text(terms.amount(terms.overage(used))),
    "how": lambda terms, used: how(terms, terms.overage(used)),
    "amount while open": lambda terms, used: as_text(terms.amount(terms.overage(used))),
    "amount once closed": lambda terms, used: as_text(terms.amount(terms.overage(used), WHOLE)),
    "how, once closed": lambda terms, used: how(terms, terms.overage(used), WHOLE),
}
"""The columns of a table whose rows are used quantities."""

BY_SHARE: dict[str, Callable[[Quota, Fraction], str]] = {
    "share": lambda quota, share: str(share),
    "included": lambda quota, share: as_text(quota.terms(share).included),
    "maximum charge": lambda quota, share: money(quota.terms(share).maximum_charge or Decimal(-1), quota.terms()),
    "minimum charge": lambda quota, share: money(
        prorated_money(quota.minimum_charge or Decimal(-1), share), quota.terms()
    ),
}
"""The columns of a table whose rows are shares of a whole period."""


def computed(example: Example) -> Iterator[list[str]]:
    terms, billed = example.quota.terms(), Decimal(0)
    for first, *_ in example.rows:
        if example.columns[0] == "share":
            yield [BY_SHARE[column](example.quota, Fraction(first)) for column in example.columns]
            continue
        used = Decimal(first)
        amount = terms.amount(terms.overage(used))
        item, billed = as_text(amount - billed), amount
        yield [item if column == "item" else BY_USAGE[column](terms, used) for column in example.columns]


def test_the_document_has_an_example_of_every_price_model() -> None:
    assert {example.quota.price.kind for example in EXAMPLES} == set(PRICE_MODELS.kinds)
    assert {column for example in EXAMPLES for column in example.columns} == {*BY_USAGE, *BY_SHARE, "item"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"{each.quota.price.kind}: {', '.join(each.columns)}")
def test_a_table_shows_what_its_quota_costs(example: Example) -> None:
    assert list(computed(example)) == example.rows


@pytest.mark.parametrize("example", [each for each in EXAMPLES if "charge" in each.columns], ids=str)
def test_the_charges_are_those_of_the_independent_computation(example: Example) -> None:
    stored = {"price": PRICE_MODELS.dumps(example.quota.price)}
    for row in example.rows:
        cells = dict(zip(example.columns, row, strict=True))
        charged = max(Fraction(0), Fraction(cells["used"]) - Fraction(example.quota.monthly_limit))
        assert charge_of(charged, stored) == Fraction(cells["charge"])


def test_the_numbers_in_the_text_are_the_limits_of_the_code() -> None:
    prose = re.sub(
        r"\]\([^)]*\)|^\d\. |^The short form.*\n", "", TABLE.sub("", CODE.sub("", DOCUMENT)), flags=re.MULTILINE
    )
    limits = {str(limit) for limit in (MAX_TIERS, INTEGER_DIGITS, DECIMAL_PLACES, MAX_PINNED_BYTES)}
    assert set(re.findall(r"\d[\d.]*\d|\d", prose)) == limits


def test_the_short_form_is_the_price_of_the_first_example() -> None:
    [long_form] = re.findall(r'^The short form is `unitPrice`. `"price": ({.*})` means', DOCUMENT, re.MULTILINE)
    body = f'{{"monthlyLimit": 0, "unitName": "minute", "price": {long_form}}}'
    assert QuotaTerms.model_validate(loads(body)).price_model == EXAMPLES[0].quota.price
