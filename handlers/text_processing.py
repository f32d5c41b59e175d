"""The built-in `text_processing`."""

from raytasks.builtin.text_processing import TextPayload, TextResult, process

__all__ = ["TextPayload", "TextResult", "process"]
