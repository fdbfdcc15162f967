"""Caches of the process: whatever is registered is empty after `clear_all`."""

from itertools import count

import pytest

from usage_billing.platform import caches


@pytest.fixture(autouse=True)
def only_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_clearers", [])


def test_a_registered_container_is_cleared_and_stays_the_same_object() -> None:
    container = {"a": 1}
    assert caches.register_cache(container) is container
    caches.clear_all()
    assert container == {}


def test_a_cached_function_is_called_again_after_clearing() -> None:
    numbers = count()

    @caches.cached
    def number(name: str) -> int:
        return next(numbers)

    assert [number("a"), number("a"), number("b")] == [0, 0, 1]
    caches.clear_all()
    assert number("a") == 2


def test_a_function_is_called_at_each_clearing() -> None:
    cleared: list[str] = []

    @caches.on_clear
    def forget() -> None:
        cleared.append("all")

    caches.clear_all()
    caches.clear_all()
    assert cleared == ["all", "all"]
    forget()
    assert cleared == ["all", "all", "all"]
