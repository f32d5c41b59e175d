"""Fetches an image, scales and compresses it, and describes how it looks."""

from typing import Annotated, TypedDict

from PIL import Image
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from raytasks import Context, PermanentError, RetryPolicy, handler
from raytasks.builtin._demonstration import demonstration_delay
from raytasks.builtin._image_source import check_source, load
from raytasks.builtin._picture import (
    EXTENSIONS,
    LARGEST_SIDE,
    Analysis,
    Format,
    analyse,
    encode,
    open_picture,
    scaled_size,
)
from raytasks.builtin._settings import number

_MAX_PIXELS = 40_000_000
_DEFAULT_SIDE = 800
_DEFAULT_QUALITY = 75
_RESIZED_QUALITY = 90
_DELAY_SECONDS = 4.0


def _format_name(value: object) -> object:
    name = value.strip().upper() if isinstance(value, str) else value
    return "JPEG" if name == "JPG" else name


class ImagePayload(BaseModel):
    """Where the image is, and what to make of it."""

    model_config = ConfigDict(extra="forbid")

    image_url: Annotated[
        str,
        Field(min_length=1, description="An https:, http: or data: URL."),
        AfterValidator(check_source),
    ]
    width: Annotated[int | None, Field(ge=1, le=LARGEST_SIDE, description="In pixels.")] = None
    height: Annotated[int | None, Field(ge=1, le=LARGEST_SIDE, description="In pixels.")] = None
    quality: Annotated[
        int, Field(ge=1, le=100, description="Of the compressed file; PNG has none.")
    ] = _DEFAULT_QUALITY
    format: Annotated[Format, BeforeValidator(_format_name)] = "JPEG"


class FileFacts(TypedDict):
    """An image file: its size in pixels and in bytes."""

    width: int
    height: int
    format: str
    bytes: int


class ImageResult(TypedDict):
    """The analysis of the image, and the files made of it. URLs are paths below the API."""

    original: FileFacts
    resized_url: str
    compressed_url: str
    resized: FileFacts
    compressed: FileFacts
    analysis: Analysis


@handler("image_processing", retry=RetryPolicy(max_attempts=3), timeout=120)
def process(payload: ImagePayload, context: Context) -> ImageResult:
    """Fetch an image, make a scaled and a compressed copy of it, and describe how it looks.

    The resized copy has the given width and height, at a high quality. If one is missing, it
    follows from the aspect ratio. If both are, the copy fits 800 × 800, and is never enlarged. The
    compressed copy has all the pixels of the original, at `quality`. Both are in `format`: JPEG
    (transparent parts become white), PNG or WEBP. Sizes are those of the upright image, as its EXIF
    data says. Of an animated image, only the first frame is used. Metadata is not copied.

    Images come only from public hosts, and from those in `FETCH_ALLOWED_HOSTS`. A file that is no
    image, is damaged or is too large fails for good. A host that does not answer is tried again.
    """
    max_pixels = int(number("IMAGE_MAX_PIXELS", _MAX_PIXELS))
    demonstration_delay(context, _DELAY_SECONDS)
    context.progress(0.0, "fetching")
    data = load(payload.image_url, context)
    context.raise_if_cancelled()
    context.progress(0.3, "decoding")
    picture = open_picture(data, max_pixels)
    image, form = picture.image, payload.format

    size = scaled_size(image.size, payload.width, payload.height, _DEFAULT_SIDE)
    if size[0] * size[1] > max_pixels or max(size) > LARGEST_SIDE:
        raise PermanentError(f"{size[0]} × {size[1]} pixels are too many to scale to")
    context.progress(0.5, "scaling")
    small = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
    resized = encode(small, form, _RESIZED_QUALITY, picture.icc_profile)
    context.raise_if_cancelled()
    context.progress(0.7, "compressing")
    compressed = encode(image, form, payload.quality, picture.icc_profile)
    context.raise_if_cancelled()
    context.progress(0.9, "looking")
    analysis = analyse(image)
    return {
        "original": _facts(image, picture.format, data),
        "resized_url": context.save_artifact(f"resized.{EXTENSIONS[form]}", resized),
        "compressed_url": context.save_artifact(f"compressed.{EXTENSIONS[form]}", compressed),
        "resized": _facts(small, form, resized),
        "compressed": _facts(image, form, compressed),
        "analysis": analysis,
    }


def _facts(image: Image.Image, form: str, data: bytes) -> FileFacts:
    return {"width": image.width, "height": image.height, "format": form, "bytes": len(data)}
