"""Sentences and words of many languages, without any download: sentencex and our own code."""

from collections import Counter
from collections.abc import Iterable, Mapping

import regex
import sentencex

from raytasks.builtin._words import words

# The languages that can be told apart, with their codes. English is first: it wins a tie.
LANGUAGES: Mapping[str, str] = {
    "english": "en",
    "arabic": "ar",
    "chinese": "zh",
    "czech": "cs",
    "french": "fr",
    "german": "de",
    "greek": "el",
    "hebrew": "he",
    "italian": "it",
    "japanese": "ja",
    "korean": "ko",
    "polish": "pl",
    "portuguese": "pt",
    "slovak": "sk",
    "spanish": "es",
    "swedish": "sv",
    "thai": "th",
    "ukrainian": "uk",
}

_MIN_SHARE = 0.1
"""The minimum share of stop words of a language for a text to count as written in it."""

_SCRIPT_WITHOUT_SPACES = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
)
_WIDE_END = regex.compile(r"[。！？]\p{Pe}*$")


def sentences_of(text: str, code: str) -> list[str]:
    """Return the sentences of a text. White space inside each becomes single spaces."""
    tidied = (" ".join(sentence.split()) for sentence in sentencex.segment(code, text))
    return [sentence for sentence in tidied if sentence]


def joined(sentences: Iterable[str]) -> str:
    """Return sentences as running text. After a full-width end mark comes no space."""
    text = ""
    for sentence in sentences:
        text += sentence if not text or _WIDE_END.search(text) else f" {sentence}"
    return text


def tokens_of(text: str) -> list[str]:
    """Return the words of a text, in small letters.

    Scripts without spaces between words give pairs of neighbouring letters instead. This is the
    usual way to compare such texts without a dictionary.
    """
    tokens: list[str] = []
    for word in map(str.lower, words(text)):
        if len(word) > 2 and _SCRIPT_WITHOUT_SPACES.search(word):
            tokens += (word[start : start + 2] for start in range(len(word) - 1))
        else:
            tokens.append(word)
    return tokens


def guess_language(tokens: list[str], stop_words: Mapping[str, frozenset[str]]) -> str | None:
    """Return the language whose stop words make up most of the tokens; None if there is none."""
    if not tokens:
        return None
    counts = Counter(tokens)

    def share(name: str) -> float:
        known = sum(counts[word] for word in stop_words[name] if word in counts)
        return known / len(tokens)

    best = max(LANGUAGES, key=share)
    return best if share(best) >= _MIN_SHARE else None
