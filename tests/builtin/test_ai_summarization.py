"""The summaries: the document's own central sentences, or a model's words over real HTTP."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from raytasks import Cancelled, Context, PermanentError, RetryAfter
from raytasks.builtin._chat import ChatError, settings_from_environment
from raytasks.builtin._extractive import _stemmer
from raytasks.builtin._language import LANGUAGES, tokens_of
from raytasks.builtin._settings import SettingError
from raytasks.builtin.ai_summarization import Summarizer, SummaryPayload, SummaryResult
from raytasks.handling.context import LocalChannel
from raytasks.handling.declaration import handler_of

ESSAY = Path(__file__).parents[2] / "samples" / "essay.txt"

OFF_TOPIC_FIRST = "My sister painted her kitchen yellow last spring."
OFF_TOPIC_LAST = "Please remember to bring your own sandwiches and a raincoat on Friday."
TIDES = [
    "Ocean tides are caused by the pull of the moon on the water of the oceans.",
    "The moon pulls the water of the oceans towards it, and this makes the tides rise.",
    "The sun pulls on the oceans too, and so it changes how high the tides rise.",
    "When the moon and the sun pull together, the ocean tides are highest.",
]
ASIDES = [
    "A famous baker in Lisbon invented a biscuit with seven kinds of nuts.",
    "Nobody could explain why the old trumpet had been left in the attic.",
]

MOON = {
    "de": (
        "Guten Morgen zusammen. Die Gezeiten entstehen durch die Anziehungskraft des Mondes. Der "
        "Mond zieht das Wasser der Meere an, und so entstehen z.B. die Gezeiten. Auch die Sonne "
        "wirkt auf die Gezeiten der Meere. Meine Katze schläft gern auf dem Sofa.",
        "Mond zieht das Wasser",
    ),
    "fr": (
        "Bonjour à tous. Les marées sont causées par l'attraction de la Lune. La Lune attire l'eau "
        "des océans et crée ainsi les marées. Le Soleil agit aussi sur les marées des océans. Mon "
        "chat dort sur le canapé.",
        "La Lune attire",
    ),
    "ru": (
        "Доброе утро. Приливы возникают из-за притяжения Луны. Луна притягивает воду океанов, и "
        "поэтому возникают приливы. Солнце тоже влияет на приливы океанов. Моя кошка спит.",
        "Луна притягивает",
    ),
    "el": (
        "Καλημέρα σας. Οι παλίρροιες προκαλούνται από την έλξη της Σελήνης. Η Σελήνη έλκει το νερό "
        "της θάλασσας και προκαλεί τις παλίρροιες. Ο Ήλιος επηρεάζει επίσης τις παλίρροιες της "
        "θάλασσας. Η γάτα μου κοιμάται στον καναπέ.",
        "Σελήνη έλκει",
    ),
    "ar": (
        "صباح الخير. تحدث ظاهرة المد والجزر بسبب جاذبية القمر. يجذب القمر مياه البحار فيحدث المد "
        "والجزر. تؤثر الشمس أيضا في المد والجزر. قطتي تنام على الأريكة.",
        "المد والجزر",
    ),
    "ja": (
        "おはようございます。潮の満ち引きは月の引力によって起こります。月が海の水を引きつけるので"
        "潮の満ち引きが起こります。太陽も海の潮の満ち引きに影響します。私の猫はソファで寝ています。",
        "潮の満ち引き",
    ),
    "zh": (
        "大家早上好。潮汐是由月球的引力引起的。月球吸引海水，因此产生潮汐。太阳也影响海洋的潮汐。"
        "我的猫在沙发上睡觉。",
        "潮汐",
    ),
    "uk": (
        "Доброго ранку. Припливи виникають через тяжіння Місяця. Місяць притягує воду океанів, і "
        "тому виникають припливи. Сонце теж впливає на припливи океанів. Моя кішка спить на "
        "дивані.",
        "Місяць притягує",
    ),
    "cs": (
        "Dobré ráno všem. Příliv a odliv způsobuje přitažlivost Měsíce. Měsíc přitahuje vodu "
        "oceánů, a proto vzniká příliv i odliv. Také Slunce působí na příliv oceánů. Moje kočka "
        "spí na pohovce.",
        "Měsíc přitahuje",
    ),
    "pl": (
        "Dzień dobry wszystkim. Pływy mórz powoduje przyciąganie Księżyca. Księżyc przyciąga wodę "
        "mórz i dlatego powstają pływy. Słońce także wpływa na pływy mórz. Mój kot śpi na kanapie.",
        "Księżyc przyciąga",
    ),
    "he": (
        "בוקר טוב לכולם. הגאות והשפל נגרמים על ידי כוח המשיכה של הירח. הירח מושך את המים של "
        "הימים ולכן נוצרים הגאות והשפל. גם השמש משפיעה על הגאות והשפל של הימים. החתול שלי ישן.",
        "הירח מושך",
    ),
}


@pytest.fixture(scope="module")
def summarizer() -> Summarizer:
    return Summarizer()


def run(summarizer: Summarizer, document: str, most: int = 3) -> SummaryResult:
    payload = SummaryPayload(document=document, max_sentences=most)
    return summarizer(payload, Context("1", "ai_summarization"))


def check_result(document: str, result: SummaryResult) -> None:
    """The sentences are the document's own, in its order, and the figures fit."""
    tidied = " ".join(document.split())
    position = 0
    for sentence in result["sentences"]:
        position = tidied.index(sentence, position) + len(sentence)
    assert result["original_length"] == len(document)
    assert result["summary_length"] == len(result["summary"])
    assert result["compression_ratio"] == pytest.approx(
        result["summary_length"] / result["original_length"], abs=1e-4
    )
    assert result["method"] == "lexrank"


