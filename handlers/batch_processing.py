"""The built-in `batch_processing`."""

from raytasks.builtin.batch_processing import BatchPayload, BatchResult, process

__all__ = ["BatchPayload", "BatchResult", "process"]
