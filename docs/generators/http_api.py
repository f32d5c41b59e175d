"""The reference of the HTTP API, from its OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docs.generators.tables import cell, table
from raytasks.builtin import text_processing
from raytasks.testing import Queue

Document = Mapping[str, Any]

INTRODUCTION = """\
# HTTP API

Bodies and answers are JSON. An error is a problem document (RFC 9457): {problem}.
Times are RFC 3339, in UTC. A key goes into the header `Authorization: Bearer KEY`; which scope an
endpoint needs is in [Security](../security.md#api-keys).

This page is made from the OpenAPI document. A running service has it at `/openapi.json`, and
shows it at `/docs`, to try it out.
"""

_COMMON = {"400", "401", "403", "408", "413", "415", "422", "431", "503"}
COMMON = """\
## Errors of all endpoints

| status | meaning |
|---|---|
| 400 | the body is no JSON, or is nested too deep |
| 401 | the key is missing or unknown |
| 403 | the key lacks the scope or the namespace |
| 408 | the body did not arrive in time |
| 413 | the body is too large |
| 415 | the body is not `application/json` |
| 422 | a value is not valid; `errors` names each one by a JSON pointer |
| 431 | the request has too many headers |
| 503 | the service cannot answer now; try again after `Retry-After` seconds |
"""


def document() -> Document:
    """Return the OpenAPI document of the service with one built-in task type."""
    with Queue([text_processing.process]) as queue:
        found: Document = queue.http.get("/openapi.json", timeout=60).json()
    return found


def page() -> str:
    """Return the page."""
    api = document()
    parts = [INTRODUCTION.format(problem=_link("ProblemView")), COMMON, "## Endpoints\n"]
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            parts += _operation(method.upper(), path, operation)
    parts.append("## Documents\n")
    for name, schema in api["components"]["schemas"].items():
        parts += [f"### {name}\n", f"{_text(schema)}\n"]
        parts.append(_properties(schema) or f"{_type(schema)}\n")
    return "\n".join(parts)


def _operation(method: str, path: str, operation: Document) -> Iterator[str]:
    yield f"### {method} {path}\n"
    yield f"{operation['summary']}.\n"
    yield f"{_text(operation)}\n"
    rows = [
        (f"`{found['name']}`", found["in"], _type(found["schema"]), _text(found))
        for found in operation.get("parameters", ())
    ]
    yield table(("parameter", "in", "kind", "meaning"), rows)
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield "The body:\n"
        yield _properties(content["schema"]) or f"{_type(content['schema'])}\n"
    answers = [
        (status, _answer(answer), cell(answer["description"]))
        for status, answer in sorted(operation["responses"].items())
        if status not in _COMMON or status.startswith("2")
    ]
    yield table(("status", "answer", "meaning"), answers)


def _answer(answer: Document) -> str:
    kinds = answer.get("content", {})
    if not kinds:
        return "no body"
    return ", ".join(
        _type(kind["schema"]) if "schema" in kind else f"`{name}`" for name, kind in kinds.items()
    )


def _properties(schema: Document) -> str:
    required = schema.get("required", ())
    return table(
        ("field", "kind", "default", "meaning"),
        [
            (
                f"`{name}`",
                _type(found),
                "required" if name in required else f"`{json.dumps(found.get('default'))}`",
                _text(found),
            )
            for name, found in schema.get("properties", {}).items()
        ],
    )


def _text(found: Document) -> str:
    return str(found.get("description", "")).replace("<", "&lt;")


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _type(schema: Document) -> str:
    """Return a schema in a few words."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(kind) for kind in schema[several])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any JSON")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return " ".join([kind, *_limits(schema)])


def _limits(schema: Document) -> Iterator[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    yield from (f"{sign} {int(schema[key]):,}" for key, sign in signs.items() if key in schema)
    if "format" in schema:
        yield f"({schema['format']})"
    if "pattern" in schema:
        yield f"`{schema['pattern']}`"
