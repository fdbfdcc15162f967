"""A demo on the local cloud: plays one month over HTTP and checks every number. A wrong number fails with exit code 1.

python -m scripts.demo
"""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from scripts.client import Client, Target, bearer, body_of, internal
from scripts.credentials import signed
from scripts.emulator import ROOT
from scripts.import_file import import_quotas
from scripts.local_cloud import LocalCloud, refuse_other_stacks
from scripts.progress import Failure
from usage_billing.kernel.exact_json import loads
from usage_billing.kernel.numbers import as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.client import Response
    from scripts.local_stack import Stack

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Actor:
    """A user with one subscription, and two clients: a service that reports the usage, and the user's own."""

    user: str
    subscription: str
    plan: str
    service: Client
    own: Client


@dataclass(frozen=True, slots=True)
class Event:
    """A usage event, and the numbers that the response must have for its ledger."""

    number: int
    usage_type: str
    quantity: int
    used: int
    remaining: int
    billable: int


@dataclass(frozen=True, slots=True)
class Run:
    """The expected result of a billing run for one subscription."""

    settled: int
    items: int
    total: str | None


# The plans of examples/quotas.json. Business: 50 assessments included, then 10.00 each; 100 reports included.
# Starter: 10 reports included, then 2.00 each; 60 minutes of analysis included, then 0.125 each.
BUSINESS_FIRST = [
    Event(1, "assessment", 48, used=48, remaining=2, billable=0),
    Event(2, "assessment", 1, used=49, remaining=1, billable=0),
    Event(3, "assessment", 1, used=50, remaining=0, billable=0),
    Event(4, "assessment", 2, used=52, remaining=0, billable=2),
    Event(5, "report", 30, used=30, remaining=70, billable=0),
]
STARTER_FIRST = [
    Event(1, "report", 8, used=8, remaining=2, billable=0),
    Event(2, "report", 4, used=12, remaining=0, billable=2),
    Event(3, "analysis", 61, used=61, remaining=0, billable=1),
]
BUSINESS_LATER = [Event(6, "assessment", 3, used=55, remaining=0, billable=3)]
STARTER_LATER = [Event(4, "analysis", 1, used=62, remaining=0, billable=1)]

PLAN_COLUMNS = ("plan", "usage type", "included >", "unit price >")


def main() -> int:
    try:
        refuse_other_stacks()
        _play(LocalCloud().stack())
    except Failure as failure:
        print(f"\n  {failure}", file=sys.stderr)
        return 1
    return 0


def _play(stack: Stack) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    with Client(Target(stack["apiUrl"], internal(stack["internalApiKey"]))) as service:
        _heading("Two users, two plans")
        imported = import_quotas(service, ROOT / "examples/quotas.json")
        business, starter = _cast(stack, service, now)
        _say(f"{imported} (examples/quotas.json). The demo uses two of the plans:")
        _show_plans(service)
        for actor in (business, starter):
            _say(f"{actor.user} has {actor.subscription} on the plan {actor.plan}.")
        with business.own, starter.own:
            _usage(business, starter, now)
            _bills(business, starter, now)
        _show_commands(stack, business)


def _show_plans(service: Client) -> None:
    table = _table("Included per month, and price per unit of overage", *PLAN_COLUMNS)
    for plan in ("business", "starter"):
        for quota in body_of(service.get(f"/api/usage/quotas/{plan}"), f"Read the quotas of {plan}")["quotas"]:
            included = f"{quota['monthlyLimit']} x {quota['unitName']}"
            table.add_row(plan, quota["usageType"], included, _usd(quota["unitPrice"]))
    console.print(table)


def _usage(business: Actor, starter: Actor, now: datetime) -> None:
    _heading("Record usage, up to the limit and beyond")
    _record(business, BUSINESS_FIRST, now)
    _record(starter, STARTER_FIRST, now)
    _replay(business, BUSINESS_FIRST[3], now)
    _check_access(business, starter)


def _bills(business: Actor, starter: Actor, now: datetime) -> None:
    _heading("Run billing three times")
    _say("A ledger is the usage of one type by one subscription in one month.")
    _bill("first run", business, Run(settled=2, items=1, total="20.00"), starter, Run(2, 2, "4.13"))
    _bill("second run, nothing new", business, Run(settled=0, items=0, total=None), starter, Run(0, 0, None))
    _record(business, BUSINESS_LATER, now)
    _record(starter, STARTER_LATER, now)
    _bill("third run, after more usage", business, Run(settled=1, items=1, total="30.00"), starter, Run(1, 1, "0.12"))

    _heading("Usage and invoices, as each user sees them")
    _show_usage(business, {"analysis": (0, 0, "0.00"), "assessment": (55, 5, "50.00"), "report": (30, 0, "0.00")})
    _show_usage(starter, {"analysis": (62, 2, "0.25"), "assessment": (0, 0, "0.00"), "report": (12, 2, "4.00")})
    _show_invoice(business, "50.00", [(2, "10.00", "20.00"), (3, "10.00", "30.00")])
    _show_invoice(starter, "4.25", [(1, "0.125", "0.13"), (1, "0.125", "0.12"), (2, "2.00", "4.00")])
    _say("Two minutes at 0.125 cost 0.25 in total: the first item rounds up to 0.13, so the second is 0.12.")
    _check_records(business, 6)
    _check_records(starter, 4)


