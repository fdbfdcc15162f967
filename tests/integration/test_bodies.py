"""Invalid bodies and parameters: always a 4xx that names the field, never a 5xx."""

import gzip
import json
from decimal import Decimal
from typing import Any

import pytest

from tests import ledgers
from tests.api import INTERNAL, Answer, Api
from tests.builders import event_body

RECORD = "/api/usage/record"
EVENT = event_body(None)


def record_raw(api: Api, **fields: str) -> Answer:
    """Record an event. Each field is given as JSON text, so that nothing normalizes it on the way."""
    texts = {name: json.dumps(value) for name, value in EVENT.items()} | fields
    return api.post(RECORD, raw="{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}")


def validation_errors(answer: Answer) -> dict[str, str]:
    """The message for each invalid field."""
    assert (answer.status, answer.code) == (422, "validation_error"), answer.text
    found = {error["field"]: error["message"] for error in answer.json["errors"]}
    assert len(found) == len(answer.json["errors"]), "one error per field"
    assert all(set(error) == {"field", "code", "message"} for error in answer.json["errors"])
    return found


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("{", id="incomplete"),
        pytest.param("quantity=1", id="a form"),
        pytest.param("<event/>", id="XML"),
        pytest.param('{"quantity": NaN}', id="NaN"),
        pytest.param('{"quantity": -Infinity}', id="infinity"),
        pytest.param('{"quantity": 1, "quantity": 2}', id="a duplicate key"),
        pytest.param('{"metadata": {"a": 1, "a": 1}}', id="a duplicate key in a nested object"),
        pytest.param("[" * 16_000, id="16,000 brackets"),
        pytest.param('{"a":' * 3_000, id="3,000 braces"),
        pytest.param('{"quantity": %s}' % ("1" * 5000), id="a number of 5000 digits"),
        pytest.param('{"quantity": 1e999999999}', id="an exponent that would fill the memory"),
        pytest.param('{"metadata": {"a": 1e999999999}}', id="the same, in the metadata"),
        pytest.param('{"quantity": 1e99999999999999999999}', id="an exponent that is out of range"),
        pytest.param("\ufeff{}", id="a byte order mark"),
        pytest.param("\x00", id="a null byte"),
    ],
)
def test_a_body_that_is_not_json_is_400(ready: Api, raw: str | bytes) -> None:
    answer = ready.post(RECORD, raw=raw)
    assert (answer.status, answer.code) == (400, "not_json"), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        ("{", "The body is not valid JSON: expecting property name enclosed in double quotes, line 1, column 2."),
        (
            '{"a":\n1,}',
            "The body is not valid JSON: expecting property name enclosed in double quotes, line 2, column 3.",
        ),
        ("nonsense", "The body is not valid JSON: expecting value, line 1, column 1."),
        ('{"a": NaN}', "The body is not valid JSON: NaN is not a JSON number."),
        ('{"a": 1, "a": 2}', "The body is not valid JSON: the key 'a' occurs twice in one object."),
        ('{"a": %s}' % ("1" * 5000), "The body is not valid JSON: a number has more than 4300 digits."),
        ('{"a": 1e5000}', "The body is not valid JSON: a number has more than 4300 digits."),
        ("[" * 16_000, "The body is nested too deeply."),
        ("\ufeff{}", "The body starts with a byte order mark; send it without one."),
    ],
)
def test_invalid_json_is_explained_with_its_position(ready: Api, raw: str, detail: str) -> None:
    assert ready.post(RECORD, raw=raw).json["detail"] == detail


NOT_UTF8 = {
    "an invalid byte": b'{"userId": "\xff"}',
    "Latin-1": b'{"userId": "\xe4"}',
    "an incomplete character": b'{"userId": "\xf0\x9f\x92"}',
    "an overlong encoding": b'{"userId": "\xc0\xaf"}',
    "a surrogate": b'{"userId": "\xed\xa0\x80"}',
    "UTF-16": '{"userId": "user-1"}'.encode("utf-16"),
    "in the metadata": b'{"metadata": {"a": "\xff"}}',
    "in the name of a field": b'{"\xff": 1}',
}


