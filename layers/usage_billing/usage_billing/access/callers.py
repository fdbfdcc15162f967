"""Callers, and what they may do.

Everything that is not allowed is refused. A user reaches only what is theirs, and learns nothing about what else
exists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Literal, Protocol, TypeVar

from usage_billing.kernel.errors import (
    Forbidden,
    InvoiceNotFound,
    SubscriptionNotFound,
)
from usage_billing.kernel.identifiers import CUSTOMER_PREFIX
from usage_billing.platform.config import settings


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"
    INTERNAL = "internal"


class Scope(StrEnum):
    """What credentials are good for. Each scope includes those before it."""

    READ = "read"
    RECORD = "record"
    OPERATE = "operate"

    def includes(self, other: "Scope") -> bool:
        ranked = list(Scope)
        return ranked.index(other) <= ranked.index(self)


ANYONE = frozenset(Role)
"""Every caller with valid credentials; a user still reaches only what is theirs."""

OPERATORS = frozenset({Role.ADMIN, Role.INTERNAL})

ADMINS = frozenset({Role.ADMIN})


class Public(Enum):
    """Not a set of roles, so that no empty or forgotten set can ever be taken for it."""

    PUBLIC = "everybody, with credentials or without"


PUBLIC: Final = Public.PUBLIC
"""Everybody may call; there is no caller then, and credentials are not looked at."""

Allowed = frozenset[Role] | Literal[Public.PUBLIC]
"""Who may call a route."""


class Owned(Protocol):
    @property
    def user_id(self) -> str: ...


OwnedT = TypeVar("OwnedT", bound=Owned)


@dataclass(frozen=True, slots=True)
class Caller:
    """`sub` is the user's id, or for an API key `key:` and the key's id."""

    sub: str
    role: Role
    key_scope: Scope = Scope.OPERATE
    """Of an API key; what its role may do is narrowed to it."""

    @property
    def is_customer(self) -> bool:
        """Whether this is a user, who is billed for what is recorded, and not one of our services or operators."""
        return self.role is Role.USER

    @property
    def scope(self) -> Scope:
        """Customers read. They record only where the deployment says so: what they report is what they pay for."""
        if self.is_customer:
            return Scope.RECORD if settings().customers_may_record else Scope.READ
        return self.key_scope

    def event_id(self, claimed: str) -> str:
        """The id under which an event is recorded that this caller calls `claimed`.

        Customers' ids have a prefix, so that no customer can take the id of an event that a service will report.
        """
        return f"{CUSTOMER_PREFIX}{claimed}" if self.is_customer else claimed

    def reach(self, load: Callable[[], OwnedT]) -> OwnedT:
        """What `load` finds, if the caller may see it.

        Raises:
            Forbidden: it is not theirs; for a user also when there is no such thing.
            SubscriptionNotFound, InvoiceNotFound: there is no such thing, and the caller may know.
        """
        if self.role in OPERATORS:
            return load()
        try:
            found = load()
        except (SubscriptionNotFound, InvoiceNotFound):
            raise _not_yours() from None
        if found.user_id != self.sub:
            raise _not_yours()
        return found

    def require_user(self, user_id: str) -> None:
        """Raises Forbidden unless the caller is that user or may act for all."""
        if self.role not in OPERATORS and self.sub != user_id:
            raise _not_yours()

    def require_that(self, theirs: Callable[[], bool]) -> None:
        """Raises Forbidden for a user to whom it does not belong, according to `theirs`."""
        if self.role not in OPERATORS and not theirs():
            raise _not_yours()

    def require_role(self, allowed: frozenset[Role]) -> None:
        """Raises Forbidden unless the caller's role is among those allowed."""
        if self.role not in allowed:
            raise Forbidden(f"This endpoint requires the role {' or '.join(sorted(allowed))}.")

    def require_scope(self, needed: Scope) -> None:
        """Raises Forbidden unless the caller's credentials are good for `needed`."""
        if self.is_customer and not self.scope.includes(needed):
            raise Forbidden("Usage is recorded by services here; users may read it.")
        if not self.scope.includes(needed):
            raise Forbidden(f"This endpoint requires the scope {needed}; your credentials have the scope {self.scope}.")


def _not_yours() -> Forbidden:
    return Forbidden("You do not have access to this resource, or it does not exist.")
