"""The built-in `ai_summarization`."""

from raytasks.builtin.ai_summarization import Summarizer, SummaryPayload, SummaryResult

__all__ = ["Summarizer", "SummaryPayload", "SummaryResult"]