@pytest.mark.parametrize("path", [RECORD, "/api/usage/batch"])
@pytest.mark.parametrize("raw", NOT_UTF8.values(), ids=NOT_UTF8)
@pytest.mark.parametrize("as_text", [False, True], ids=["in base64", "decoded by API Gateway"])
def test_a_body_that_is_not_utf_8_is_rejected_instead_of_guessed(
    ready: Api, path: str, raw: bytes, *, as_text: bool
) -> None:
    answer = ready.post(path, raw=raw.decode(errors="replace") if as_text else raw)
    assert (answer.status, answer.code) == (400, "not_json"), answer.text
    assert answer.json["detail"].startswith("The body is not valid UTF-8")


def test_a_lone_surrogate_is_not_utf_8(ready: Api) -> None:
    answer = ready.post(RECORD, raw='{"userId": "\ud800"}')
    assert (answer.status, answer.code, answer.json["detail"]) == (400, "not_json", "The body is not valid UTF-8.")


def test_the_replacement_character_is_accepted_as_an_escape(ready: Api) -> None:
    assert record_raw(ready, metadata='{"a": "\\ufffd"}').status == 201
    [record] = ready.get("/api/usage/subscription/sub-1/records").json["records"]
    assert record["metadata"] == {"a": "\ufffd"}


@pytest.mark.parametrize(
    "raw", ["[]", '"text"', "5", "true", "null", "", "[{}]", "0.1", '[{"userId": "user-1"}]'], ids=repr
)
def test_json_that_is_not_an_object_is_422(ready: Api, raw: str) -> None:
    assert list(validation_errors(ready.post(RECORD, raw=raw))) == ["body"]


def test_a_missing_body_is_422(ready: Api) -> None:
    assert list(validation_errors(ready.post(RECORD))) == ["body"]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=",
     "application/xml", "application/jsonp", "json", ";", "application/json-patch+json"],
)  # fmt: skip
def test_an_unsupported_content_type_is_415(ready: Api, content_type: str) -> None:
    answer = ready.post(RECORD, raw=json.dumps(EVENT), headers=INTERNAL | {"content-type": content_type})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate", "zstd", "gzip, identity", "unheard-of"])
def test_a_compressed_body_is_415_and_the_error_names_the_encoding(ready: Api, coding: str) -> None:
    headers = INTERNAL | {"content-type": "application/json", "content-encoding": coding}
    for raw in (gzip.compress(json.dumps(EVENT).encode()), json.dumps(EVENT)):
        answer = ready.post(RECORD, raw=raw, headers=headers)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
        assert answer.json["detail"] == f"Send the body uncompressed: Content-Encoding {coding} is not supported."
        assert answer.headers["Accept-Encoding"] == "identity"


def test_content_encoding_identity_is_accepted(ready: Api) -> None:
    headers = INTERNAL | {"content-encoding": "identity"}
    assert ready.post(RECORD, raw=json.dumps(EVENT), headers=headers).status == 201


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "windows-1252", '"latin1"', "UTF-7", "", "unheard-of"])
def test_an_unsupported_charset_is_415_and_the_error_asks_for_utf_8(ready: Api, charset: str) -> None:
    headers = INTERNAL | {"content-type": f"application/json; charset={charset}"}
    answer = ready.post(RECORD, raw=json.dumps(EVENT), headers=headers)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert answer.json["detail"].startswith("Send the body in UTF-8: charset=")


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", 'application/json;charset="UTF-8"', "application/json; charset=UTF8",
     "application/json; charset=us-ascii", "Application/JSON", "application/json;", "application/json; version=1"],
)  # fmt: skip
def test_every_spelling_of_the_json_content_type_is_accepted(ready: Api, content_type: str) -> None:
    answer = ready.post(RECORD, raw=json.dumps(EVENT), headers=INTERNAL | {"content-type": content_type})
    assert answer.status == 201


