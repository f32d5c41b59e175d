"""Modules of the page that look at JSON, called in a browser."""

from collections.abc import Callable
from typing import Any

import httpx

from raytasks.web.bundle import SCRIPT, bundle
from tests.web.browsing import Opened
from tests.web.filled_service import submit

Visit = Callable[..., Opened]

PAGE = f"./files/{bundle().version}/{SCRIPT}"
"""The script of the page. It is loaded once, so that an import of it runs nothing again."""


def called(opened: Opened, module: str, name: str, value: Any) -> Any:
    """Call a function that a module of the page exports, and return its result."""
    call = """async ([path, module, name, value]) =>
        (await import(new URL(path, location))).modules[module][name](value)"""
    return opened.page.evaluate(call, [PAGE, f"ui/{module}", name, value])


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


def test_a_chart_is_drawn_under_the_policy(visit: Visit) -> None:
    opened = visit()
    opened.settle()
    opened.page.evaluate(
        """async (path) => {
          const { modules } = await import(new URL(path, location));
          const { html, render } = modules["ui/lib.js"];
          const { Chart } = modules["ui/parts/chart.js"];
          const times = Array.from({ length: 600 }, (_, index) => 1.7e9 + index * 60);
          const values = times.map((_, index) => Math.sin(index / 20));
          const box = document.createElement("div");
          document.querySelector("main").append(box);
          render(html`<${Chart} title="Waves" times=${times} format=${(value) => value.toFixed(2)}
            lines=${[{ label: "sine", values, colour: "good" }]} />`, box);
        }""",
        PAGE,
    )
    chart = opened.page.locator(".chart")
    chart.locator("canvas").wait_for()
    drawn = """canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value) => value !== 0);
    }"""
    assert chart.locator("canvas").evaluate(drawn)
    assert "sine -0.99" in " ".join(chart.inner_text().split())
    for _ in range(2):  # the colours of the other theme
        opened.page.get_by_role("button", name="Theme").click()
    chart.locator("canvas").wait_for()
    assert chart.locator("canvas").evaluate(drawn)
