"""Summarizes a document: by its own central sentences, or by a language model if one is set."""

from typing import Annotated, TypedDict

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from raytasks import Context, RetryPolicy, handler
from raytasks.builtin._chat import ask_for_summary, settings_from_environment
from raytasks.builtin._demonstration import demonstration_delay
from raytasks.builtin._language import joined
from raytasks.handling.builtin_extra import require

require("ai_summarization")  # an actor imports the rest at its start

_DELAY_SECONDS = 5.0


def _not_blank(document: str) -> str:
    if not document.strip():
        raise ValueError("the document is blank")
    return document


class SummaryPayload(BaseModel):
    """The document, and the maximum length of its summary."""

    model_config = ConfigDict(extra="forbid")

    document: Annotated[str, Field(min_length=1, max_length=5_000_000), AfterValidator(_not_blank)]
    max_sentences: Annotated[int, Field(ge=1, le=100)] = 3


class SummaryResult(TypedDict):
    """The summary, as one text and as sentences; lengths are in characters (code points)."""

    summary: str
    sentences: list[str]
    original_length: int
    summary_length: int
    compression_ratio: float
    method: str


@handler("ai_summarization", retry=RetryPolicy(max_attempts=3), timeout=120, actors=(1, 2))
class Summarizer:
    """Summarize a document in at most `max_sentences` sentences.

    The sentences are the document's own, in its order, with tidied white space. Chosen are those
    that have most in common with all the others (LexRank; `method` is `lexrank`). A model can write
    the summary instead; then `method` is `openai:` and the model. For this, set `SUMMARIZER_URL` to
    an OpenAI-compatible server, and `SUMMARIZER_MODEL`. The `compression_ratio` is `summary_length`
    / `original_length`.
    """

    def __init__(self) -> None:
        # Handler modules must import fast. This import takes about a second, once per actor.
        from raytasks.builtin._extractive import Extractor

        self._extractor = Extractor()

    def __call__(self, payload: SummaryPayload, context: Context) -> SummaryResult:
        """Summarize one document."""
        demonstration_delay(context, _DELAY_SECONDS)
        context.raise_if_cancelled()
        context.progress(0.1, "summarizing")
        document, most = payload.document, payload.max_sentences
        settings = settings_from_environment()
        if settings is None:
            sentences = self._extractor.extract(document, most)
            summary = joined(sentences)
        else:
            summary = ask_for_summary(settings, document, most, context.remaining_seconds)
            sentences = self._extractor.split(summary)
        return {
            "summary": summary,
            "sentences": sentences,
            "original_length": len(document),
            "summary_length": len(summary),
            "compression_ratio": round(len(summary) / len(document), 4),
            "method": "lexrank" if settings is None else f"openai:{settings.model}",
        }