def test_a_base64_body_with_non_ascii_characters_is_accepted(ready: Api) -> None:
    raw = json.dumps(EVENT | {"metadata": {"名": "ä"}}, ensure_ascii=False).encode()
    assert ready.post(RECORD, raw=raw).status == 201
    [record] = ready.get("/api/usage/subscription/sub-1/records").json["records"]
    assert record["metadata"] == {"名": "ä"}


def test_invalid_base64_is_400(ready: Api) -> None:
    import record_usage
    from tests.api import Context

    event = {"version": "2.0", "rawPath": RECORD, "headers": INTERNAL, "isBase64Encoded": True,
             "requestContext": {"http": {"method": "POST", "path": RECORD}, "stage": "$default"}}  # fmt: skip
    for body in ("%%%", "a", "ä", "e30=%"):
        answer = record_usage.handler(event | {"body": body}, Context())
        assert answer["statusCode"] == 400
        assert json.loads(answer["body"])["detail"] == "The body is not valid base64."


@pytest.mark.parametrize(
    ("field", "text"),
    [
        pytest.param("quantity", '"1"', id="quantity as string"),
        pytest.param("quantity", "true", id="quantity true"),
        pytest.param("quantity", "null", id="quantity null"),
        pytest.param("quantity", "[1]", id="quantity in a list"),
        pytest.param("quantity", "0", id="quantity 0"),
        pytest.param("quantity", "-0.0", id="quantity -0"),
        pytest.param("quantity", "-1", id="quantity negative"),
        pytest.param("quantity", "1000000000000", id="13 digits before the point"),
        pytest.param("quantity", "0.0000000001", id="10 digits after the point"),
        pytest.param("quantity", "1e12", id="13 digits by an exponent"),
        pytest.param("quantity", "1e-10", id="10 places by an exponent"),
        pytest.param("userId", "5", id="user as a number"),
        pytest.param("userId", '""', id="empty user"),
        pytest.param("subscriptionId", '"a#b"', id="a separator in an id"),
        pytest.param("subscriptionId", '"a/b"', id="a slash in an id"),
        pytest.param("usageType", '"%s"' % ("x" * 129), id="129 characters"),
        pytest.param("usageType", '"a\\u0000"', id="a null character"),
        pytest.param("usageType", '"\\ud800"', id="a lone surrogate"),
        pytest.param("usageType", '"a\\n"', id="a line break at the end"),
        pytest.param("eventId", '""', id="empty event id"),
        pytest.param("eventId", '"a b"', id="a space in an event id"),
        pytest.param("eventId", "1", id="event id as a number"),
        pytest.param("occurredAt", '"2026-11-01T12:00:00"', id="no time zone"),
        pytest.param("occurredAt", '"2026-11-01"', id="a date"),
        pytest.param("occurredAt", "1793534400", id="Unix time"),
        pytest.param("occurredAt", '"now, more or less, I think"', id="words"),
        pytest.param("occurredAt", '"9999-12-31T23:59:59-23:00"', id="after the year 9999 in UTC"),
        pytest.param("metadata", "[]", id="metadata as a list"),
        pytest.param("metadata", "null", id="metadata null"),
        pytest.param("metadata", '{"a":{"b":{"c":{}}}}', id="metadata too deep"),
        pytest.param("metadata", '{"a":' + "[" * 900 + "]" * 900 + "}", id="metadata 900 deep"),
        pytest.param("metadata", '{"a":"%s"}' % ("x" * 2048), id="metadata too large"),
        pytest.param("metadata", '{"a":1e4200}', id="metadata too large when written out"),
        pytest.param("metadata", '{"a":"\\udc00"}', id="a lone surrogate in metadata"),
        pytest.param("metadata", json.dumps({f"k{n}": 1 for n in range(51)}), id="51 keys"),
        pytest.param("quantities", "1", id="an unknown field"),
        pytest.param("user_id", '"user-1"', id="a field in snake_case"),
        pytest.param("\\ud800", "1", id="an unknown field with a lone surrogate"),
    ],
)  # fmt: skip
def test_an_invalid_field_is_named(ready: Api, field: str, text: str) -> None:
    answer = record_raw(ready, **{field: text})
    [(name, message)] = validation_errors(answer).items()
    assert name == ("body" if field == "\\ud800" else field)
    assert 5 < len(message) <= 200
    assert ledgers.read() == [], "nothing was recorded"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", RECORD, {"user_id": "user-1", "subscription_id": "sub-1", "usage_type": "assessment", "quantity": 1}),
        ("POST", "/api/usage/process-billing", {"subscription_id": "sub-1"}),
        ("PUT", "/api/usage/quotas/p/t", {"monthly_limit": 1, "unit_price": "1", "unit_name": "u"}),
        ("PUT", "/api/subscriptions/sub-9", {"user_id": "user-1", "plan_id": "p"}),
    ],
    ids=["record", "bill", "quota", "subscription"],
)
def test_snake_case_field_names_are_rejected(ready: Api, method: str, path: str, body: dict[str, Any]) -> None:
    assert set(validation_errors(ready(method, path, body))) >= {name for name in body if "_" in name}


