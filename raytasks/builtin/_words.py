"""What a word is, for all handlers that count or compare words."""

import regex

# A word starts with a letter or a digit; letters, digits and combining marks carry it on. A single
# apostrophe, hyphen or (in Persian and Indic scripts) zero-width joiner holds two parts together.
_WORD = regex.compile(
    r"[\p{L}\p{Nd}][\p{L}\p{Nd}\p{M}]*"
    r"(?:['\u2019\-\u2010\u2011\u200c\u200d][\p{L}\p{Nd}][\p{L}\p{Nd}\p{M}]*)*"
)


def words(text: str) -> list[str]:
    """Return the words of a text, in order, as they stand in it."""
    return [match.group() for match in _WORD.finditer(text)]
