"""Read a request's body: JSON in UTF-8, uncompressed, and not too large."""

import re
from base64 import b64decode
from json import JSONDecodeError
from typing import Any

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

from usage_billing.kernel import errors
from usage_billing.kernel.errors import FieldError
from usage_billing.kernel.exact_json import loads
from usage_billing.web.field_errors import safe_excerpt

JSON = "application/json"

UTF8_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
"""The names of UTF-8, and of its subset ASCII."""

MAX_BYTES = 16 * 1024
"""Default maximum size of a body: several times the size of the largest possible event."""


def json_body(event: APIGatewayProxyEventV2, max_bytes: int) -> dict[str, Any] | None:
    """Return a request's body, a JSON object with exact numbers, or None if the body is empty.

    Raises:
        UnsupportedMediaType, BodyTooLarge, NotJson: it is not JSON in UTF-8, it is compressed, or it is too large.
        ValidationFailed: it is JSON, but not an object.
    """
    _require_format(event)
    _require_size(event, max_bytes)
    try:
        text = _text(event)
        body = loads(text) if text else None
    except RecursionError:
        raise errors.NotJson("The body is nested too deeply.") from None
    except JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise errors.NotJson(f"The body is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}, {where}.") from None
    except ValueError as error:
        raise errors.NotJson(f"The body is not valid JSON: {safe_excerpt(str(error))}.") from None
    if body is not None and not isinstance(body, dict):
        raise errors.ValidationFailed(FieldError("body", "invalid", "must be a JSON object"))
    return body


def _require_format(event: APIGatewayProxyEventV2) -> None:
    coding = event.headers.get("content-encoding", "").strip()
    if coding.lower() not in ("", "identity"):
        raise errors.UnsupportedMediaType(
            f"Send the body uncompressed: Content-Encoding {safe_excerpt(coding)} is not supported."
        )
    media_type, _, parameters = event.headers.get("content-type", JSON).partition(";")
    if media_type.strip().lower() != JSON:
        raise errors.UnsupportedMediaType(f"Send the body as {JSON}.")
    charset = re.search(r'(?:^|;)\s*charset\s*=\s*"?([^";]*)', parameters, re.IGNORECASE)
    if charset and charset[1].strip().lower() not in UTF8_CHARSETS:
        raise errors.UnsupportedMediaType(
            f"Send the body in UTF-8: charset={safe_excerpt(charset[1])} is not supported."
        )


def _require_size(event: APIGatewayProxyEventV2, max_bytes: int) -> None:
    """Check the size before decoding or parsing anything."""
    body = event.body or ""
    if event.is_base64_encoded:
        size = len(body) // 4 * 3 - body.count("=", -2)
    else:
        size = len(body.encode(errors="surrogatepass"))
    if size > max_bytes:
        raise errors.BodyTooLarge(f"The body is larger than {max_bytes} bytes.")


def _text(event: APIGatewayProxyEventV2) -> str:
    """Return the body as it was sent.

    API Gateway passes JSON on as text, and replaces what is not UTF-8 by U+FFFD. Such a body is not what was sent, and
    must not be recorded. A caller who means U+FFFD can write it as an escape.

    Raises:
        NotJson: the body is not UTF-8.
    """
    body = event.body or ""
    try:
        sent = b64decode(body, validate=True) if event.is_base64_encoded else body.encode()
        text = sent.decode()
    except UnicodeError:
        raise errors.NotJson("The body is not valid UTF-8.") from None
    except ValueError:
        raise errors.NotJson("The body is not valid base64.") from None
    if text.startswith("\ufeff"):
        raise errors.NotJson("The body starts with a byte order mark; send it without one.")
    if "\ufffd" in text:
        raise errors.NotJson(
            "The body is not valid UTF-8; it may be compressed. Write the character U+FFFD itself as \\ufffd."
        )
    return text