def test_all_invalid_fields_are_reported_at_once(ready: Api) -> None:
    answer = ready.post(RECORD, {"userId": "", "quantity": 0, "usageType": 5, "extra": 1, "metadata": []})
    assert set(validation_errors(answer)) == {"userId", "subscriptionId", "quantity", "usageType", "extra", "metadata"}


def test_a_validation_error_has_a_field_a_code_and_a_message(ready: Api) -> None:
    answer = ready.post(RECORD, {"quantity": "1"} | {name: EVENT[name] for name in ("userId", "usageType")})
    assert answer.json["errors"] == [
        {"field": "subscriptionId", "code": "missing", "message": "is required"},
        {"field": "quantity", "code": "invalid", "message": "must be a JSON number"},
    ]


def test_long_input_is_not_quoted_in_full(ready: Api) -> None:
    answer = ready.post(RECORD, EVENT | {"x" * 100_000: 1})
    assert len(answer.text) < 2000


@pytest.mark.parametrize(
    ("texts", "total"),
    [
        pytest.param(["0.1", "0.2"], "0.3", id="what floats get wrong"),
        pytest.param(["0.1"] * 10, "1", id="ten tenths"),
        pytest.param(["1e2", "1E-2"], "100.01", id="exponents"),
        pytest.param(["999999999999.999999999", "0.000000001"], "1000000000000", id="the maximum number of digits"),
        pytest.param(["123456789.123456789", "0.000000011"], "123456789.1234568", id="more than a float can hold"),
    ],
)
def test_quantities_are_exact(ready: Api, texts: list[str], total: str) -> None:
    for text in texts:
        answer = record_raw(ready, quantity=text)
        assert answer.json["quantity"] == Decimal(text)
    assert f'"used":{total},' in answer.text
    assert f'"used":{total},' in ready.get("/api/usage/subscription/sub-1").text


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/api/usage/user/user-1", {"limit": "0"}, "limit"),
        ("/api/usage/user/user-1", {"limit": "101"}, "limit"),
        ("/api/usage/user/user-1", {"limit": "ten"}, "limit"),
        ("/api/usage/user/user-1", {"limit": "1,2"}, "limit"),
        ("/api/usage/user/user-1", {"limit": ""}, "limit"),
        ("/api/usage/user/user-1", {"cursor": "x"}, "cursor"),
        ("/api/usage/user/user-1", {"cursor": "x" * 1025}, "cursor"),
        ("/api/usage/user/user-1", {"period": "2026-11-01"}, "period"),
        ("/api/usage/user/user-1", {"Limit": "1"}, "Limit"),
        ("/api/usage/subscription/sub-1", {"period": "2026-11"}, "period"),
        ("/api/usage/subscription/sub-1", {"period": "2026-02-30"}, "period"),
        ("/api/usage/subscription/sub-1", {"period": "2026-11-01T00:00:00Z"}, "period"),
        ("/api/usage/subscription/sub-1", {"period": "1999-12-31"}, "period"),
        ("/api/usage/subscription/sub-1", {"period": "9999-01-01"}, "period"),
        ("/api/usage/subscription/sub-1", {"period": ""}, "period"),
        ("/api/usage/subscription/sub-1", {"usageType": "report"}, "usageType"),
        ("/api/usage/subscription/sub-1/records", {"usageType": "a#b"}, "usageType"),
        ("/api/usage/subscription/sub-1/records", {"usage_type": "report"}, "usage_type"),
        ("/api/usage/subscription/sub-1/records", {"cursor": "W10"}, "cursor"),
        ("/api/usage/quotas/business", {"cursor": "W10"}, "cursor"),
        ("/api/usage/quotas/business/assessment", {"limit": "1"}, "limit"),
        ("/api/subscriptions/sub-1", {"fields": "all"}, "fields"),
        ("/api/invoices", {}, "subscriptionId"),
        ("/api/invoices", {"subscriptionId": ""}, "subscriptionId"),
        ("/api/invoices", {"subscriptionId": "sub-1", "cursor": "W10"}, "cursor"),
        ("/api/invoices", {"subscriptionId": "sub-1", "status": "draft"}, "status"),
    ],
)
def test_an_invalid_parameter_is_named(ready: Api, path: str, query: dict[str, str], field: str) -> None:
    assert list(validation_errors(ready.get(path, query=query))) == [field]