def _cast(stack: Stack, service: Client, now: datetime) -> tuple[Actor, Actor]:
    """Create the first two example subscriptions under new names, so that each demo starts without usage."""
    suffix = secrets.token_hex(2)
    business, starter = (
        _actor(stack, service, entry, suffix, now)
        for entry in loads((ROOT / "examples/subscriptions.json").read_bytes())[:2]
    )
    return business, starter


def _actor(stack: Stack, service: Client, entry: dict[str, Any], suffix: str, now: datetime) -> Actor:
    user, subscription = f"{entry['userId']}-{suffix}", f"{entry['subscriptionId']}-{suffix}"
    # The billing period must not end during the demo.
    anchor = 1 if 3 <= now.day <= 27 else 15
    names = {"userId": user, "subscriptionId": subscription, "billingAnchorDay": anchor}
    body_of(service.put(f"/api/subscriptions/{subscription}", entry | names), f"Create the subscription {subscription}")
    token = signed(stack["jwt"], user, "user", timedelta(hours=1))
    return Actor(user, subscription, entry["planId"], service, Client(Target(stack["apiUrl"], bearer(token))))


def _record(actor: Actor, events: Sequence[Event], now: datetime) -> None:
    table = _table(
        f"{actor.user} ({actor.plan})", "usage type", "quantity >", "used so far >", "remaining >", "billable >"
    )
    for event in events:
        response = _send(actor, event, now)
        _check_recorded(actor, event, response, 201)
        table.add_row(event.usage_type, *map(str, (event.quantity, event.used, event.remaining, event.billable)))
    console.print(table)


def _send(actor: Actor, event: Event, now: datetime) -> Response:
    body = {
        "eventId": f"event-{event.number}",
        "userId": actor.user,
        "subscriptionId": actor.subscription,
        "usageType": event.usage_type,
        "quantity": event.quantity,
        "occurredAt": now.isoformat(),
        "metadata": {"source": "demo"},
    }
    return actor.service.post("/api/usage/record", body)


def _check_recorded(actor: Actor, event: Event, response: Response, status: int) -> None:
    what = f"{actor.user}, event {event.number}"
    _expect(f"{what}: status", response.status, status, response)
    _expect(f"{what}: used", response.body["quota"]["used"], event.used)
    _expect(f"{what}: remaining", response.body["quota"]["remaining"], event.remaining)
    _expect(f"{what}: exceeded", response.body["quota"]["exceeded"], event.remaining == 0 and event.billable > 0)
    _expect(f"{what}: billable quantity", response.body["billableQuantity"], event.billable)


def _replay(actor: Actor, event: Event, now: datetime) -> None:
    response = _send(actor, event, now)
    _check_recorded(actor, event, response, 200)
    _say(f"The service sends event {event.number} again: 200 with the same response, and still {event.used} used.")


def _check_access(owner: Actor, other: Actor) -> None:
    response = other.own.get(f"/api/usage/subscription/{owner.subscription}")
    _expect(f"{other.user} reads {owner.subscription}: status", response.status, 403, response)
    _say(f"{other.user} tries to read the usage of {owner.user}: 403 {response.code}.")
    event = {"eventId": "mine", "userId": other.user, "subscriptionId": other.subscription, "quantity": 1}
    response = other.own.post("/api/usage/record", event | {"usageType": "report"})
    _expect(f"{other.user} records usage of their own: status", response.status, 403, response)
    _say(f"{other.user} tries to record usage: 403 {response.code}. Services record usage, and users can only read it.")


def _bill(name: str, one: Actor, one_does: Run, other: Actor, other_does: Run) -> None:
    table = _table(f"Billing: {name}", "subscription", "ledgers settled >", "invoice items >", "charged >")
    for actor, does in ((one, one_does), (other, other_does)):
        run = _billed(actor)
        what = f"Billing {actor.subscription}, {name}"
        _expect(f"{what}: status", run["status"], "completed")
        _expect(f"{what}: failures", run["failures"], 0)
        _expect(f"{what}: ledgers settled", run["ledgersSettled"], does.settled)
        _expect(f"{what}: items created", run["itemsCreated"], does.items)
        _expect(f"{what}: totals", run["totals"], {"USD": does.total} if does.total else {})
        table.add_row(actor.subscription, str(does.settled), str(does.items), _usd(does.total or "0.00"))
    console.print(table)


def _billed(actor: Actor) -> Any:
    response = actor.service.post("/api/usage/process-billing", {"subscriptionId": actor.subscription})
    return body_of(response, f"Bill {actor.subscription}")


