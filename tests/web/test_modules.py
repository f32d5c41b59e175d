"""Modules of the page that look at JSON, called in a browser."""

from collections.abc import Callable
from typing import Any

import httpx

from raytasks.web.bundle import bundle
from tests.web.browsing import Opened
from tests.web.filled_service import submit

Visit = Callable[..., Opened]


def called(opened: Opened, module: str, name: str, value: Any) -> Any:
    """Call a function that a module of the page exports, and return its result."""
    path = f"./files/{bundle().version}/ui/{module}"
    call = "async ([path, name, value]) => (await import(new URL(path, location)))[name](value)"
    return opened.page.evaluate(call, [path, name, value])


TEXTS = {
    "{}": "{}",
    "0": "0",
    '"a, [b]"': '"a, [b]"',
    '{"a":{},"b":[[]]}': '{\n  "a": {},\n  "b": [\n    []\n  ]\n}',
    '{"n":[12345678901234567890123,1.0,1E400,-0.0]}': (
        '{\n  "n": [\n    12345678901234567890123,\n    1.0,\n    1E400,\n    -0.0\n  ]\n}'
    ),
    r'{"s":"\" } ] , \\"}': '{\n  "s": "\\" } ] , \\\\"\n}',
    r'{"\\\"":"\u00e4\ud83d\ude00"}': '{\n  "\\\\\\"": "\\u00e4\\ud83d\\ude00"\n}',
    '{ "spaced" : [ 1 , { "x" : true } ] }': (
        '{\n  "spaced": [\n    1,\n    {\n      "x": true\n    }\n  ]\n}'
    ),
}
"""JSON texts, and how they are shown."""


def test_json_is_indented_token_by_token(visit: Visit) -> None:
    opened = visit()
    assert {text: called(opened, "core/json_text.js", "indented", text) for text in TEXTS} == TEXTS


def test_parts_of_a_document_are_kept_as_texts(visit: Visit) -> None:
    opened = visit()
    for text in TEXTS:
        document = f'{{"before": [1, "}}"], "payload":{text} , "after":null}}'
        found = called(opened, "core/json_text.js", "members", document)
        assert found == {"before": '[1, "}"]', "payload": text, "after": "null"}, text


def test_each_type_takes_the_example_of_its_schema(visit: Visit, http: httpx.Client) -> None:
    opened = visit()
    types = http.get("/task-types").json()["task_types"]
    assert {"batch_processing", "charge_card", "image_processing"} <= {
        one["task_type"] for one in types
    }
    for one in types:
        example = called(opened, "core/schema_example.js", "exampleOf", one["payload_schema"])
        submit(http, task_type=one["task_type"], payload=example, delay_seconds=3600)
