"""The checks of prose and names: what they find, and what they leave alone."""

from pathlib import Path

import pytest

from tests.house import names, prose

LONG = "Word" + " word" * prose.MAX_WORDS + "."


def found(tmp_path: Path, text: str, name: str = "module.py") -> list[str]:
    path = tmp_path / name
    path.write_text(text)
    return [fault.message for fault in prose.check(path)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'"""{LONG}"""', "26 words in one sentence"),
        (f"# {LONG}\nx = 1\n", "26 words in one sentence"),
        ("# " + LONG.replace(" ", "\n# ") + "\n", "26 words in one sentence"),
        (f'x = 1\n"""A name. {LONG}"""', "26 words in one sentence"),
        ('"""Say it, lest it goes on."""', '"lest"'),
        ("# It is made anew.\n", '"anew"'),
        ('"""What is there."""', "begins with a relative"),
        ('class Thing:\n    """Who asks."""\n', "begins with a relative"),
        ('def thing():\n    """Return it"""\n', "does not end"),
    ],
)
def test_what_is_wrong_in_a_module(tmp_path: Path, text: str, message: str) -> None:
    [only] = found(tmp_path, text)
    assert message in only


@pytest.mark.parametrize(
    "text",
    [
        '"""A thing. It is short, e.g. this one. Then another sentence."""',
        f'"""A thing.\n\nIts code:\n\n    {LONG}\n"""',
        f'text = """{LONG}"""',
        "x = 1  # type: ignore[" + "a, " * 40 + "]\n",
        '"""A thing: `' + "a b " * 30 + '`."""',
        '"""Things:\n\n- ' + "\n- ".join([LONG.removesuffix(".")[:60]] * 9) + '\n"""',
    ],
)
def test_what_is_right_in_a_module(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []


def test_documents_without_code_tables_and_headings(tmp_path: Path) -> None:
    text = f"# {LONG}\n\n```sh\n{LONG}\n```\n\n| {LONG} |\n\nShort. And [short]({LONG}).\n"
    assert found(tmp_path, text, "page.md") == []
    [only] = found(tmp_path, f"{text}\n{LONG}\n", "page.md")
    assert "26 words" in only


def test_names_that_two_have(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "same.py").write_text(
            "class Both:\n    pass\n\nclass _Own:\n    pass\n"
        )
        (tmp_path / place / f"{place}.py").write_text("")
    lines = names.check(sorted(tmp_path.rglob("*.py")))
    assert [line.split(" is there")[0] for line in lines] == [
        "the module name 'same'",
        "the class name 'Both'",
    ]