@pytest.mark.parametrize("seed", range(8))
def test_the_theme_is_found_wherever_it_stands(summarizer: Summarizer, seed: int) -> None:
    middle = [*TIDES, *ASIDES]
    random.Random(seed).shuffle(middle)
    document = " ".join([OFF_TOPIC_FIRST, *middle, OFF_TOPIC_LAST])
    result = run(summarizer, document)
    check_result(document, result)
    assert len(result["sentences"]) == 3
    assert set(result["sentences"]) <= set(TIDES)
    assert result["summary"] == " ".join(result["sentences"])


def test_the_first_sentences_are_no_summary(summarizer: Summarizer) -> None:
    document = " ".join([OFF_TOPIC_FIRST, *ASIDES, OFF_TOPIC_LAST, *TIDES])
    assert run(summarizer, document, 4)["sentences"] == TIDES


@pytest.mark.parametrize("language", MOON)
def test_other_languages(summarizer: Summarizer, language: str) -> None:
    document, theme = MOON[language]
    result = run(summarizer, document, 2)
    check_result(document, result)
    assert len(result["sentences"]) == 2
    assert theme in result["summary"]
    for aside in (document[:8], document[-8:]):
        assert aside not in result["summary"]
    if language in ("ja", "zh"):
        assert " " not in result["summary"]


def test_the_essay(summarizer: Summarizer) -> None:
    document = ESSAY.read_text(encoding="utf-8")
    result = run(summarizer, document, 5)
    check_result(document, result)
    assert len(result["sentences"]) == 5
    assert sum("line" in s or "queue" in s for s in result["sentences"]) >= 4
    assert result["compression_ratio"] < 0.12


def test_white_space_inside_a_sentence_is_tidied(summarizer: Summarizer) -> None:
    document = "\r\n\t" + "\n\n".join(sentence.replace(" ", " \n  ") for sentence in TIDES)
    result = run(summarizer, document, 4)
    assert result["sentences"] == TIDES
    check_result(document, result)


@pytest.mark.parametrize(
    ("document", "sentences"),
    [
        ("Only one sentence.", ["Only one sentence."]),
        ("no end mark at all", ["no end mark at all"]),
        ("One. Two. Three.", ["One.", "Two.", "Three."]),
        (
            "Dr. Smith came at 5 p.m. today. He left.",
            ["Dr. Smith came at 5 p.m. today.", "He left."],
        ),
        ("?", ["?"]),
    ],
)
def test_short_documents_come_back_whole(
    summarizer: Summarizer, document: str, sentences: list[str]
) -> None:
    assert run(summarizer, document)["sentences"] == sentences


def test_repeated_and_rephrased_sentences_count_once(summarizer: Summarizer) -> None:
    footer = "Click here to subscribe to our free weekly newsletter today!"
    twin = TIDES[0].replace("are caused", "are mostly caused")
    parts = [footer, OFF_TOPIC_FIRST, footer, TIDES[0], footer, twin, footer, *TIDES[1:], footer]
    result = run(summarizer, " ".join(parts), 3)
    assert footer not in result["sentences"]
    assert not {TIDES[0], twin} <= set(result["sentences"])


@pytest.mark.parametrize(
    "heading", ["Ocean tides, the oceans, the moon and the pull of the sun\n\n", "Ocean tides. "]
)
def test_headings_and_scraps_are_no_summary(summarizer: Summarizer, heading: str) -> None:
    document = heading + " ".join([*TIDES, *ASIDES])
    for most in (1, 2, 3):
        assert set(run(summarizer, document, most)["sentences"]) <= set(TIDES)


