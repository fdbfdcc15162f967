"""Throughput of a billing run over many changed ledgers, against bare transactions that write the same three items."""

import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import boto3
from botocore.config import Config

from bench import bare, fixtures
from bench.fixtures import Environment, context
from bench.workers import WorkerPool, quiet
from usage_billing.billing.runner import THREADS
from usage_billing.invoices.ids import invoice_id, item_id
from usage_billing.kernel.shards import shard_of
from usage_billing.usage.ledger import LedgerKey

ENTRIES = 12
"""Entries per ledger according to its head. A billing run reads no entries, so none are written."""


def measure(
    ours: Environment, theirs: Environment, changed: int, small_run: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Measure in turns: half of the bare ledgers, the billing run, then the other half."""
    with WorkerPool(ours, 1) as runner, WorkerPool(theirs, 1) as writer:

        def call(pool: WorkerPool, work: Callable[..., Any], *arguments: Any) -> Any:
            pool.begin(work, [arguments], 0)
            return pool.results()[0]

        tell(f"Seeding {changed} changed ledgers twice")
        call(runner, seed, ours, "small", small_run)
        call(writer, seed, theirs, "bare", changed)
        tell(f"Billing run over {small_run} ledgers")
        small = call(runner, run, small_run)
        call(runner, seed, ours, "large", changed)
        tell("Bare transactions, first half")
        first = call(writer, settle_bare, theirs, "bare", 0, changed // 2)
        tell(f"Billing run over {changed} ledgers")
        large = call(runner, run, changed)
        tell("Bare transactions, second half")
        second = call(writer, settle_bare, theirs, "bare", changed // 2, changed)
    ledgers_per_second, bare_per_second = changed / large["seconds"], median([first, second])
    return {
        "ours_per_second": ledgers_per_second,
        "bare_per_second": bare_per_second,
        "ratio": ledgers_per_second / bare_per_second,
        "rounds": [round(first, 1), round(ledgers_per_second, 1), round(second, 1)],
        "changed": changed,
        "cpu_ms_per_ledger": large["cpu_seconds"] * 1000 / changed,
        "peak_mb": {small_run: small["peak_mb"], changed: large["peak_mb"]},
        "peak_growth": large["peak_mb"] / small["peak_mb"],
        "how": f"one process with {THREADS} threads each; half of the bare transactions before the run, half after it",
    }


def seed(_: Connection, environment: Environment, prefix: str, ledgers: int) -> None:
    """Write heads with unsettled usage, one per subscription."""
    client = boto3.client("dynamodb", config=Config(max_pool_connections=THREADS))
    table = environment["USAGE_SUMMARY_TABLE"]

    def write(start: int) -> None:
        rows = [_head(f"{prefix}-{number}") for number in range(start, min(start + 25, ledgers))]
        client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": row}} for row in rows]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(0, ledgers, 25)))


def _head(subscription: str) -> dict[str, Any]:
    key = {"subscription_id": {"S": subscription}, "ledger": {"S": f"{bare.PERIOD}#{fixtures.USAGE_TYPE}"}}
    return key | bare.head(ENTRIES) | {"pending": {"S": shard_of(_ledger_id(subscription))}}


def _ledger_id(subscription: str) -> str:
    return f"{subscription}#{bare.PERIOD}#{fixtures.USAGE_TYPE}"


def run(_: Connection, pending: int) -> dict[str, float]:
    """Run billing over all pending ledgers, and measure times and the peak memory of this process."""
    from usage_billing.billing import runner as billing_runner  # noqa: PLC0415
    from usage_billing.platform import clock  # noqa: PLC0415 - after fixtures.use_account
    from usage_billing.platform.deadline import Deadline  # noqa: PLC0415

    lambda_context = context(3600)
    with quiet():
        started, computed = time.perf_counter(), time.process_time()
        totals = billing_runner.run(
            billing_runner.whole_run(),
            now=clock.now,
            deadline=Deadline.of(lambda_context),
            hand_over=_unexpected,
        )
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - computed
    assert totals.settled == totals.items == pending, totals
    assert totals.failures == 0, totals
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _unexpected(work: object) -> None:
    raise AssertionError(f"{work} was enqueued, although the run had an hour")


def settle_bare(_: Connection, environment: Environment, prefix: str, start: int, end: int) -> float:
    """Settle ledgers with plain boto3: write head, item and invoice without reads. Return ledgers per second."""
    client = boto3.client("dynamodb", config=Config(max_pool_connections=THREADS))
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda number: client.describe_table(TableName=environment["INVOICE_TABLE"]), range(THREADS)))
        started = time.perf_counter()
        done = list(pool.map(lambda number: _settle(client, environment, f"{prefix}-{number}"), range(start, end)))
    return len(done) / (time.perf_counter() - started)


def _settle(client: Any, environment: Environment, subscription: str) -> None:
    charge, through = {"N": str(bare.amount(ENTRIES))}, {"N": str(ENTRIES)}
    head = {
        "TableName": environment["USAGE_SUMMARY_TABLE"],
        "Key": {"subscription_id": {"S": subscription}, "ledger": {"S": f"{bare.PERIOD}#{fixtures.USAGE_TYPE}"}},
        "UpdateExpression": "SET billed_through = :n, billed_quantity = :q, billed_amount = :a, billed_items = :one "
        "REMOVE pending",
        "ConditionExpression": "billed_through = :zero AND last_sequence = :n",
        "ExpressionAttributeValues": {
            ":n": through,
            ":q": {"N": "7"},
            ":a": charge,
            ":zero": {"N": "0"},
            ":one": {"N": "1"},
        },
    }
    item = {
        "TableName": environment["USAGE_INVOICE_ITEM_TABLE"],
        "Item": {
            "invoice_id": {"S": invoice_id(subscription, bare.PERIOD)},
            "item_id": {"S": item_id(LedgerKey(subscription, bare.PERIOD, fixtures.USAGE_TYPE), ENTRIES)},
            "usage_type": {"S": fixtures.USAGE_TYPE},
            "period_start": {"S": bare.PERIOD},
            "period_end": {"S": bare.PERIOD_END},
            "description": {"S": "7 assessment beyond the included 5, at 2.50 USD each"},
            "quantity": {"N": "7"},
            "unit_price": {"N": str(fixtures.UNIT_PRICE)},
            "amount": charge,
            "currency": {"S": "USD"},
            "from_sequence": {"N": "1"},
            "to_sequence": through,
            "run_id": {"S": "0" * 32},
            "created_at": {"S": bare.RECORDED_AT},
        },
        "ConditionExpression": "attribute_not_exists(item_id)",
    }
    invoice = {
        "TableName": environment["INVOICE_TABLE"],
        "Key": {"subscription_id": {"S": subscription}, "period_start": {"S": bare.PERIOD}},
        "UpdateExpression": "SET #s = :draft, draft = :shard, currency = :usd, user_id = :u, period_end = :end "
        "ADD #t :a, item_count :one",
        "ConditionExpression": "attribute_not_exists(#s) OR (#s = :draft AND currency = :usd)",
        "ExpressionAttributeNames": {"#s": "status", "#t": "total"},
        "ExpressionAttributeValues": {
            ":draft": {"S": "draft"},
            ":shard": {"S": "7"},
            ":usd": {"S": "USD"},
            ":u": {"S": fixtures.USER},
            ":end": {"S": bare.PERIOD_END},
            ":a": charge,
            ":one": {"N": "1"},
        },
    }
    client.transact_write_items(TransactItems=[{"Put": item}, {"Update": head}, {"Update": invoice}])
