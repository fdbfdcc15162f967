"""Types of ids: the characters that each kind may contain, and the reserved prefixes. Pure."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

# No dot at the start: clients resolve `.` and `..` in a URL before they send it.
IDENTIFIER_PATTERN = r"^[A-Za-z0-9_~:@|+=,-][A-Za-z0-9._~:@|+=,-]{0,127}$"
_IDENTIFIER_CHARACTERS = "letters, digits and . _ ~ : @ | + = , - (ASCII only), not starting with a dot"
IDENTIFIER_RULE = f"must be 1 to 128 characters: {_IDENTIFIER_CHARACTERS}"

INVOICE_ID_PATTERN = r"^[A-Za-z0-9_~:@|+=,-][A-Za-z0-9._~:@|+=,-]{0,159}$"
INVOICE_ID_RULE = f"must be 1 to 160 characters: {_IDENTIFIER_CHARACTERS}"

RUN_ID_PATTERN = r"^[A-Za-z0-9-]{1,64}$"
RUN_ID_RULE = "must be 1 to 64 letters, digits and hyphens (ASCII only)"

CODE_PATTERN = r"^[a-z_]{1,64}$"
CODE_RULE = "must be the code of an error, such as event_id_conflict"

Identifier = Annotated[str, Field(pattern=IDENTIFIER_PATTERN)]
"""An id that fits into a URL path and a composite key: `/` and `#` are separators there, so they are not allowed."""

CUSTOMER_PREFIX = "customer:"
"""The prefix of the ids of events that customers report, so that they never equal the ids that services use."""

RESERVED_PREFIXES = (CUSTOMER_PREFIX, "reversal:", "rating:", "closing:")
"""The prefixes of ids that only this service assigns."""

EVENT_ID_CHARACTERS = r"^[\x21-\x7e]{1,128}$"
EVENT_ID_RULE = "must be 1 to 128 printable ASCII characters without spaces"

EVENT_ID_PATTERN = rf"^(?!{'|'.join(RESERVED_PREFIXES)})[\x21-\x7e]{{1,128}}$"


def _require_unreserved(event_id: str) -> str:
    for prefix in RESERVED_PREFIXES:
        if event_id.startswith(prefix):
            raise ValueError(f"must not start with the reserved prefix {prefix}")
    return event_id


EventId = Annotated[
    str,
    Field(pattern=EVENT_ID_CHARACTERS),
    AfterValidator(_require_unreserved),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": EVENT_ID_PATTERN,
            "description": "1 to 128 printable ASCII characters without spaces; reserved prefixes: "
            + ", ".join(RESERVED_PREFIXES),
        }
    ),
]
"""The id that a caller gives to an event."""

RECORDED_EVENT_ID_PATTERN = r"^[\x21-\x7e]{1,160}$"
RECORDED_EVENT_ID_RULE = "must be 1 to 160 printable ASCII characters without spaces"

RecordedEventId = Annotated[
    str, Field(pattern=RECORDED_EVENT_ID_PATTERN, description="printable ASCII characters without spaces")
]
"""The id under which an event is recorded: the caller's, or one with a reserved prefix."""
