"""Callers: their roles and scopes, and what they may do.

Whatever is not allowed is refused. A user has access to their own data only, and cannot find out what else exists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Literal, Protocol, TypeVar

from usage_billing.kernel.errors import Forbidden, InvoiceNotFound, SubscriptionNotFound
from usage_billing.kernel.identifiers import CUSTOMER_PREFIX
from usage_billing.platform.config import settings


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"
    INTERNAL = "internal"


class Scope(StrEnum):
    """A restriction of credentials. Each scope includes those before it."""

    READ = "read"
    RECORD = "record"
    OPERATE = "operate"

    def includes(self, other: "Scope") -> bool:
        ranked = list(Scope)
        return ranked.index(other) <= ranked.index(self)


ANY_ROLE = frozenset(Role)
"""Every caller with valid credentials. A user still has access to their own data only."""

OPERATORS = frozenset({Role.ADMIN, Role.INTERNAL})

ADMINS = frozenset({Role.ADMIN})


class Public(Enum):
    """The marker of a public route. It is not a set of roles, so an empty or missing set never makes a route public."""

    PUBLIC = "everybody, with credentials or without"


PUBLIC: Final = Public.PUBLIC
"""Everybody may call the route. Its requests have no caller, and their credentials are ignored."""

Allowed = frozenset[Role] | Literal[Public.PUBLIC]
"""The callers that a route admits."""


class Owned(Protocol):
    @property
    def user_id(self) -> str: ...


OwnedT = TypeVar("OwnedT", bound=Owned)


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request. `sub` is the user's id, or for an API key `key:` and the key's id."""

    sub: str
    role: Role
    key_scope: Scope = Scope.OPERATE
    """The scope of an API key, which restricts its role."""

    @property
    def is_customer(self) -> bool:
        """True for a user, who pays for usage; False for our services and operators."""
        return self.role is Role.USER

    @property
    def scope(self) -> Scope:
        """The effective scope. Customers, who pay for usage, may record it only if the deployment allows it."""
        if self.is_customer:
            return Scope.RECORD if settings().customers_may_record else Scope.READ
        return self.key_scope

    def event_id(self, sent: str) -> str:
        """Return the id under which this caller's event `sent` is recorded.

        Customers' ids get a prefix, so that no customer can take the id of an event that a service will report.
        """
        return f"{CUSTOMER_PREFIX}{sent}" if self.is_customer else sent

    def load_if_allowed(self, load: Callable[[], OwnedT]) -> OwnedT:
        """Return what `load` returns, if the caller has access to it.

        Raises:
            Forbidden: it belongs to another user, or the caller is a user and it does not exist.
            SubscriptionNotFound, InvoiceNotFound: it does not exist, and the caller may know that.
        """
        if self.role in OPERATORS:
            return load()
        try:
            found = load()
        except (SubscriptionNotFound, InvoiceNotFound):
            raise _no_access() from None
        if found.user_id != self.sub:
            raise _no_access()
        return found

    def require_user(self, user_id: str) -> None:
        """Raise Forbidden unless the caller is that user, a service or an operator."""
        if self.role not in OPERATORS and self.sub != user_id:
            raise _no_access()

    def require_owner(self, is_owner: Callable[[], bool]) -> None:
        """Raise Forbidden if the caller is a user and `is_owner` returns False."""
        if self.role not in OPERATORS and not is_owner():
            raise _no_access()

    def require_role(self, allowed: frozenset[Role]) -> None:
        """Raise Forbidden unless the caller's role is one of `allowed`."""
        if self.role not in allowed:
            raise Forbidden(f"This endpoint requires the role {' or '.join(sorted(allowed))}.")

    def require_scope(self, needed: Scope) -> None:
        """Raise Forbidden unless the caller's scope includes `needed`."""
        if self.is_customer and not self.scope.includes(needed):
            raise Forbidden("Users may read usage, but not record it.")
        if not self.scope.includes(needed):
            raise Forbidden(f"This endpoint requires the scope {needed}; your credentials have the scope {self.scope}.")


def _no_access() -> Forbidden:
    return Forbidden("You do not have access to this resource, or it does not exist.")
