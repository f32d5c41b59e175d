"""The built-in handlers without `raytasks[handlers]`: each test in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = """
import os, sys
for name in {blocked!r}:
    sys.modules[name] = None  # whoever imports it fails, as if it were not installed
"""
LOAD = """
from raytasks.handling.builtin_extra import left_out_line
from raytasks.model.errors import HandlerError
from raytasks.handling.registry import Registry
try:
    print(*Registry.load({modules!r}, os.getcwd()).task_types)
except HandlerError as error:
    print("error:", error)
print(left_out_line({modules!r}))
"""
RUN = """
from raytasks import Context
from raytasks.cli.demo import sample_payloads
from raytasks.handling.builtin_extra import left_out
from pathlib import Path
import raytasks.builtin.text_processing as text, raytasks.builtin as builtin
payloads = sample_payloads(
    Path(builtin.__file__).parent / "samples", without=left_out(["raytasks.builtin"])
)
print(*payloads)
payload = text.TextPayload.model_validate(payloads["text_processing"])
print(text.process(payload, Context("1", "text_processing"))["sentence_count"] > 60)
"""
EXTRA = ("PIL", "numpy", "snowballstemmer", "stopwordsiso")


def said(folder: Path, blocked: tuple[str, ...], program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=blocked) + program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def loaded(folder: Path, blocked: tuple[str, ...], *modules: str) -> list[str]:
    return said(folder, blocked, LOAD.format(modules=list(modules)))


@pytest.mark.parametrize(
    ("blocked", "types", "line"),
    [
        (
            EXTRA,
            "batch_processing text_processing",
            "not installed: ai_summarization and image_processing; "
            "pip install 'raytasks[handlers]' adds them",
        ),
        (
            ("PIL",),
            "ai_summarization batch_processing text_processing",
            "not installed: image_processing; pip install 'raytasks[handlers]' adds them",
        ),
        ((), "ai_summarization batch_processing image_processing text_processing", "None"),
    ],
)
def test_the_set_is_loaded_without_what_cannot_be(
    tmp_path: Path, blocked: tuple[str, ...], types: str, line: str
) -> None:
    assert loaded(tmp_path, blocked, "raytasks.builtin") == [types, line]


@pytest.mark.parametrize(
    ("name", "package"), [("ai_summarization", "numpy"), ("image_processing", "PIL")]
)
def test_one_that_is_named_is_an_error(tmp_path: Path, name: str, package: str) -> None:
    module = f"raytasks.builtin.{name}"
    expected = f"needs '{package}', not installed; pip install 'raytasks[handlers]'"
    assert loaded(tmp_path, EXTRA, module) == [
        f"error: handler module '{module}' {expected}",
        "None",
    ]
    # So it is in the user's own folder.
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "mine.py").write_text(f"from {module} import *\n")
    own = loaded(tmp_path, EXTRA, "handlers")
    assert own == [f"error: handler module 'handlers.mine' {expected}", "None"]


def test_a_module_of_the_users_own_is_not_told_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import numpy\n")
    expected = "error: handler module 'mine' needs 'numpy', not installed"
    assert loaded(tmp_path, EXTRA, "mine") == [expected, "None"]


def test_the_others_run_and_are_in_the_demo(tmp_path: Path) -> None:
    assert said(tmp_path, EXTRA, RUN) == ["flaky text_processing batch_processing", "True"]
