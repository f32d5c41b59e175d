"""The tables of the documents: what is broken in their source."""

import re
from itertools import groupby

_FENCE = re.compile(r"^ *(```|~~~)")
_CELL_ENDS = re.compile(r"(?<!\\)\|")


def table_problems(text: str) -> list[str]:
    """Return what is wrong with the tables of a Markdown text, each with its line from 1 on.

    Each row has as many cells as the header, and ends with `|`. A blank line follows the table: a
    line right behind it would be one more row.
    """
    found: list[str] = []
    lines = [("", "") if fenced else (line, line[:1]) for line, fenced in _with_fences(text)]
    for is_table, group in groupby(enumerate(lines, start=1), lambda item: item[1][1] == "|"):
        rows = [(number, line) for number, (line, _) in group]
        if is_table:
            found += _problems_of(rows)
            number = rows[-1][0]
            if number < len(lines) and lines[number][0].strip():
                found.append(f"line {number + 1}: no blank line before it, after a table")
    return found


def _problems_of(rows: list[tuple[int, str]]) -> list[str]:
    header = _cells(rows[0][1])
    return [
        f"line {number}: {problem}"
        for number, row in rows
        for problem, wrong in (
            ("the row does not end with |", not row.rstrip().endswith("|")),
            (f"{_cells(row)} cells, and {header} in the header", _cells(row) != header),
        )
        if wrong
    ]


def _cells(row: str) -> int:
    return len(_CELL_ENDS.findall(row.rstrip())) - 1


def _with_fences(text: str) -> list[tuple[str, bool]]:
    """Return the lines, each with whether it belongs to a block of code."""
    found = []
    inside = False
    for line in text.splitlines():
        border = _FENCE.match(line) is not None
        found.append((line, inside or border))
        inside ^= border
    return found