@pytest.mark.parametrize("count", [2_500, 8_000])
def test_very_long_documents_are_quick(summarizer: Summarizer, count: int) -> None:
    source = random.Random(7)
    letters = "abcdefghijklmnoprstuvw"
    lexicon = ["".join(source.choices(letters, k=source.randint(3, 10))) for _ in range(9_000)]
    noise = [" ".join(source.choices(lexicon, k=15)).capitalize() + "." for _ in range(count)]
    for place, sentence in enumerate(TIDES, 1):
        noise[place * count // 6] = sentence
        for again in range(count // 80):  # a theme: one sentence of twenty is about it
            words = source.choices(lexicon, k=4)
            theme = f"The {words[0]} tides of the {words[1]} oceans rise with the {words[2]} moon."
            noise[place * count // 6 + 5 + again] = theme
    document = " ".join(noise)
    started = time.monotonic()
    result = run(summarizer, document, 10)
    assert time.monotonic() - started < 10
    check_result(document, result)
    assert sum("moon" in sentence for sentence in result["sentences"]) == 10


@pytest.mark.parametrize("language", LANGUAGES)
@example("漢字")
@example("aB漢字")
@example("ǅ")
@given(st.text(min_size=1))
def test_a_stemmer_takes_every_word(language: str, text: str) -> None:
    """Other scripts and mixed cases too: no stemmer warns or fails (warnings are errors here)."""
    stem = STEMMERS.setdefault(language, _stemmer(language))
    assert all(isinstance(stem(token), str) for token in [text, *tokens_of(text)])


STEMMERS: dict[str, Any] = {}  # Hypothesis and fixtures do not go together well


@example("aby漢字 ale ano漢字漢字. aB漢字 ani. Asi 漢字.", 1)  # taken for Czech
@given(
    st.text(alphabet="aB é.!?。\n\"'漢字の 1-…😀", min_size=1).filter(str.strip)
    | st.text(min_size=1).filter(str.strip),
    st.integers(1, 5),
)
def test_any_text_has_a_summary(document: str, most: int) -> None:
    result = run(SHARED, document, most)
    check_result(document, result)
    assert 1 <= len(result["sentences"]) <= most
    assert all(sentence == " ".join(sentence.split()) for sentence in result["sentences"])


SHARED = Summarizer()  # Hypothesis and fixtures do not go together well


def test_cancelling(summarizer: Summarizer) -> None:
    context = Context("1", "ai_summarization", channel=LocalChannel(is_cancelled=True))
    with pytest.raises(Cancelled):
        summarizer(SummaryPayload(document="A text."), context)


def test_importing_is_light_and_running_needs_no_data(tmp_path: Path) -> None:
    code = """
import sys
import raytasks.builtin.ai_summarization as module
import raytasks.builtin.batch_processing, raytasks.builtin.text_processing
heavy = {"numpy", "ray", "scipy", "snowballstemmer", "stopwordsiso"} & set(sys.modules)
assert not heavy, heavy
import socket
def refuse(*args, **more):
    raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = refuse
from raytasks import Context
payload = module.SummaryPayload(document="The tide rises. The tide falls. A cat.", max_sentences=1)
print(module.Summarizer()(payload, Context("1", "x"))["summary"])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(root), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("The tide rises.", "The tide falls.")


def test_it_is_loaded_once_per_actor() -> None:
    assert handler_of(Summarizer).actors == (1, 2)


class Model(BaseHTTPRequestHandler):
    """A chat server: answers what the test put into `answer`, and keeps what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.seen.append((self.path, dict(self.headers), json.loads(body)))
        status, answer, headers = server.answer
        if status == 0:
            server.quiet.wait(10)
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        server.daemon_threads = True
        fake: Any = server
        fake.seen, fake.quiet = [], threading.Event()
        fake.answer = (
            200,
            {"choices": [{"message": {"content": "Tides rise. \n They fall."}}]},
            {},
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("SUMMARIZER_URL", f"http://127.0.0.1:{server.server_address[1]}/v1/")
        monkeypatch.setenv("SUMMARIZER_MODEL", "small-model")
        monkeypatch.setenv("SUMMARIZER_API_KEY", "sk-very-secret")
        yield fake
        fake.quiet.set()
        server.shutdown()
        thread.join()


def test_a_model_writes_the_summary(summarizer: Summarizer, model: Any) -> None:
    document = " ".join(TIDES)
    result = run(summarizer, document, 2)
    assert result["summary"] == "Tides rise. They fall."
    assert result["sentences"] == ["Tides rise.", "They fall."]
    assert result["method"] == "openai:small-model"
    assert result["summary_length"] == 22
    assert result["compression_ratio"] == round(22 / len(document), 4)
    path, headers, body = model.seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-very-secret"
    assert body["model"] == "small-model"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "at most 2 sentences" in body["messages"][0]["content"]
    assert body["messages"][1]["content"] == document


def test_without_a_key_none_is_sent(
    summarizer: Summarizer, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUMMARIZER_API_KEY")
    run(summarizer, "A text.")
    assert "Authorization" not in model.seen[0][1]


@pytest.mark.parametrize(("header", "seconds"), [({"Retry-After": "17"}, 17.0), ({}, 30.0)])
def test_too_many_requests(
    summarizer: Summarizer, model: Any, header: dict[str, str], seconds: float
) -> None:
    model.answer = (429, {"error": "slow down"}, header)
    with pytest.raises(RetryAfter, match="slow down") as caught:
        run(summarizer, "A text.")
    assert caught.value.seconds == seconds


@pytest.mark.parametrize(
    ("status", "answer", "error", "message"),
    [
        (400, {"error": "context too long"}, PermanentError, "answered 400: .*context too long"),
        (401, {"error": "bad key"}, PermanentError, "answered 401"),
        (404, b"no such model", PermanentError, "answered 404: no such model"),
        (302, b"", PermanentError, "answered 302"),
        (500, b"oops", ChatError, "answered 500: oops"),
        (503, b"x" * 9000, ChatError, "answered 503: x{300}$"),
        (200, b"no json", ChatError, "without a summary"),
        (200, b"[]", ChatError, "without a summary"),
        (200, {"choices": []}, ChatError, "without a summary"),
        (200, {"choices": [{"message": {"content": None}}]}, ChatError, "without a summary"),
        (200, {"choices": [{"message": {"content": "  "}}]}, ChatError, "without a summary"),
    ],
)
def test_answers_that_are_no_summary(
    summarizer: Summarizer,
    model: Any,
    status: int,
    answer: Any,
    error: type[Exception],
    message: str,
) -> None:
    model.answer = (status, answer, {})
    with pytest.raises(error, match=message) as caught:
        run(summarizer, "A text.")
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, PermanentError) == (error is PermanentError)


def test_a_server_that_does_not_answer(
    summarizer: Summarizer, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.answer = (0, b"", {})
    monkeypatch.setenv("SUMMARIZER_TIMEOUT_SECONDS", "0.2")
    with pytest.raises(ChatError, match=r"did not answer in 0\.2 seconds"):
        run(summarizer, "A text.")


def test_the_attempt_s_own_time_is_a_limit_too(summarizer: Summarizer, model: Any) -> None:
    model.answer = (0, b"", {})
    context = Context("1", "ai_summarization", deadline=time.time() + 0.3)
    started = time.monotonic()
    with pytest.raises(ChatError, match="did not answer"):
        summarizer(SummaryPayload(document="A text."), context)
    assert time.monotonic() - started < 5


def test_nobody_listens(summarizer: Summarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUMMARIZER_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("SUMMARIZER_MODEL", "m")
    with pytest.raises(ChatError, match=r"http://127.0.0.1:1/v1: "):
        run(summarizer, "A text.")


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_from_environment() is None
    monkeypatch.setenv("SUMMARIZER_URL", "example.com")
    with pytest.raises(SettingError, match="http or https"):
        settings_from_environment()
    monkeypatch.setenv("SUMMARIZER_URL", "https://example.com/v1")
    with pytest.raises(SettingError, match="SUMMARIZER_MODEL must name a model"):
        settings_from_environment()
    monkeypatch.setenv("SUMMARIZER_MODEL", "m")
    monkeypatch.setenv("SUMMARIZER_API_KEY", "secret")
    assert "secret" not in repr(settings_from_environment())


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "Field required"),
        ({"document": ""}, "at least 1 character"),
        ({"document": " \n\t "}, "the document is blank"),
        ({"document": ["x"]}, "valid string"),
        ({"document": "x", "max_sentences": 0}, "greater than or equal to 1"),
        ({"document": "x", "max_sentences": 101}, "less than or equal to 100"),
        ({"document": "x", "max_sentences": 2.5}, "valid integer"),
        ({"document": "x", "model": "y"}, "Extra inputs"),
    ],
)
def test_bad_payloads_are_refused(payload: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SummaryPayload.model_validate(payload)
