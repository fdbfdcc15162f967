"""Registries: the kinds that a value can be of, each under the name that stored values carry. Pure."""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from usage_billing.kernel.exact_json import dumps, loads


class Registered(Protocol):
    """A value of one of several kinds, made of parameters that are JSON: texts, exact numbers, lists, objects."""

    kind: ClassVar[str]

    def parameters(self) -> dict[str, Any]: ...

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self: ...


RegisteredT = TypeVar("RegisteredT", bound=Registered)


class Registry(Generic[RegisteredT]):
    """Writes values as JSON with the name of their kind, and reads them back."""

    def __init__(self, *kinds: type[RegisteredT]) -> None:
        self._kinds = {each.kind: each for each in kinds}

    def dumps(self, value: RegisteredT) -> str:
        return dumps({"kind": value.kind, **value.parameters()})

    def loads(self, text: str) -> RegisteredT:
        """The inverse of `dumps`.

        Raises:
            ValueError: no kind of that name is registered.
        """
        parameters = loads(text)
        kind = parameters.pop("kind")
        if kind not in self._kinds:
            raise ValueError(f"no kind is called {kind!r}")
        return self._kinds[kind].of(parameters)