def _show_usage(actor: Actor, wanted: dict[str, tuple[int, int, str]]) -> None:
    response = actor.own.get(f"/api/usage/user/{actor.user}")
    (subscription,) = body_of(response, f"Read the usage of {actor.user}")["subscriptions"]
    _expect(f"{actor.user}: subscription", subscription["subscriptionId"], actor.subscription)
    ledgers = {ledger["usageType"]: ledger for ledger in subscription["usage"]}
    _expect(f"{actor.user}: usage types", sorted(ledgers), sorted(wanted))
    month = f"{subscription['periodStart'][:10]} to {subscription['periodEnd'][:10]}"
    table = _table(
        f"Usage of {actor.user}, {month}", "usage type", "used >", "included >", "overage >", "billed >", "charge >"
    )
    for usage_type, (used, overage, charge) in wanted.items():
        ledger, what = ledgers[usage_type], f"{actor.user}, {usage_type}"
        _expect(f"{what}: used", ledger["used"], used)
        _expect(f"{what}: billable", ledger["billableQuantity"], overage)
        _expect(f"{what}: billed", ledger["billedQuantity"], overage)
        _expect(f"{what}: charge", ledger["charge"], charge)
        table.add_row(usage_type, str(used), _text(ledger["limit"]), str(overage), str(overage), _usd(charge))
    console.print(table)


def _show_invoice(actor: Actor, total: str, charges: Sequence[tuple[int, str, str]]) -> None:
    """`charges` are the items' quantities, unit prices and amounts."""
    response = actor.own.get("/api/invoices", subscriptionId=actor.subscription)
    (invoice,) = body_of(response, f"Read the invoices of {actor.subscription}")["invoices"]
    path = f"/api/invoices/{invoice['invoiceId']}"
    lines = body_of(actor.own.get(path), f"Read the invoice {invoice['invoiceId']}")["lines"]
    items = body_of(actor.own.get(f"{path}/items"), f"Read the items of {invoice['invoiceId']}")["items"]
    got = [(item["quantity"], item["unitPrice"], item["amount"]) for item in items]
    _expect(f"{invoice['invoiceId']}: charges", got, list(charges))
    _expect(f"{invoice['invoiceId']}: total", invoice["total"], total)
    for name, parts in (("lines", lines), ("items", items)):
        whole = sum((Decimal(part["amount"]) for part in parts), Decimal("0.00"))
        _expect(f"{invoice['invoiceId']}: sum of the {name}", as_text(whole), total)
    table = _table(
        f"Invoice {invoice['invoiceId']} ({invoice['status']})", "charge", "entries", "unit price >", "amount >"
    )
    table.show_footer = True
    table.columns[0].footer, table.columns[-1].footer = "total", _usd(total)
    for item in items:
        entries = f"{item['usageType']} {item['fromSequence']} to {item['toSequence']}"
        table.add_row(item["description"], entries, item["unitPrice"], _usd(item["amount"]))
    console.print(table)


def _check_records(actor: Actor, number: int) -> None:
    path = f"/api/usage/subscription/{actor.subscription}/records"
    records = body_of(actor.own.get(path), f"Read the records of {actor.subscription}")["records"]
    _expect(f"{actor.subscription}: records", len(records), number)
    _expect(f"{actor.subscription}: processed", [record["processed"] for record in records], [True] * number)


def _expect(what: str, got: object, expected: object, response: Response | None = None) -> None:
    """Raise Failure unless `got` is the expected value."""
    if got != expected:
        why = f" ({response.detail})" if response and response.code else ""
        raise Failure(f"{what}: expected {expected}, got {got}{why}")


def _heading(title: str) -> None:
    console.print(f"\n[bold]{title}[/bold]")


def _say(text: str) -> None:
    console.print(f"  {text}", soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    """Return an empty table. Columns whose name ends in ` >` hold numbers."""
    table = Table(title=title, title_justify="left", title_style="", min_width=60)
    for column in columns:
        table.add_column(column.removesuffix(" >"), justify="right" if column.endswith(">") else "left")
    return table


def _text(number: int | Decimal) -> str:
    return as_text(Decimal(number))


def _usd(amount: str) -> str:
    return f"{amount} USD"


def _show_commands(stack: Stack, actor: Actor) -> None:
    """Show commands to copy. They are printed without rich, which would wrap their lines."""
    _heading("All numbers are correct. The API keeps running, so you can call it")
    names = f'"userId": "{actor.user}", "subscriptionId": "{actor.subscription}"'
    print(
        f"""
API='{stack["apiUrl"]}'
KEY='{stack["internalApiKey"]}'

# record usage, as a service
curl -sS -w '\\n%{{http_code}}\\n' "$API/api/usage/record" -H "x-api-key: $KEY" -H 'content-type: application/json' \\
  -d '{{"eventId": "mine-1", {names}, "usageType": "assessment", "quantity": 1}}'

# read the usage, as the user
curl -sS -w '\\n' "$API/api/usage/user/{actor.user}" -H "Authorization: Bearer $(make -s token USER={actor.user})"

# run billing and read the invoices
curl -sS -w '\\n' "$API/api/usage/process-billing" -H "x-api-key: $KEY" -X POST
curl -sS -w '\\n' "$API/api/invoices?subscriptionId={actor.subscription}" -H "x-api-key: $KEY"

# follow the logs, or stop the local cloud (it keeps its data)
make logs
make stop"""
    )


if __name__ == "__main__":
    sys.exit(main())
