"""Record, read and bill once against a stack, wherever it is, and say what works.

STACK or API_URL names the stack, TEST_AUTH_TOKEN or API_KEY the caller, TEST_USER_ID and TEST_SUBSCRIPTION_ID a
subscription that is there to be tested with: a unit of usage is really recorded and, if the caller may, billed.
Without STACK and API_URL it is the local cloud, with a subscription from examples/.

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

    from scripts.client import Answer

USER_ID, SUBSCRIPTION_ID, USAGE_TYPE = "TEST_USER_ID", "TEST_SUBSCRIPTION_ID", "TEST_USAGE_TYPE"
NOT_ALLOWED = "requires the scope operate"
MEANING = {
    TOKEN: f"a token with the role internal or admin (make token USER=smoke ROLE=internal), or {API_KEY}, an API key",
    USER_ID: "the id of the user whose usage is recorded",
    SUBSCRIPTION_ID: "the id of an active subscription of that user, there to be tested with",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose usage of what is recorded."""

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
    """Raises Failure naming every variable that is missing."""
    named = [name for name in (STACK, API_URL) if os.environ.get(name)]
    if named:
        missing = [name for name in MEANING if not os.environ.get(name)]
        # target() signs a token for a stack that it knows by name, if it can.
        if TOKEN in missing and (STACK in named or os.environ.get(API_KEY)):
            missing.remove(TOKEN)
        if missing:
            lines = "\n".join(f"  {name}: {MEANING[name]}" for name in missing)
            raise Failure(f"{' and '.join(named)} set; these are missing in the environment:\n{lines}")
    return target()


def _subject(api: Client) -> Subject:
    user, subscription = os.environ.get(USER_ID), os.environ.get(SUBSCRIPTION_ID)
    if not (user and subscription):
        plans, subscriptions = ROOT / "examples/quotas.json", ROOT / "examples/subscriptions.json"
        import_quotas(api, plans)
        import_subscriptions(api, subscriptions)
        first = loads(subscriptions.read_bytes())[0]
        user, subscription = first["userId"], first["subscriptionId"]
        print(f"  with {subscription} of {user}, from examples/")
    return Subject(user, subscription, os.environ.get(USAGE_TYPE) or "report")


class Smoke:
    """The steps, each of which says what it saw or raises Failure."""

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
        """Take all steps, whatever happens to one; the exit code."""
        failed = 0
        for name, step in self._steps():
            try:
                note = step()
                print(f"  {'skip' if note == NOT_ALLOWED else 'pass'}  {name}: {note}")
            except Failure as failure:
                failed += 1
                print(f"  FAIL  {name}: {failure}")
        print(f"{failed} failed" if failed else "All is well")
        return 1 if failed else 0

    def _steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "no credentials", self._no_credentials
        yield "record", self._record
        yield "the same event again", self._replay
        yield "the same id, another quantity", self._conflict
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
        # Without a quota the first answer left open what later ones may know.
        if self._needed()["quota"]["limit"] is not None and again != self._recorded:
            raise Failure(f"another answer than the first time: {again}")
        return "200, the same answer, counted once"

    def _conflict(self) -> str:
        _must_be(self._api.post("/api/usage/record", self._event | {"quantity": 2}), 409, "event_id_conflict")
        return "409"

    def _usage_of_subscription(self) -> str:
        ledger = self._ledger()
        least = self._needed()["quota"]["used"]
        if ledger["used"] < least:
            raise Failure(f"{ledger['used']} used, and the event's answer said {least} already")
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
            raise Failure(f"{self._subject.subscription} is not among their {len(seen)} subscriptions")
        return f"200, {self._subject.subscription} is among them"

    def _bill(self) -> str:
        before = self._ledger()["billableQuantity"]
        answer = self._api.post("/api/usage/process-billing", {"subscriptionId": self._subject.subscription})
        if answer.code == "forbidden":
            return NOT_ALLOWED
        run = _must_be(answer, 200)
        if run["failures"]:
            raise Failure(f"{run['failures']} ledgers failed; the log names them under the run {run['runId']}")
        if before is None:
            return f"200, ledgers that wait for a quota: {run['ledgersUnrated']}"
        billed = self._ledger()["billedQuantity"]
        if run["status"] == "completed" and billed < before:
            raise Failure(f"{billed} billed, and {before} were billable before")
        return f"200, ledgers settled: {run['ledgersSettled']}, items: {run['itemsCreated']}, {billed} billed"

    def _invoices(self) -> str:
        invoices = _must_be(self._api.get("/api/invoices", subscriptionId=self._subject.subscription), 200)["invoices"]
        for listed in invoices:
            invoice = _must_be(self._api.get(f"/api/invoices/{listed['invoiceId']}"), 200)
            if sum(Decimal(line["amount"]) for line in invoice["lines"]) != Decimal(invoice["total"]):
                raise Failure(f"the lines of {invoice['invoiceId']} do not sum to {invoice['total']}")
        return f"200, {len(invoices)} found, each the sum of its lines"

    @property
    def _path_of_subscription(self) -> str:
        return f"/api/usage/subscription/{self._subject.subscription}"

    def _needed(self) -> Any:
        if self._recorded is None:
            raise Failure("nothing was recorded to compare with")
        return self._recorded

    def _ledger(self) -> Any:
        """The ledger that the event went to, as it is now."""
        day = self._needed()["occurredAt"][:10]
        query = {"period": day}
        while True:
            page = _must_be(self._api.get(self._path_of_subscription, **query), 200)
            for ledger in page["usage"]:
                if ledger["usageType"] == self._subject.usage_type:
                    return ledger
            if "nextCursor" not in page:
                raise Failure(f"no usage of {self._subject.usage_type}, and some was recorded")
            query["cursor"] = page["nextCursor"]


def _must_be(answer: Answer, status: int, code: str | None = None) -> Any:
    """The body of the answer that was wanted; Failure if it is another."""
    if (answer.status, answer.code) != (status, code):
        got = answer.detail if answer.code else answer.status
        raise Failure(f"expected {status}{f' {code}' if code else ''}, got {got}")
    return answer.body


if __name__ == "__main__":
    sys.exit(main())
