"""The examples of docs/testing.md run as they stand there."""

import re
from pathlib import Path

from tests.testing_kit.own_pytest import ROOT, run_pytest

_BLOCK = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)


def test_the_examples_pass(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "testing.md").read_text()
    blocks = dict(_BLOCK.findall(text))
    assert len(blocks) == text.count("```python") == 5
    for name, code in blocks.items():
        (tmp_path / name).write_text(code)
    done = run_pytest(tmp_path)
    tests = sum(code.count("\ndef test_") for code in blocks.values())
    assert f"{tests} passed in" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