@pytest.mark.parametrize("path", ["/api/subscriptions/", "/api/usage/user/", "/api/usage/subscription/"])
@pytest.mark.parametrize("name", ["a b", "a#b", "ä", "%", "a%2Fb", '"', "x" * 129, "\x00"], ids=repr)
def test_an_invalid_id_in_the_path_is_a_client_error(ready: Api, path: str, name: str) -> None:
    answer = ready.get(path + name)
    assert answer.status in (404, 422), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["a.b", "a_b", "a~b", "a:b", "a@b", "a|b", "a+b", "a=b", "a,b", "-", "x" * 128])
def test_every_valid_id_works_in_path_query_and_body(ready: Api, name: str) -> None:
    assert ready.subscribe(name, name, name).status == 200
    ready.plan(name, name, limit=0, price="1")
    recorded: Any = ready.record(name, subscriptionId=name, userId=name, usageType=name)
    assert recorded.status == 201, recorded.text
    assert ready.get(f"/api/subscriptions/{name}").json["userId"] == name
    assert ready.get(f"/api/usage/quotas/{name}/{name}").json["usageType"] == name
    assert ready.get(f"/api/usage/user/{name}").json["subscriptions"][0]["subscriptionId"] == name
    records = ready.get(f"/api/usage/subscription/{name}/records", query={"usageType": name}).json["records"]
    assert [record["eventId"] for record in records] == [name]
    assert ready.bill(subscriptionId=name).json["itemsCreated"] == 1
    [invoice] = ready.get("/api/invoices", query={"subscriptionId": name}).json["invoices"]
    whole = ready.get(f"/api/invoices/{invoice['invoiceId']}").json
    assert {field: whole[field] for field in invoice} == invoice
    replayed = ready.record(None, subscriptionId=name, userId=name, usageType=name,
                            headers=INTERNAL | {"idempotency-key": name})  # fmt: skip
    assert (replayed.status, replayed.json) == (200, recorded.json)
