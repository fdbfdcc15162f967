"""Smoke test: record, read and bill usage once against a stack, and report each step.

STACK or API_URL selects the stack. TEST_AUTH_TOKEN or API_KEY has the credentials. TEST_USER_ID and
TEST_SUBSCRIPTION_ID name a subscription for tests: one unit of usage is really recorded for it, and billed if the
credentials allow that. Without STACK and API_URL, the test uses the local cloud and a subscription from examples/.

python -m scripts.smoke
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from scripts.client import API_KEY, TOKEN, Client, Target, target
from scripts.emulator import ROOT
from scripts.import_file import import_quotas, import_subscriptions
from scripts.local_cloud import API_URL, STACK
from scripts.progress import Failure
from usage_billing.kernel.exact_json import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.client import Response

USER_ID, SUBSCRIPTION_ID, USAGE_TYPE = "TEST_USER_ID", "TEST_SUBSCRIPTION_ID", "TEST_USAGE_TYPE"
NOT_ALLOWED = "requires the scope operate"
MEANING = {
    TOKEN: f"a token with the role internal or admin (make token USER=smoke ROLE=internal), or {API_KEY}, an API key",
    USER_ID: "the id of the user whose usage is recorded",
    SUBSCRIPTION_ID: "the id of an active subscription of that user that is used for tests",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """The user, subscription and usage type that the test records usage for."""

    user: str
    subscription: str
    usage_type: str


def main() -> int:
    try:
        where = _where()
        with Client(where) as api, Client(Target(where.url, {})) as stranger:
            print(f"Smoke test of {where.url}")
            return Smoke(api, stranger, _subject(api)).run()
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1


def _where() -> Target:
    """Return the API to test. Raises Failure with the names of all missing variables."""
    named = [name for name in (STACK, API_URL) if os.environ.get(name)]
    if named:
        missing = [name for name in MEANING if not os.environ.get(name)]
        # For a named stack, target() signs a token if it can.
        if TOKEN in missing and (STACK in named or os.environ.get(API_KEY)):
            missing.remove(TOKEN)
        if missing:
            lines = "\n".join(f"  {name}: {MEANING[name]}" for name in missing)
            raise Failure(f"With {' and '.join(named)}, these environment variables must be set too:\n{lines}")
    return target()


def _subject(api: Client) -> Subject:
    user, subscription = os.environ.get(USER_ID), os.environ.get(SUBSCRIPTION_ID)
    if not (user and subscription):
        plans, subscriptions = ROOT / "examples/quotas.json", ROOT / "examples/subscriptions.json"
        import_quotas(api, plans)
        import_subscriptions(api, subscriptions)
        first = loads(subscriptions.read_bytes())[0]
        user, subscription = first["userId"], first["subscriptionId"]
        print(f"  Using {subscription} of {user} from examples/")
    return Subject(user, subscription, os.environ.get(USAGE_TYPE) or "report")


class Smoke:
    """The steps of the test. Each returns a note on what it found, or raises Failure."""

    def __init__(self, api: Client, stranger: Client, subject: Subject) -> None:
        self._api = api
        self._stranger = stranger
        self._subject = subject
        self._event = {
            "eventId": f"smoke-{uuid4().hex}",
            "userId": subject.user,
            "subscriptionId": subject.subscription,
            "usageType": subject.usage_type,
            "quantity": 1,
            "occurredAt": datetime.now(UTC).replace(microsecond=0).isoformat(),
            "metadata": {"source": "smoke"},
        }
        self._recorded: Any = None

    def run(self) -> int:
        """Run all steps, even if one fails, and return the exit code."""
        failed = 0
        for name, step in self._steps():
            try:
                note = step()
                print(f"  {'skip' if note == NOT_ALLOWED else 'pass'}  {name}: {note}")
            except Failure as failure:
                failed += 1
                print(f"  FAIL  {name}: {failure}")
        print(f"Smoke test failed: {failed} failed steps" if failed else "Smoke test passed")
        return 1 if failed else 0

    def _steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "no credentials", self._no_credentials
        yield "record", self._record
        yield "same event again", self._replay
        yield "same id, other quantity", self._conflict
        yield "usage of the subscription", self._usage_of_subscription
        yield "usage of the user", self._usage_of_user
        yield "billing", self._bill
        yield "invoices", self._invoices

    def _no_credentials(self) -> str:
        _must_be(self._stranger.get(self._path_of_subscription), 401, "credentials_missing")
        return "401"

    def _record(self) -> str:
        self._recorded = _must_be(self._api.post("/api/usage/record", self._event), 201)
        quota = self._recorded["quota"]
        limit = "no quota" if quota["limit"] is None else f"{quota['limit']} included"
        return f"201, entry {self._recorded['sequence']}, {quota['used']} used, {limit}"

    def _replay(self) -> str:
        again = _must_be(self._api.post("/api/usage/record", self._event), 200)
        # If there was no quota at first, a quota created since then would change the response.
        if self._needed()["quota"]["limit"] is not None and again != self._recorded:
            raise Failure(f"the response differs from the first one: {again}")
        return "200, same response, counted once"

    def _conflict(self) -> str:
        _must_be(self._api.post("/api/usage/record", self._event | {"quantity": 2}), 409, "event_id_conflict")
        return "409"

    def _usage_of_subscription(self) -> str:
        ledger = self._ledger()
        recorded = self._needed()["quota"]["used"]
        if ledger["used"] < recorded:
            raise Failure(f"{ledger['used']} used, but recording the event returned {recorded}")
        return f"200, {ledger['used']} used, {ledger['billedQuantity']} billed"

    def _usage_of_user(self) -> str:
        seen: list[str] = []
        query: dict[str, str] = {}
        while True:
            page = _must_be(self._api.get(f"/api/usage/user/{self._subject.user}", **query), 200)
            seen += [each["subscriptionId"] for each in page["subscriptions"]]
            if "nextCursor" not in page:
                break
            query = {"cursor": page["nextCursor"]}
        if self._subject.subscription not in seen:
            raise Failure(f"{self._subject.subscription} is not among the user's {len(seen)} subscriptions")
        return f"200, includes {self._subject.subscription}"

    def _bill(self) -> str:
        before = self._ledger()["billableQuantity"]
        response = self._api.post("/api/usage/process-billing", {"subscriptionId": self._subject.subscription})
        if response.code == "forbidden":
            return NOT_ALLOWED
        run = _must_be(response, 200)
        if run["failures"]:
            raise Failure(f"{run['failures']} ledgers failed; see GET /api/billing/runs/{run['runId']}")
        if before is None:
            return f"200, ledgers without a quota: {run['ledgersUnrated']}"
        billed = self._ledger()["billedQuantity"]
        if run["status"] == "completed" and billed < before:
            raise Failure(f"{billed} billed, but {before} were billable before the run")
        return f"200, ledgers settled: {run['ledgersSettled']}, items: {run['itemsCreated']}, {billed} billed"

    def _invoices(self) -> str:
        invoices = _must_be(self._api.get("/api/invoices", subscriptionId=self._subject.subscription), 200)["invoices"]
        for listed in invoices:
            invoice = _must_be(self._api.get(f"/api/invoices/{listed['invoiceId']}"), 200)
            if sum(Decimal(line["amount"]) for line in invoice["lines"]) != Decimal(invoice["total"]):
                raise Failure(f"the lines of {invoice['invoiceId']} do not add up to {invoice['total']}")
        return f"200, {len(invoices)} found, the lines add up to the totals"

    @property
    def _path_of_subscription(self) -> str:
        return f"/api/usage/subscription/{self._subject.subscription}"

    def _needed(self) -> Any:
        if self._recorded is None:
            raise Failure("no event was recorded")
        return self._recorded

    def _ledger(self) -> Any:
        """Read the ledger of the event."""
        day = self._needed()["occurredAt"][:10]
        query = {"period": day}
        while True:
            page = _must_be(self._api.get(self._path_of_subscription, **query), 200)
            for ledger in page["usage"]:
                if ledger["usageType"] == self._subject.usage_type:
                    return ledger
            if "nextCursor" not in page:
                raise Failure(f"no usage of {self._subject.usage_type}, but an event was recorded")
            query["cursor"] = page["nextCursor"]


def _must_be(response: Response, status: int, code: str | None = None) -> Any:
    """Return the body of a response. Raises Failure if the status or the code is not the expected one."""
    if (response.status, response.code) != (status, code):
        got = response.detail if response.code else response.status
        raise Failure(f"expected {status}{f' {code}' if code else ''}, got {got}")
    return response.body


if __name__ == "__main__":
    sys.exit(main())
