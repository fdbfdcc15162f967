"""Run the benchmark, print a table and write bench/results.json: python -m bench [--quick]."""

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import ROOT, billing_run, capacity, cost, fixtures, one_ledger, runtime, single
from scripts import local_stack
from scripts.local_cloud import LocalCloud
from scripts.progress import Failure

RESULTS = ROOT / "bench/results.json"
console = Console()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure the product against bare code that makes the same writes."
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="run a tenth of the load to check that the benchmark works; results are not written",
    )
    quick: bool = parser.parse_args().quick
    cloud = LocalCloud(".local/bench")
    try:
        cloud.stop()
        cloud.start()
        cloud.deploy()
        build = local_stack.build_home() / "build"
        results = measured(cloud.url, build, quick)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        cloud.stop()
    console.print(_table(results))
    if quick:
        console.print("A tenth of the load is too little to judge the targets. Results were not written.")
    else:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        console.print(f"All results are in {RESULTS.relative_to(ROOT)}")
    return 0


def measured(url: str, build: Path, quick: bool) -> dict[str, Any]:
    def account() -> dict[str, str]:
        return fixtures.account(url)

    def size(full: int) -> int:
        return max(1, full // 10) if quick else full

    rounds = 1 if quick else 5
    load = os.getloadavg()[0]
    found: dict[str, Any] = {"about": _about() | {"load_before": round(load, 2)}}
    began = time.monotonic()
    _tell("Capacity")
    found["capacity"] = capacity.measure(account())
    _tell("Throughput of a single caller")
    found["single"] = single.measure(account(), 4 if quick else 40, 25)
    _tell("One ledger, 16 callers (takes some minutes)")
    # The load must be long enough that waits of fixed length, such as the queue's window of a second, do not dominate.
    # Half as many batches take five seconds on a fast machine, of which two are such waits.
    found["one_ledger"] = one_ledger.measure(account(), account(), rounds, max(2, size(16)), size(200))
    _tell("Lambda runtime")
    found["runtime"] = runtime.measure(build, account(), 1 if quick else 9, size(150), _tell)
    found["billing_run"] = billing_run.measure(account(), account(), size(10_000), size(1_000), _tell)
    found["cost"] = cost.measure(found["capacity"], found["runtime"], found["one_ledger"]["singles"])
    found["about"]["seconds"] = round(time.monotonic() - began)
    found["targets"] = [
        {"measure": name, "target": target, "measured": value, "met": met} for name, target, value, met in _rows(found)
    ]
    return found


def _tell(step: str) -> None:
    console.print(f"  {datetime.now().astimezone():%H:%M:%S} {step} ...")


def _about() -> dict[str, Any]:
    names = ["boto3", "pynamodb", "aws-lambda-powertools", "pydantic"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in names}
        | {"ministack": _pinned("ministack"), "awslambdaric": _pinned("lambda", "awslambdaric")},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _pinned(requirements: str, package: str | None = None) -> str:
    """Return the pinned version of a package in the environment of a tool."""
    lines = (ROOT / f"requirements/{requirements}.txt").read_text().splitlines()
    start = f"{package or requirements}=="
    return next(line.removeprefix(start).partition(" ")[0] for line in lines if line.startswith(start))


Row = tuple[str, str, str, bool]


def _rows(found: dict[str, Any]) -> list[Row]:
    """Return the rows of the table: measure, target, measured value, and True if the target is met."""
    units, single_, hot = found["capacity"], found["single"], found["one_ledger"]
    run, lambda_, bills = found["billing_run"], found["runtime"], found["cost"]
    batch = units["batch"]["write_units_per_event"]
    contended = hot["singles"]["write_units_per_event"]
    settle = units["settle"]
    rows: list[Row] = [
        (
            "Record an event",
            "5 WRU and 2 RRU in 2 calls",
            _units(units["record"]),
            (units["record"]["write_units"], units["record"]["read_units"], _calls(units["record"])) == (5, 2, 2),
        ),
        ("Record an event in a batch of 99", "at most 3.05 WRU", f"{batch:.2f} WRU", batch <= 3.05),
        (
            "Replay",
            "2 calls, no writes",
            _units(units["replay"]) + f" (+ {units['replay']['refused_write_units']:.0f} refused)",
            units["replay"]["write_units"] == 0 and _calls(units["replay"]) == 2,
        ),
        (
            "Record an event, 16 writers on one ledger",
            "at most 1.5 times a batch",
            f"{contended:.2f} WRU, {contended / batch:.2f} times",
            contended <= 1.5 * batch,
        ),
        _ratio("Record, single caller", single_, 0.75, "events"),
        _ratio("One ledger, 16 callers, batches of 100", hot["batches"], 0.5, "events"),
        _ratio("One ledger, 16 callers, single events", hot["singles"], 0.4, "events"),
        (
            "Bill a ledger with 10 / with 10,000 entries",
            "same calls and units",
            f"{_units(settle['small'])} / {_units(settle['large'])}",
            settle["small"] == settle["large"],
        ),
        _ratio(f"Billing run over {run['changed']:,} ledgers", run, 0.6, "ledgers"),
        (
            "Memory of a billing run, 10 times the ledgers",
            "constant: at most 1.1 times",
            f"{run['peak_growth']:.2f} times: {' and '.join(f'{each:.0f} MB' for each in run['peak_mb'].values())}",
            run["peak_growth"] <= 1.1,
        ),
        _times("Lambda init of record_usage", lambda_["init"], 1.6),
        _times("Warm record_usage, CPU time", lambda_["warm_cpu"], 2.0),
        _cost("A million single events", bills["single"]["usd"], 5.5),
        _cost("A million events in batches of 99", bills["batch"]["usd"], 2.5),
    ]
    return rows


def _units(found: dict[str, Any]) -> str:
    return f"{found['write_units']:g} WRU, {found['read_units']:g} RRU, {_calls(found)} calls"


def _calls(found: dict[str, Any]) -> int:
    return sum(found["calls"].values())


def _ratio(name: str, found: dict[str, Any], minimum: float, what: str) -> Row:
    value = f"{found['ratio']:.2f} ({found['ours_per_second']:,.0f} of {found['bare_per_second']:,.0f} {what}/s)"
    return name, f"at least {minimum:.2f} of bare", value, found["ratio"] >= minimum


def _times(name: str, found: dict[str, Any], maximum: float) -> Row:
    value = f"{found['ratio']:.2f} times ({found['ours_ms']:.1f} to {found['bare_ms']:.1f} ms)"
    return name, f"at most {maximum:.1f} times bare", value, found["ratio"] <= maximum


def _cost(name: str, usd: float, maximum: float) -> Row:
    return name, f"at most {maximum:.2f} USD", f"{usd:.2f} USD", usd <= maximum


def _table(results: dict[str, Any]) -> Table:
    about = results["about"]
    machine = about["machine"]
    table = Table(
        title=f"{about['date'][:10]}, {machine['cores']} x {machine['cpu']}, Python {about['versions']['python']}, "
        f"{about['seconds']} s"
    )
    for column in ("Measure", "Target", "Measured", ""):
        table.add_column(column)
    for row in results["targets"]:
        table.add_row(row["measure"], row["target"], row["measured"], "[green]met" if row["met"] else "[red]missed")
    return table


if __name__ == "__main__":
    sys.exit(main())
