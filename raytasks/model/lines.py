"""Errors as one line of text, for messages and logs."""

import sys

_NO_TEXT = "(its text cannot be had)"


def one_line(error: BaseException, length: int = 300) -> str:
    """Return the text of an error without line breaks, or its type's name if it has no text.

    Raises nothing, even if the error's own `__str__` raises. `length` is in characters.
    """
    return _text(error)[:length] or type(error).__name__


def end_of_line(error: BaseException, length: int = 300) -> str:
    """Return what `one_line` does; of a longer text the end, where Ray says why. Raises nothing."""
    text = one_line(error, sys.maxsize)
    return text if len(text) <= length else f"… {text[-length:]}"


def named_line(error: BaseException, length: int = 500) -> str:
    """Return the name of an error's type and its text, without line breaks. Raises nothing."""
    text = _text(error)
    name = type(error).__name__
    return f"{name}: {text}"[:length] if text else name


def _text(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())
    except BaseException:  # users' code can raise anything
        return _NO_TEXT
