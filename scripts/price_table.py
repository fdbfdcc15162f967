"""Tables that show what quantities cost with a quota, computed by the API that is going to store it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from scripts.client import body_of
from usage_billing.kernel.fields import INTEGER_DIGITS
from usage_billing.kernel.instants import iso
from usage_billing.kernel.numbers import ZERO, add, as_text, multiply

if TYPE_CHECKING:
    from scripts.client import Client
    from usage_billing.plans.api import QuotaTerms

FAR = 10
"""The last row of a table is this many times as far beyond the included units as the last change of the price."""

console = Console(highlight=False)


def show_prices(api: Client, quota: QuotaTerms) -> None:
    """Print what quantities cost with a quota."""
    name = f"{quota.plan_id}/{quota.usage_type}"
    asked = {"quota": quota.model_dump(by_alias=True), "quantities": telling_quantities(quota)}
    preview = body_of(api.post("/api/usage/quotas/preview", asked), f"Preview {name}")
    start = f" from {iso(quota.effective_from)}" if quota.effective_from else ""
    title = f"{name}{start}: {as_text(quota.monthly_limit)} x {quota.unit_name} included"
    table = Table(title=title, title_justify="left", title_style="", min_width=60)
    for column in ("used", "charged"):
        table.add_column(column, justify="right")
    table.add_column("amount", justify="right", no_wrap=True)
    table.add_column("is the sum of")
    for charge in preview["charges"]:
        quantities = (_text(charge["quantity"]), _text(charge["billableQuantity"]))
        amount = f"{charge['amount']} {preview['currency']}"
        table.add_row(*quantities, amount, ", ".join(map(arithmetic, charge["lines"])))
    console.print(table)


def telling_quantities(quota: QuotaTerms) -> list[Decimal]:
    """Return quantities that show where the price of a unit changes: at the included units, and at each bound."""
    bounds = quota.price_model.bounds
    last = bounds[-1] if bounds else Decimal(FAR)
    beyond = {ZERO, *bounds, multiply(last, Decimal(FAR))}
    beyond |= {add(quantity, Decimal(1)) for quantity in (ZERO, *bounds)}
    used = {add(quota.monthly_limit, quantity) for quantity in beyond}
    if quota.minimum_charge is not None:
        used.add(ZERO)  # a period without usage costs something, too
    return sorted(quantity for quantity in used if quantity < 10**INTEGER_DIGITS)


def arithmetic(line: Any) -> str:
    """Return the line of a charge as text, such as `10 x 8.00 + 25.00`."""
    if line["kind"] != "usage":
        return f"{line['amount']} to the {line['kind']}"
    packages = "package" if line["quantity"] == 1 else "packages"
    of_packages = "" if line["packageSize"] is None else f" {packages} of {_text(line['packageSize'])}"
    fee = "" if not Decimal(line["flatFee"]) else f" + {line['flatFee']}"
    return f"{_text(line['quantity'])}{of_packages} x {line['unitPrice']}{fee}"


def _text(number: int | Decimal) -> str:
    return as_text(Decimal(number))
