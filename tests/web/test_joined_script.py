"""One script of many modules: their order, their scopes, their lines, and what is refused."""

import json

import pytest

from raytasks.web.bundle import SCRIPT, bundle
from raytasks.web.joined_script import UnknownForm, join

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

MODULES = {
    "ui/main.js": """import { double as twice, LIST } from "./core/sums.js";
import lone from "../vendor/lone.mjs";
import {
  many, others as rest,
} from "./lib.js";

LIST.push(twice(many), lone, rest);
""",
    "ui/core/sums.js": """import { many } from "../lib.js";
export function double(value) { return 2 * value; }
export async function later() {}
export const LIST = [many];
export class Sum {}
""",
    "ui/lib.js": """export {
  useful as many,
} from "../vendor/preact.mjs";
const others = 3;
export { others };
""",
}

EXPECTED = """import * as _v0_ from "../vendor/preact.mjs";
import * as _v1_ from "../vendor/lone.mjs";
/* ui/lib.js */ const _m2_ = (() => {



const others = 3;

return { many: _v0_.useful, others }; })();
/* ui/core/sums.js */ const _m1_ = (() => {
const { many } = _m2_;
function double(value) { return 2 * value; }
async function later() {}
const LIST = [many];
class Sum {}
return { double, later, LIST, Sum }; })();
/* ui/main.js */ const _m0_ = (() => {
const { double: twice, LIST } = _m1_;
const lone = _v1_.default;
const { many, others: rest } = _m2_;



LIST.push(twice(many), lone, rest);
return {  }; })();
export const modules = { "ui/lib.js": _m2_, "ui/core/sums.js": _m1_, "ui/main.js": _m0_ };
//# sourceMappingURL=page.js.map
"""


def joined(modules: dict[str, str]) -> str:
    """Return the script of modules."""
    return join(modules, modules, "ui/main.js", SCRIPT).text


def numbers(text: str) -> list[int]:
    """Return the numbers of a segment of a source map."""
    found, shift, value = [], 0, 0
    for digit in map(DIGITS.index, text):
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            found.append(-(value >> 1) if value & 1 else value >> 1)
            shift, value = 0, 0
    return found


def test_modules_come_after_those_that_they_need() -> None:
    assert joined(MODULES) == EXPECTED


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("ui/lib.js", "export default 3;", "is no form that can be joined"),
        ("ui/lib.js", "export let many = 3;", "is no form that can be joined"),
        ("ui/lib.js", 'import * as all from "./x.js";', "is no form that can be joined"),
        ("ui/lib.js", 'import "./x.js";', "is no form that can be joined"),
        ("ui/lib.js", "const late = () => import(name);", "is no form that can be joined"),
        ("ui/lib.js", "export const many = import.meta.url;", "is no form that can be joined"),
        ("ui/lib.js", 'import { "a" as b } from "../vendor/x.mjs";', "is no name"),
        ("ui/lib.js", 'import { LIST } from "./core/sums.js";', "a circle: ui/main.js → ui/core"),
        ("ui/lib.js", "export const many = 3;", "ui/main.js: ./lib.js does not export others"),
        ("ui/lib.js", 'export { no } from "./x.js";', "ui/lib.js: ./x.js does not export no"),
        ("ui/lost.js", "const alone = 1;", "nothing imports ui/lost.js"),
    ],
)
def test_what_cannot_be_joined_is_refused(path: str, text: str, why: str) -> None:
    more = {"ui/x.js": "export const yes = 1;"} if "x.js" in text else {}
    with pytest.raises(UnknownForm, match=why.replace("(", r"\(")):
        joined(MODULES | more | {path: text})


def test_the_map_leads_each_line_to_its_module() -> None:
    page = bundle()
    lines = page.files[SCRIPT].data.decode().split("\n")
    found = json.loads(page.files[f"{SCRIPT}.map"].data)
    written = [text.split("\n") for text in found["sourcesContent"]]
    mappings = found["mappings"].split(";")
    assert len(mappings) <= len(lines)
    source, line, same = 0, 0, 0
    for sent, mapping in zip(lines, mappings, strict=False):
        if not mapping:
            assert not sent or sent.startswith(("import * as _v", "/* ui/", "return {"))
            continue
        column, source_step, line_step, column_there = numbers(mapping)
        source, line = source + source_step, line + line_step
        assert (column, column_there) == (0, 0)
        text = written[source][line]
        assert sent in ("", text) or text.startswith(("import ", "export "))
        same += sent == text != ""
    assert same > 3000
    assert found["sources"][-1] == "ui/main.js"
