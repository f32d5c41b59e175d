"""Counts and tidies a text, correctly for every script in Unicode."""

import unicodedata
from collections import Counter
from typing import Annotated, TypedDict

import sentencex
from pydantic import BaseModel, ConfigDict, Field

from raytasks import Context, RetryPolicy, handler
from raytasks.builtin._demonstration import demonstration_delay
from raytasks.builtin._words import words

_TOP_WORDS = 10
_DELAY_SECONDS = 3.0


class TextPayload(BaseModel):
    """The text to look at."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=5_000_000)]


class WordCount(TypedDict):
    """A word, casefolded, and how often it occurs."""

    word: str
    count: int


class TextResult(TypedDict):
    """The counts, and the text with its white space tidied."""

    word_count: int
    character_count: int
    line_count: int
    sentence_count: int
    processed_text: str
    top_words: list[WordCount]


@handler("text_processing", retry=RetryPolicy(max_attempts=3), timeout=60)
def process(payload: TextPayload, context: Context) -> TextResult:
    """Count the words, characters, lines and sentences of a text, and tidy its white space.

    `character_count` counts Unicode code points. A word is a longest run of letters and digits,
    with the apostrophes and hyphens inside it. In `processed_text` each run of white space is one
    space, and there is none at the ends. The ten most frequent words are `top_words`, casefolded.
    Of equally frequent words, the one that appears first comes first.
    """
    text = payload.text
    demonstration_delay(context, _DELAY_SECONDS)
    found = words(text)
    context.progress(0.5, f"{len(found)} words")
    return {
        "word_count": len(found),
        "character_count": len(text),
        "line_count": len(text.splitlines()),
        "sentence_count": sum(1 for sentence in sentencex.segment("en", text) if sentence.strip()),
        "processed_text": " ".join(text.split()),
        "top_words": _top_words(found),
    }


def _top_words(found: list[str]) -> list[WordCount]:
    # NFC, so that "é" as one code point and as two is the same word. `most_common` keeps the order
    # of first appearance among equal counts.
    counts = Counter(unicodedata.normalize("NFC", word.casefold()) for word in found)
    return [{"word": word, "count": count} for word, count in counts.most_common(_TOP_WORDS)]
