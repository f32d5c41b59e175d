"""Errors as one line of text."""

from raytasks.model.lines import end_of_line, named_line, one_line


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_is_one_line() -> None:
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ValueError("abc"), 2) == "ab"
    assert one_line(ValueError()) == "ValueError"
    assert "cannot be had" in one_line(Mute())


def test_its_name_comes_first() -> None:
    assert named_line(ValueError("a\nb")) == "ValueError: a b"
    assert named_line(ValueError()) == "ValueError"


def test_of_a_long_text_the_end_is_kept() -> None:
    assert end_of_line(ValueError("a\nb")) == "a b"
    assert end_of_line(ValueError("The actor died:\n\n why"), 3) == "… why"
    assert end_of_line(ValueError()) == "ValueError"
    assert "cannot be had" in end_of_line(Mute())
