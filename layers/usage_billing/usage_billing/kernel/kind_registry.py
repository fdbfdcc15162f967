"""Registries: classes by the name under which their values are stored. Pure."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from usage_billing.kernel.exact_json import dumps, loads


class Registered(Protocol):
    """A value of a registered class. Its parameters are JSON: texts, exact numbers, lists and objects."""

    kind: ClassVar[str]

    def parameters(self) -> dict[str, Any]: ...

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self: ...


RegisteredT = TypeVar("RegisteredT", bound=Registered)


class Registry(Generic[RegisteredT]):
    """Writes values as JSON with the name of their class (`kind`), and reads them back."""

    def __init__(self, *kinds: type[RegisteredT]) -> None:
        self.kinds = {each.kind: each for each in kinds}
        # The same few texts are read again and again, with each head for example.
        self._read = lru_cache(maxsize=1000)(self._parse)

    def dumps(self, value: RegisteredT) -> str:
        return dumps({"kind": value.kind, **value.parameters()})

    def loads(self, text: str) -> RegisteredT:
        """Return the value that `dumps` wrote.

        Raises:
            ValueError: no class is registered under the name.
        """
        return self._read(text)

    def _parse(self, text: str) -> RegisteredT:
        parameters = loads(text)
        kind = parameters.pop("kind")
        if kind not in self.kinds:
            raise ValueError(f"unknown kind {kind!r}")
        return self.kinds[kind].of(parameters)
