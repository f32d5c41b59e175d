"""The built-in `image_processing`."""

from raytasks.builtin.image_processing import ImagePayload, ImageResult, process

__all__ = ["ImagePayload", "ImageResult", "process"]
