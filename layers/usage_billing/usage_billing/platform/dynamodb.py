"""Access to DynamoDB: the client, and the base class and attribute types of the table models.

All models share one botocore client.
"""

from collections.abc import Sequence
from decimal import Decimal
from threading import RLock
from typing import Any, cast

from botocore.exceptions import BotoCoreError
from pynamodb.attributes import Attribute
from pynamodb.connection import TableConnection
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model

from usage_billing.platform import aws
from usage_billing.platform.caches import cached
from usage_billing.platform.config import settings
from usage_billing.platform.start_times import StartTime

_lock = RLock()

LAST_ATTEMPT_SECONDS = 4.0
"""Seconds after the beginning of a call within which the SDK may begin another attempt. An attempt times out after 3 s
(`CLIENT_CONFIG`), so a call takes at most 7 s. Fewer attempts would limit it too, but those that are throttled fail
quickly, and another one helps."""


class CallTookTooLong(BotoCoreError):
    """The attempts of a call failed, and it is too late for another one. It may have taken effect."""

    fmt = "no attempt succeeded in {seconds:.1f} s"


def client() -> Any:
    """Return the only DynamoDB client of this process. Thread-safe.

    The SDK retries a transaction that got no response with the same request token, so its retries write once.
    """
    with _lock:
        return _client()


@cached
def _client() -> Any:
    created = aws.client("dynamodb")
    created.meta.events.register("request-created.dynamodb", _require_early_attempt)
    return created


def _require_early_attempt(request: Any, **_: Any) -> None:
    """Raise CallTookTooLong for an attempt that begins `LAST_ATTEMPT_SECONDS` or more after the first.

    That includes the time for which Lambda froze the process between two attempts: no write of minutes ago is repeated.
    """
    began: StartTime = request.context.setdefault("began", StartTime.now())
    if began.is_older_than(LAST_ATTEMPT_SECONDS):
        raise CallTookTooLong(seconds=began.age())


class DecimalAttribute(Attribute[Decimal]):
    """An exact number. PynamoDB's own NumberAttribute converts to float."""

    attr_type = "N"

    def serialize(self, value: Decimal) -> str:
        return format(value, "f")

    def deserialize(self, value: str) -> Decimal:
        number = Decimal(value)
        return Decimal(format(number, "f"))


class IntegerAttribute(Attribute[int]):
    """An exact whole number."""

    attr_type = "N"

    def serialize(self, value: int) -> str:
        return str(value)

    def deserialize(self, value: str) -> int:
        return int(value)


class Table(Model):
    """Base of the table models. The table's name comes from the settings, and all models share one client."""

    setting: str

    @classmethod
    def _get_connection(cls) -> TableConnection:
        with _lock:
            if cls._connection is None:
                cls.Meta.table_name = getattr(settings(), cls.setting)
                connection = super()._get_connection()
                connection.connection._client = client()
            return cast(TableConnection, cls._connection)

    @classmethod
    def new(cls, **values: object) -> dict[str, Any]:
        """Return a transaction's put of an item that must not exist yet. Values that are None are left out.

        PynamoDB would take ten times as long to do the same with an instance, and a transaction has up to 99 puts.

        Raises:
            ValueError: a required attribute is missing.
        """
        attributes = cls.get_attributes()
        item = {
            name: {attributes[name].attr_type: attributes[name].serialize(value)}
            for name, value in values.items()
            if value is not None
        }
        missing = [name for name, attribute in attributes.items() if not attribute.null and name not in item]
        if missing:
            raise ValueError(f"an item of {cls.__name__} has no {', '.join(missing)}")
        return {
            "TableName": getattr(settings(), cls.setting),
            "Item": item,
            "ConditionExpression": f"attribute_not_exists({cls._hash_keyname})",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def change(self, actions: Sequence[Action], condition: Condition | None = None) -> dict[str, Any]:
        """Return a transaction's update of the item with this key. A failed condition returns the stored item."""
        return self.get_update_kwargs_from_instance(
            list(actions), condition=condition, return_values_on_condition_failure="ALL_OLD"
        )


def error_code(error: Exception) -> str | None:
    """Return the error code in DynamoDB's response, or None without a response.

    PynamoDB's own `cause_response_code` raises an error for a timeout, whose `response` is None.
    """
    response = getattr(getattr(error, "cause", error), "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code
