"""Finds the central sentences of a document by continuous LexRank.

The method is that of Erkan and Radev, "LexRank: Graph-based Lexical Centrality as Salience in Text
Summarization" (2004), section 3.3. The matrix of similarities is never built: it is the product of
the sentences' vectors with themselves. So memory and time grow with the length of the text.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy
import regex
import snowballstemmer
import stopwordsiso
from numpy.typing import NDArray

from raytasks.builtin._language import LANGUAGES, guess_language, sentences_of, tokens_of

_DAMPING = 0.85
_LARGEST_CHANGE = 1e-6
_MAX_ROUNDS = 100
_TOO_ALIKE = 0.6
"""Two sentences with a higher cosine than this say the same; only one is kept."""
_FULL_LENGTH = 5
"""Sentences with fewer words (without stop words) lose rank: they say little alone."""

_END = regex.compile(r"[\p{Sentence_Terminal}…][\p{Pe}\p{Pf}\p{Pi}\"']*$")

_Vector = NDArray[numpy.float64]


class Extractor:
    """Summarizes documents in any language. Loading takes a moment, so keep one."""

    def __init__(self) -> None:
        self._stop_words = {
            name: frozenset(stopwordsiso.stopwords(code)) for name, code in LANGUAGES.items()
        }

    def extract(self, document: str, most: int) -> list[str]:
        """Return the central sentences of the document, at most `most`, in its order."""
        language = self._language(document)
        sentences = sentences_of(document, LANGUAGES.get(language or "", "en"))
        if len(sentences) <= most:
            return sentences
        # A repeated sentence (a footer on each page) must not raise its own rank.
        unique = list(dict.fromkeys(sentences))
        stem = _stemmer(language)
        stop_words = self._stop_words.get(language or "", frozenset())
        words = [tokens_of(sentence) for sentence in unique]
        # The stop lists are long: "line" is a stop word, and may be the theme. "Lines" is not one,
        # so it makes "line" count.
        telling = {stem(w) for some in words for w in some if w not in stop_words}
        stems = [Counter(map(stem, some)) for some in words]
        themes = [Counter({w: n for w, n in some.items() if w in telling}) for some in stems]
        # Stop words tell two sentences on one theme from two that say the same.
        chosen = _Vectors(stems).pick(_by_rank(unique, themes), most)
        return [unique[index] for index in sorted(chosen)]

    def split(self, text: str) -> list[str]:
        """Return all the sentences of a text."""
        return sentences_of(text, LANGUAGES.get(self._language(text) or "", "en"))

    def _language(self, text: str) -> str | None:
        return guess_language(tokens_of(text), self._stop_words)


def _by_rank(sentences: Sequence[str], themes: Sequence[Counter[str]]) -> list[int]:
    """Return the indices of the sentences, the central ones first."""
    lengths = numpy.array([bag.total() for bag in themes], dtype=numpy.float64)
    scores = _Vectors(themes).centrality() * numpy.minimum(1.0, lengths / _FULL_LENGTH)
    order = numpy.lexsort((numpy.arange(len(themes)), -scores, _fragments(sentences)))
    ranked: list[int] = order.tolist()
    return ranked


class _Vectors:
    """The sentences as vectors of length 1: each stem's count, weighted by the stem's rarity."""

    def __init__(self, bags: Sequence[Counter[str]]) -> None:
        self.count = len(bags)
        columns: dict[str, int] = {}
        for bag in bags:
            for stem in bag:
                columns.setdefault(stem, len(columns))
        self._width = len(columns)
        self._rows = numpy.repeat(numpy.arange(self.count), [len(bag) for bag in bags])
        self._columns = numpy.array(
            [columns[stem] for bag in bags for stem in bag], dtype=numpy.intp
        )
        counts = numpy.array([n for bag in bags for n in bag.values()], dtype=numpy.float64)
        in_sentences = numpy.bincount(self._columns, minlength=self._width)
        # Smoothed, so that the theme, which is in almost every sentence, keeps some weight.
        values = counts * numpy.log1p(self.count / in_sentences[self._columns])
        norms = numpy.sqrt(numpy.bincount(self._rows, values**2, minlength=self.count))
        self._values: _Vector = values / norms[self._rows]

    def similarities(self, weights: _Vector) -> _Vector:
        """Return, for each sentence, the weighted sum of its cosines with the others."""
        centre = numpy.bincount(
            self._columns, self._values * weights[self._rows], minlength=self._width
        )
        sums = numpy.bincount(
            self._rows, self._values * centre[self._columns], minlength=self.count
        )
        return sums - weights * (numpy.bincount(self._rows, minlength=self.count) > 0)

    def centrality(self) -> _Vector:
        """Return the LexRank of each sentence; they add up to about 1."""
        degrees = self.similarities(numpy.ones(self.count)).clip(0.0)
        inverse = numpy.divide(1.0, degrees, out=numpy.zeros(self.count), where=degrees > 1e-9)
        ranks = numpy.full(self.count, 1.0 / self.count)
        for _ in range(_MAX_ROUNDS):
            flow = self.similarities(ranks * inverse).clip(0.0)
            new = (1 - _DAMPING * flow.sum()) / self.count + _DAMPING * flow
            change = float(numpy.abs(new - ranks).sum())
            ranks = new
            if change < _LARGEST_CHANGE:
                break
        return ranks

    def pick(self, order: Sequence[int], most: int) -> list[int]:
        """Return the first `most` of the order, without those that repeat an earlier one."""
        nearest = numpy.zeros(self.count)
        chosen: list[int] = []
        repeats: list[int] = []
        for index in order:
            if len(chosen) == most:
                break
            if nearest[index] > _TOO_ALIKE:
                repeats.append(index)
                continue
            chosen.append(index)
            only = numpy.zeros(self.count)
            only[index] = 1.0
            nearest = numpy.maximum(nearest, self.similarities(only))
        return (chosen + repeats)[:most]


_STEMMERS: Mapping[str, str] = {"slovak": "czech"} | {
    name: name for name in LANGUAGES if name in snowballstemmer.algorithms()
}
"""The Snowball stemmer of each language that has one; the Czech one serves Slovak too."""

_WITHOUT_CASE = frozenset({"arabic"})
"""Languages with a stemmer whose letters have no case."""


def _stemmer(language: str | None) -> Callable[[str], str]:
    """Return a stemmer with a cache. If the language has none, it returns words unchanged.

    Stemmers know only the letters of their language. So a word without small letters (a number,
    Chinese in a Czech text) stays as it is.
    """
    name = _STEMMERS.get(language or "")
    if name is None:
        return str
    stemmer = snowballstemmer.stemmer(name)
    takes_all = language in _WITHOUT_CASE

    @lru_cache(maxsize=100_000)
    def stem(word: str) -> str:
        return str(stemmer.stemWord(word)) if takes_all or word.islower() else word

    return stem


def _fragments(sentences: Sequence[str]) -> NDArray[numpy.bool_]:
    """Return which sentences are fragments, such as headings: they come last.

    In a text where most sentences have no end mark (Thai, verse, lists), none is a fragment.
    """
    unended = numpy.array([_END.search(sentence) is None for sentence in sentences])
    return unended if unended.mean() < 0.5 else numpy.zeros_like(unended)
