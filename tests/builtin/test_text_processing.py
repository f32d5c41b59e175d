"""The text handler: counts that hold in every script."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from raytasks import Context
from raytasks.builtin._words import words
from raytasks.builtin.text_processing import TextPayload, TextResult, process

ESSAY = Path(__file__).parents[2] / "samples" / "essay.txt"


def run(text: str) -> TextResult:
    return process(TextPayload(text=text), Context("1", "text_processing"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two  three", ["one", "two", "three"]),
        (
            "Don’t stop, it's 'quoted' and o'clock'",
            ["Don’t", "stop", "it's", "quoted", "and", "o'clock"],
        ),
        ("well-known -- not-- -this", ["well-known", "not", "this"]),
        ("rock-'n'-roll", ["rock", "n", "roll"]),
        ("snake_case 3.14 v2", ["snake", "case", "3", "14", "v2"]),
        ("cafe\u0301 nai\u0308ve", ["cafe\u0301", "nai\u0308ve"]),
        ("\u0301alone", ["alone"]),
        ("naïve Straße Ærøskøbing", ["naïve", "Straße", "Ærøskøbing"]),
        ("Это не так-то просто", ["Это", "не", "так-то", "просто"]),
        ("यह एक वाक्य है।", ["यह", "एक", "वाक्य", "है"]),
        ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
        ("مرحبا بالعالم، كيف الحال؟", ["مرحبا", "بالعالم", "كيف", "الحال"]),
        ("٤٢ ४२ 42", ["٤٢", "४२", "42"]),
        ("👩‍👩‍👧 family 🏳️‍🌈", ["family"]),
        ("日本語 の 文", ["日本語", "の", "文"]),
        ("𝒜𝒷 𐐷𐐲", ["𝒜𝒷", "𐐷𐐲"]),
        ("... !!! — ’", []),
        (" \t\n\u3000", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert run(text)["word_count"] == len(expected)


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("abc", 3),
        ("👍🏽", 2),
        ("e\u0301", 2),
        ("é", 1),
        ("\U0001f469\u200d\U0001f467", 3),
        ("\r\n", 2),
    ],
)
def test_characters_are_code_points(text: str, characters: int) -> None:
    assert run(text)["character_count"] == characters


@pytest.mark.parametrize(
    ("text", "lines"),
    [("one", 1), ("one\n", 1), ("one\ntwo", 2), ("one\r\ntwo\rthree\u2028four", 4), ("\n\n", 2)],
)
def test_lines(text: str, lines: int) -> None:
    assert run(text)["line_count"] == lines


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dr. Smith paid $3.50 at 5 p.m. and left. Did he? Yes!", 3),
        ("No end mark", 1),
        ("First paragraph.\n\n\n\nSecond paragraph.", 2),
        ("これは文です。次の文です！", 2),
        ("   \n  ", 0),
    ],
)
def test_sentences(text: str, sentences: int) -> None:
    assert run(text)["sentence_count"] == sentences


def test_processed_text_has_single_spaces_only() -> None:
    assert run("\ufeff \t a\u00a0\u2003b\r\n\n c \x1f")["processed_text"] == "\ufeff a b c"


def test_top_words_are_casefolded_and_ties_go_to_the_first() -> None:
    result = run("zebra Straße apple STRASSE Apple strasse b c d e f g h i j")
    assert result["top_words"][:3] == [
        {"word": "strasse", "count": 3},
        {"word": "apple", "count": 2},
        {"word": "zebra", "count": 1},
    ]
    assert [entry["word"] for entry in result["top_words"][3:]] == list("bcdefgh")


def test_composed_and_decomposed_letters_are_one_word() -> None:
    assert run("été e\u0301te\u0301 ÉTÉ")["top_words"] == [{"word": "été", "count": 3}]


def test_the_essay() -> None:
    text = ESSAY.read_text(encoding="utf-8")
    result = run(text)
    assert result["word_count"] > 1500
    assert result["top_words"][0]["word"] == "the"
    assert 60 < result["sentence_count"] < 200
    # A second opinion: white-space words differ from ours only by dashes that stand alone.
    rough = [word for word in text.split() if any(map(str.isalnum, word))]
    assert abs(result["word_count"] - len(rough)) < 0.02 * len(rough)


def test_progress_is_told() -> None:
    context = Context("1", "text_processing")
    process(TextPayload(text="some words"), context)
    assert vars(context.channel)["message"] == "2 words"


@given(st.text(min_size=1))
def test_counts_fit_together(text: str) -> None:
    result = run(text)
    processed = result["processed_text"]
    assert result["character_count"] == sum(1 for _ in text)
    assert result["word_count"] == len(words(processed)), "tidying changes no word"
    assert sum(entry["count"] for entry in result["top_words"]) <= result["word_count"]
    counts = [entry["count"] for entry in result["top_words"]]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) <= 10
    assert "  " not in processed
    assert processed == processed.strip()
    assert (result["sentence_count"] == 0) == (not processed)


@given(st.text(min_size=1))
def test_words_cover_every_letter_and_digit(text: str) -> None:
    def letters(string: str) -> list[str]:
        return [c for c in string if unicodedata.category(c)[0] == "L" or c.isdecimal()]

    assert letters("".join(words(text))) == letters(text)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "Field required"),
        ({"text": ""}, "at least 1 character"),
        ({"text": None}, "valid string"),
        ({"text": 7}, "valid string"),
        ({"text": "half \ud800"}, "valid string"),
        ({"text": "x", "txt": "y"}, "Extra inputs"),
    ],
)
def test_bad_payloads_are_refused(payload: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TextPayload.model_validate(payload)
