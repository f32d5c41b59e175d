"""The definition of a word, for all handlers that count or compare words."""

import regex

# A word starts with a letter or a digit; letters, digits and combining marks continue it. A single
# apostrophe, hyphen or (in Persian and Indic scripts) zero-width joiner connects two parts.
_WORD = regex.compile(
    r"[\p{L}\p{Nd}][\p{L}\p{Nd}\p{M}]*"
    r"(?:['\u2019\-\u2010\u2011\u200c\u200d][\p{L}\p{Nd}][\p{L}\p{Nd}\p{M}]*)*"
)


def words(text: str) -> list[str]:
    """Return the words of a text, in order and unchanged."""
    return [match.group() for match in _WORD.finditer(text)]
