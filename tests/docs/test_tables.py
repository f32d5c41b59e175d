"""The tables of the documents are whole."""

import pytest

from tests.docs.blocks import DOCUMENTS, ROOT
from tests.docs.tables import table_problems

TABLE = "| a | b |\n|---|---|\n| 1 | `x\\|y` |\n"


@pytest.mark.parametrize("name", [file.relative_to(ROOT).as_posix() for file in DOCUMENTS])
def test_each_table_is_whole(name: str) -> None:
    assert table_problems((ROOT / name).read_text()) == []


@pytest.mark.parametrize("text", [TABLE, f"{TABLE}\nand on", "```text\n| a |\nb\n```\n"])
def test_a_whole_table_has_no_problem(text: str) -> None:
    assert table_problems(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TABLE + "| 2 | cut off", "line 4: the row does not end with |"),
        (TABLE + "| 2 |\n", "line 4: 1 cells, and 2 in the header"),
        (TABLE + "| 2 | x|y |\n", "line 4: 3 cells, and 2 in the header"),
        (TABLE + "and on\n", "line 4: no blank line before it, after a table"),
    ],
)
def test_a_broken_one_is_told(text: str, problem: str) -> None:
    assert problem in table_problems(text)
