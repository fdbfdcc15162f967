"""The API reference as one page of HTML, rendered from the OpenAPI document.

The page has no scripts and loads nothing, so it works everywhere.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import Any

STYLE = """
:root { color-scheme: light dark; --text: #1c2430; --soft: #5b6675; --line: #dfe3e8; --ground: #fff; --raised: #f6f7f9;
  --accent: #0b5cad; --get: #0b6e4f; --post: #0b5cad; --put: #8a5a00; --bad: #a3262a; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ee; --soft: #9aa5b4; --line: #2f3742; --ground: #14181e;
  --raised: #1c222a; --accent: #7db7f5; --get: #5fd0a5; --post: #7db7f5; --put: #e6b450; --bad: #f28b8e; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0; display: grid; grid-template-columns: 17rem minmax(0, 1fr); color: var(--text);
  background: var(--ground); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.5rem 1.25rem; font-size: .9rem;
  border-right: 1px solid var(--line); background: var(--raised); }
nav h2 { margin: 1.4rem 0 .3rem; font-size: .75rem; letter-spacing: .06em; text-transform: uppercase;
  color: var(--soft); border: 0; padding: 0; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li a { display: block; padding: .16rem 0; color: inherit; text-decoration: none; overflow-wrap: anywhere; }
nav li a:hover { color: var(--accent); }
main { padding: 2rem clamp(1rem, 4vw, 3.5rem) 5rem; max-width: 70rem; }
h1 { margin: 0 0 .5rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 3.5rem 0 .4rem; padding-bottom: .3rem; font-size: 1.4rem; border-bottom: 1px solid var(--line); }
h3 { margin: 0; font-size: 1.05rem; font-weight: 600; }
h4 { margin: 1.4rem 0 .4rem; font-size: .78rem; letter-spacing: .05em; text-transform: uppercase; color: var(--soft); }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
a { color: var(--accent); }
.soft { color: var(--soft); }
code, pre, .path { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { font-size: .88em; overflow-wrap: anywhere; }
p code, td code { padding: .08em .3em; border-radius: 4px; background: var(--raised); border: 1px solid var(--line); }
pre { margin: .3rem 0; padding: .8rem 1rem; overflow-x: auto; font-size: .82rem; line-height: 1.5; border-radius: 8px;
  background: var(--raised); border: 1px solid var(--line); }
section { margin: 1.2rem 0 1.6rem; padding: 1.1rem 1.3rem 1.2rem; border: 1px solid var(--line); border-radius: 10px; }
section:target { border-color: var(--accent); }
.call { display: flex; flex-wrap: wrap; gap: .7rem; align-items: baseline; margin-bottom: .5rem; }
.path { font-size: 1.02rem; font-weight: 600; overflow-wrap: anywhere; }
.verb { flex: none; font-size: .74rem; font-weight: 700; letter-spacing: .04em; padding: .12rem .5rem;
  border-radius: 5px; border: 1px solid currentColor; }
.get { color: var(--get); } .post { color: var(--post); } .put { color: var(--put); }
nav .dot { display: inline-block; width: 2.3rem; font-size: .68rem; font-weight: 700; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .8rem; }
th, td { padding: .42rem .8rem .42rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td:first-child { white-space: nowrap; width: 1%; padding-right: 1.4rem; }
.required { color: var(--bad); font-size: .78rem; }
.s4, .s5 { color: var(--bad); } .s2 { color: var(--get); }
details { margin-top: .5rem; } summary { cursor: pointer; color: var(--accent); font-size: .9rem; }
@media (max-width: 52rem) { body { display: block; } nav { position: static; height: auto; border-right: 0;
  border-bottom: 1px solid var(--line); } td:first-child { white-space: normal; width: auto; } }
@media print { nav { display: none; } body { display: block; } section { break-inside: avoid; } }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS = {
    # Allow only the page's own style, and no script, image, frame, form or request, whatever the text contains.
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

JSON = "application/json"

MAX_CHOICES = 20
"""Maximum values of an enum that are listed. A longer enum shows its examples instead."""


def render(document: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    info, schemas = document["info"], document["components"]["schemas"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    by_tag = {
        tag["name"]: (tag["description"], [each for each in operations if tag["name"] in each[2]["tags"]])
        for tag in document["tags"]
    }
    title = escape(info["title"])
    return "".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title} API</title><style>{STYLE}</style></head><body>",
            f"<nav><strong>{title}</strong>{_contents(by_tag)}</nav><main>",
            f'<h1>{title} API</h1><p class="soft">Version {escape(info["version"])} · ',
            f'<a href="openapi.json">openapi.json</a></p>{_paragraphs(info["description"])}',
            _authentication(document["components"]["securitySchemes"]),
            *(_section(name, *section) for name, section in by_tag.items()),
            _errors(document["components"]["examples"]),
            '<h2 id="models">Models</h2>',
            *(_model(name, schema) for name, schema in schemas.items()),
            "</main></body></html>\n",
        ]
    )


def _contents(by_tag: Mapping[str, tuple[str, list[tuple[str, str, Any]]]]) -> str:
    sections = "".join(
        f"<h2>{escape(name)}</h2><ul>"
        + "".join(
            f'<li><a href="#{escape(operation["operationId"])}"><span class="dot {method}">{method.upper()}</span>'
            f"{_in_words(operation['operationId'])}</a></li>"
            for _, method, operation in operations
        )
        + "</ul>"
        for name, (_, operations) in by_tag.items()
    )
    more = "".join(f'<li><a href="#{name.lower()}">{name}</a></li>' for name in ("Authentication", "Errors", "Models"))
    return f"{sections}<h2>More</h2><ul>{more}</ul>"


def _authentication(schemes: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{'Authorization: Bearer …' if each['type'] == 'http' else escape(each['name']) + ': …'}</code>"
        f"</td><td>{_inline(each['description'])}</td></tr>"
        for each in schemes.values()
    )
    return f'<h2 id="authentication">Authentication</h2><p>Send one of these headers.</p><table>{rows}</table>'


def _errors(problems: Mapping[str, Any]) -> str:
    """Return a table of all error codes, sorted by status."""
    by_status = sorted((each["value"] for each in problems.values()), key=lambda problem: problem["status"])
    rows = "".join(
        f'<tr><td><code class="s{str(problem["status"])[0]}">{problem["status"]}</code> '
        f"<code>{escape(problem['code'])}</code></td><td>{_inline(problem['detail'])}</td></tr>"
        for problem in by_status
    )
    text = (
        'Every error is a <a href="#model-Problem">Problem</a>. Its <code>code</code> is stable. Its '
        "<code>detail</code> is for people; this table has an example for each code."
    )
    return f'<h2 id="errors">Errors</h2><p>{text}</p><table>{rows}</table>'


def _section(name: str, description: str, operations: list[tuple[str, str, Any]]) -> str:
    calls = "".join(_operation(*each) for each in operations)
    return f"<h2>{escape(name)}</h2><p>{_inline(description)}.</p>{calls}"


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f'<section id="{escape(operation["operationId"])}"><div class="call"><span class="verb {method}">'
        f'{method.upper()}</span><span class="path">{escape(path)}</span></div>'
        f'<h3>{_inline(operation["summary"])}</h3><p class="soft">{_inline(operation["description"])}</p>'
    ]
    if operation.get("parameters"):
        rows = "".join(
            _row(
                each["name"],
                each["schema"],
                required=each["required"],
                where=each["in"],
                description=each.get("description") or _description(each["schema"]),
            )
            for each in operation["parameters"]
        )
        parts.append(f"<h4>Parameters</h4><table>{rows}</table>")
    if body := operation.get("requestBody"):
        content = body["content"][JSON]
        optional = "" if body.get("required") else ' <span class="soft">(optional)</span>'
        parts.append(f"<h4>Request body</h4><div>{_type(content['schema'])}{optional}</div>{_example(content)}")
    parts.append("<h4>Responses</h4><table>")
    for status, response in operation["responses"].items():
        parts.append(_response(status, response))
    parts.append("</table>")
    parts += _examples(operation["responses"])
    return "".join(parts) + "</section>"


def _examples(responses: Mapping[str, Any]) -> list[str]:
    """Return the examples of successful responses, each once."""
    shown: dict[str, tuple[Any, list[str]]] = {}
    for status, response in responses.items():
        for content in response["content"].values():
            if "example" in content:
                shown.setdefault(json.dumps(content["example"]), (content, []))[1].append(status)
    return [_example(content, f"Example of {' and '.join(statuses)}") for content, statuses in shown.values()]


def _response(status: str, response: Mapping[str, Any]) -> str:
    types = " or ".join(dict.fromkeys(_type(content["schema"]) for content in response["content"].values()))
    headers = "".join(f" · <code>{escape(name)}</code>" for name in response.get("headers", {}))
    return (
        f'<tr><td><code class="s{status[0]}">{status}</code> <span class="soft">{HTTPStatus(int(status)).phrase}</span>'
        f'</td><td>{_inline(response["description"])}<div class="soft">{types}{headers}</div></td></tr>'
    )


def _model(name: str, schema: Mapping[str, Any]) -> str:
    rows = "".join(
        _row(field, each, required=field in schema.get("required", []), description=_description(each))
        for field, each in schema.get("properties", {}).items()
    )
    table = f"<table>{rows}</table>" if rows else f"<p>{_type(schema)}</p>{_soft(_limits(schema))}"
    return (
        f'<section id="model-{escape(name)}"><h3>{escape(name)}</h3>{_paragraphs(schema.get("description", ""))}'
        f"{table}</section>"
    )


def _row(
    name: str, schema: Mapping[str, Any], *, required: bool, where: str = "", description: str | None = None
) -> str:
    marker = '<span class="required">required</span>' if required else ""
    place = f'<span class="soft">in {escape(where)}</span> ' if where else ""
    text = f"<div>{_inline(description)}</div>" if description else ""
    return (
        f"<tr><td><code>{escape(name)}</code><br>{place}{marker}</td>"
        f"<td>{_type(schema)}{text}{_soft(_limits(schema))}</td></tr>"
    )


def _soft(text: str) -> str:
    return f'<div class="soft">{text}</div>' if text else ""


def _description(schema: Mapping[str, Any]) -> str | None:
    """Return the description of a value, or else that of its items or of one of its types."""
    parts = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
    return next((part["description"] for part in parts if "description" in part), None)


def _type(schema: Mapping[str, Any]) -> str:
    """Return the type of a schema in words, with links to models."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#model-{name}">{name}</a>'
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    kind = {"null": "null", "integer": "whole number"}.get(schema.get("type", ""), schema.get("type", "anything"))
    return escape({"date-time": "instant", "date": "date"}.get(schema.get("format", ""), kind))


def _limits(schema: Mapping[str, Any]) -> str:
    """Return the constraints of a value besides its type."""
    words = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "greater than",
        "exclusiveMaximum": "less than",
        "multipleOf": "a multiple of",
        "minLength": "minimum length",
        "maxLength": "maximum length",
        "minItems": "minimum items",
        "maxItems": "maximum items",
        "maxProperties": "maximum keys",
        "pattern": "pattern",
        "const": "always",
        "default": "default",
    }
    limits = []
    for part in [schema, *schema.get("anyOf", [])]:
        limits += [
            f"{word} <code>{_value(part[key])}</code>" for key, word in words.items() if part.get(key) is not None
        ]
        if "enum" in part:
            count, shown = len(part["enum"]), part["enum"]
            if count > MAX_CHOICES:
                shown = part["examples"]
            choices = ", ".join(f"<code>{_value(each)}</code>" for each in shown)
            limits.append(f"one of {choices}" if shown is part["enum"] else f"one of {count} values, such as {choices}")
    return "; ".join(dict.fromkeys(limits))


def _value(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return escape(value if isinstance(value, str) else json.dumps(value))


def _example(content: Mapping[str, Any], label: str = "Example") -> str:
    if "example" not in content:
        return ""
    text = escape(json.dumps(content["example"], indent=2, ensure_ascii=False), quote=False)
    return f"<details><summary>{label}</summary><pre>{text}</pre></details>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(' '.join(part.split()))}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    """Return text as HTML, with `code` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _in_words(name: str) -> str:
    """Return an operation id as words: recordUsage becomes Record usage."""
    words = re.sub(r"([A-Z])", r" \1", name).lower()
    return escape(words[:1].upper() + words[1:])
