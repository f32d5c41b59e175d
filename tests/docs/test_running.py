"""The runner of the blocks notices a wrong block."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from raytasks.settings import SettingsError
from tests.docs.blocks import Block, blocks_of
from tests.docs.running import Session, assert_like, session_in

URL = "http://127.0.0.1:1"


def block(language: str, code: str) -> Block:
    return Block(Path(__file__), 1, language, code)


@pytest.fixture(name="session")
def one_session(tmp_path: Path) -> Iterator[Session]:
    with session_in(tmp_path / "project", URL) as session:
        yield session


def test_markers_and_files_are_read(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "<!-- not run: it is long -->\n```sh\nsleep 9\n```\n\n"
        "```python\n# handlers/a.py\nx = 1\n```\n\n```{toctree}\na\n```\n\n    indented\n"
    )
    marked, file, indented = blocks_of(document)
    assert (marked.marker, marked.reason, marked.line) == ("not run", "it is long", 2)
    assert (file.file, file.marker) == ("handlers/a.py", "")
    assert indented.language == ""


@pytest.mark.parametrize(
    "wrong",
    [
        block("sh", "false\ntrue"),
        block("python", "assert 1 > 2"),
        block("json", "{'a': 1}"),
        block("ini", "RAYTASKS_LEASE_SECOND=5"),
        block("ini", "RAYTASKS_LEASE_SECONDS=0"),
        block("yaml", "just a text"),
        block("cobol", "DISPLAY 'hello'."),
        block("", "no language"),
        block("text", "nothing printed this"),
    ],
    ids=lambda wrong: wrong.code.partition("\n")[0],
)
def test_a_wrong_block_fails(session: Session, wrong: Block) -> None:
    with pytest.raises((AssertionError, ValueError, SettingsError)):
        session.run(wrong)


def test_what_is_printed_is_compared() -> None:
    assert_like("key: abc\nend\n", "key: …\nend", "here")
    with pytest.raises(AssertionError):
        assert_like("key: abc\nend\n", "key: …\nfinish", "here")


def test_the_shell_keeps_folder_and_variables(session: Session) -> None:
    session.run(block("sh", "mkdir sub; cd sub; export NAME=value; other=1"))
    session.run(block("sh", 'echo "$NAME $other $(basename "$PWD")"'))
    session.run(block("text", "value 1 sub"))
    assert session.shell.environment()["NAME"] == "value"
    assert session.shell.folder().name == "sub"


def test_a_failing_file_or_test_fails_at_the_end(session: Session) -> None:
    session.run(block("python", "# handlers/a.py\nNAME = 1\n"))
    session.run(block("python", "# tests/test_a.py\nfrom handlers import a\n\n\n"
                                "def test_it():\n    assert a.NAME == 2\n"))  # fmt: skip
    with pytest.raises(AssertionError, match="1 failed"):
        session.finish()


def test_a_file_that_cannot_be_imported_fails_at_the_end(session: Session) -> None:
    session.run(block("python", "# handlers/a.py\nimport nothing_of_this_name\n"))
    with pytest.raises(AssertionError, match="nothing_of_this_name"):
        session.finish()
