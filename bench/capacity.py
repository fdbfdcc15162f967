"""Calls to DynamoDB, and the units that they consume."""

from collections.abc import Callable, Mapping
from typing import Any

from bench import fixtures
from bench.fixtures import Environment, batch_request, context, record_request
from bench.units import Units, counted
from bench.workers import quiet

BATCH = 99


def measure(environment: Environment) -> dict[str, Any]:
    """Measure one event, a batch on one ledger, a replay, and settling a small and a large ledger."""
    fixtures.use_account(environment)
    import record_batch  # noqa: PLC0415 - after fixtures.use_account
    import record_usage  # noqa: PLC0415

    fixtures.subscribe("single", "batch", "small", "large")
    # Warm up, so that the process knows the subscription and the ledger is open.
    _of(lambda: record_usage.handler(record_request("single", "warm"), context()), 201)
    _of(lambda: record_batch.handler(batch_request("batch", ["warm"]), context()), 200)
    event = record_request("single", "event")
    single = _of(lambda: record_usage.handler(event, context()), 201)
    replay = _of(lambda: record_usage.handler(event, context()), 200)
    names = [f"event-{number}" for number in range(BATCH)]
    batch = _of(lambda: record_batch.handler(batch_request("batch", names), context()), 200)
    return {
        "record": _as_dict(single),
        "batch": _as_dict(batch) | {"events": BATCH, "write_units_per_event": batch.charged / BATCH},
        "replay": _as_dict(replay),
        "settle": {name: _as_dict(_settling(name, entries)) for name, entries in (("small", 10), ("large", 10_000))},
    }


def _settling(subscription: str, entries: int) -> Units:
    import record_batch  # noqa: PLC0415
    from usage_billing.billing import ledger_settler  # noqa: PLC0415
    from usage_billing.billing import store as settlement_store  # noqa: PLC0415
    from usage_billing.platform import clock  # noqa: PLC0415
    from usage_billing.usage import store as ledger_store  # noqa: PLC0415

    step = min(entries, 5 * BATCH)
    for start in range(0, entries, step):
        names = [f"event-{number}" for number in range(start, min(start + step, entries))]
        _of(lambda names=names: record_batch.handler(batch_request(subscription, names), context()), 200)  # type: ignore[misc]
    [key] = settlement_store.pending_of(subscription)
    with counted() as units:
        settlement = ledger_settler.settle_ledger(key, "bench", clock.now, ledger_store.heads_of([key]).get(key))
    assert settlement is not None
    assert settlement.item is not None
    assert settlement.item.to_sequence == entries
    return units


def _of(work: Callable[[], Mapping[str, Any]], status: int) -> Units:
    with quiet(), counted() as units:
        response = work()
    assert response["statusCode"] == status, response
    return units


def _as_dict(units: Units) -> dict[str, Any]:
    return {
        "calls": dict(units.calls),
        "read_units": units.read,
        "write_units": units.written,
        "refused_write_units": units.refused,
    }
