"""Messages name settings as the documents do: `RAYTASKS_NAME`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from raytasks.settings import Settings

PRODUCT = Path(__file__).parents[2] / "raytasks"
PLAIN = {name.upper() for name in Settings.model_fields} - {"RAY_ADDRESS"}
"""The names without the prefix. `RAY_ADDRESS` is a name of Ray's, too."""

WORD = re.compile(r"(?<![A-Z_])[A-Z]+(?:_[A-Z]+)+(?![A-Z_])")


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that have several words, with their lines; no docstrings."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        if id(node) not in alone and re.search(r"[a-z] |[: (]", node.value):
            yield node.lineno, node.value


def test_no_message_names_a_setting_without_its_prefix() -> None:
    faults = [
        f"{path.relative_to(PRODUCT)}:{line}: {word[0]}"
        for path in sorted(PRODUCT.rglob("*.py"))
        for line, text in messages(path)
        for word in WORD.finditer(text)
        if word[0] in PLAIN
    ]
    assert faults == []


def test_the_check_finds_one(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('"""It has MAX_DEPTH."""\nX = f"{Y}: MAX_DEPTH"')
    assert [word[0] for _, text in messages(file) for word in WORD.finditer(text)] == ["MAX_DEPTH"]
