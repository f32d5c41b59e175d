"""Pictures in memory: safe opening, scaling, encoding and analysis."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy
from PIL import Image, ImageOps

from raytasks import PermanentError

Format = Literal["JPEG", "PNG", "WEBP"]

EXTENSIONS: dict[Format, str] = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
LARGEST_SIDE = 16_383
"""In pixels; WEBP can hold no more."""

# Pillow reads many more formats. Some are old, and never meant for untrusted files.
_READABLE = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_COLORS = 5
_COLOR_SIDE = 256
_SHARPNESS_SIDE = 1024


class Color(TypedDict):
    """A color as `#rrggbb`, and the share of the picture (0 to 1) with about this color."""

    hex: str
    fraction: float


class Analysis(TypedDict):
    """The look of a picture. Transparent parts count as white, but not as a dominant color."""

    dominant_colors: list[Color]
    brightness: float
    sharpness: float
    perceptual_hash: str
    has_alpha: bool


@dataclass(frozen=True)
class Picture:
    """A decoded picture: RGB or RGBA, upright, and the format of its file."""

    image: Image.Image
    format: str
    icc_profile: bytes | None = None


def open_picture(data: bytes, max_pixels: int) -> Picture:
    """Decode a file: its first frame if it is animated, turned upright as its EXIF data says.

    Raises `PermanentError` if it is not an image, is damaged, or has more than `max_pixels`.
    """
    with _as_permanent("not a readable image"), warnings.catch_warnings():
        # Pillow warns of large images. Our own limit below is stricter.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=_READABLE) as opened:
            if opened.width * opened.height > max_pixels:
                raise PermanentError(
                    f"the image has {opened.width} × {opened.height} pixels; "
                    f"at most {max_pixels} are read"
                )
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            image = _to_eight_bits(upright)
            keeps_colors = upright.mode in ("RGB", "RGBA")
            return Picture(
                # A phone's JPEG that contains a second, small picture calls itself MPO.
                format="JPEG" if opened.format == "MPO" else str(opened.format),
                image=image,
                icc_profile=opened.info.get("icc_profile") if keeps_colors else None,
            )


def scaled_size(
    size: tuple[int, int], width: int | None, height: int | None, default_side: int
) -> tuple[int, int]:
    """Return the size in pixels to scale to. A missing side follows from the aspect ratio.

    If both are missing, the picture is fitted into a square of `default_side`, and never enlarged.
    """
    if width is not None and height is not None:
        return width, height
    if width is not None:
        factor = width / size[0]
    elif height is not None:
        factor = height / size[1]
    else:
        factor = min(1.0, default_side / max(size))
    other = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    return width or other[0], height or other[1]


def encode(image: Image.Image, form: Format, quality: int, icc_profile: bytes | None) -> bytes:
    """Return the picture as a file without metadata.

    For JPEG, which has no alpha, it is laid on white.

    `quality` is from 1 to 100. PNG ignores it, and is always lossless. Raises `PermanentError`.
    """
    file = io.BytesIO()
    options: dict[str, Any] = {"icc_profile": icc_profile} if icc_profile else {}
    if form == "JPEG":
        image = flattened(image)
        options |= {"quality": quality, "optimize": True, "progressive": True}
    elif form == "WEBP":
        options |= {"quality": quality}
    else:
        options |= {"optimize": True}
    with _as_permanent(f"the picture cannot be written as {form}"):
        image.save(file, form, **options)
    return file.getvalue()


def flattened(image: Image.Image) -> Image.Image:
    """Return the picture without alpha, laid on white."""
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def analyse(image: Image.Image) -> Analysis:
    """Analyse an RGB or RGBA picture.

    `brightness` is the mean luma, from 0 (black) to 1 (white). The `sharpness` is the variance of
    the Laplacian of the luma (0 to 255). For it, a larger picture is scaled down to fit 1024 ×
    1024. A plain picture has 0, and blur makes it smaller. The `perceptual_hash` is the 64-bit
    pHash in hex: pictures that look alike differ in few bits.
    """
    gray = flattened(image).convert("L")
    pixels = numpy.asarray(gray, dtype=numpy.float64)
    gray_small = gray.copy()
    gray_small.thumbnail((_SHARPNESS_SIDE, _SHARPNESS_SIDE))
    return {
        "dominant_colors": _dominant_colors(image),
        "brightness": round(float(pixels.mean()) / 255, 4),
        "sharpness": round(_laplacian_variance(gray_small), 2),
        "perceptual_hash": _perceptual_hash(gray),
        "has_alpha": image.mode == "RGBA",
    }


def _perceptual_hash(gray: Image.Image) -> str:
    """Return the pHash: which of the 64 lowest frequencies are above their median, in hex.

    As in the package imagehash: the DCT-II of the picture scaled to 32 × 32 pixels.
    """
    side, kept = 32, 8
    small = gray.resize((side, side), Image.Resampling.LANCZOS)
    pixels = numpy.asarray(small, dtype=numpy.float64)
    steps = numpy.arange(side)
    waves = 2 * numpy.cos(numpy.pi * numpy.outer(steps[:kept], 2 * steps + 1) / (2 * side))
    low = (waves @ pixels @ waves.T).round(6)  # what should be zero is not quite zero
    bits = (low > numpy.median(low)).flatten()
    return f"{int(''.join('01'[bit] for bit in bits.astype(int)), 2):0{kept * kept // 4}x}"


def _dominant_colors(image: Image.Image) -> list[Color]:
    small = image.copy()
    # Nearest, so that no colors appear that the picture does not have.
    small.thumbnail((_COLOR_SIDE, _COLOR_SIDE), Image.Resampling.NEAREST)
    pixels = numpy.asarray(small.convert("RGBA")).reshape(-1, 4)
    opaque = numpy.ascontiguousarray(pixels[pixels[:, 3] >= 128, :3])
    if not len(opaque):
        return []
    line = Image.fromarray(opaque.reshape(1, -1, 3))
    indexed = line.quantize(_COLORS, Image.Quantize.MEDIANCUT)
    counts: dict[str, int] = {}
    palette = indexed.getpalette() or []
    for count, index in indexed.getcolors() or []:
        assert isinstance(index, int)
        red, green, blue = palette[3 * index : 3 * index + 3]
        name = f"#{red:02x}{green:02x}{blue:02x}"
        counts[name] = counts.get(name, 0) + count
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [{"hex": name, "fraction": round(count / len(opaque), 4)} for name, count in ordered]


def _laplacian_variance(gray: Image.Image) -> float:
    pixels = numpy.asarray(gray, dtype=numpy.float64)
    if min(pixels.shape) < 3:
        return 0.0
    middle = pixels[1:-1, 1:-1]
    around = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
    return float((around - 4 * middle).var())


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return the picture as RGB or RGBA.

    Pillow itself would clip gray of more than 8 bits to white.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = numpy.nan_to_num(numpy.asarray(image, dtype=numpy.float64))
        low, high = (0.0, 65535.0) if image.mode != "F" else (values.min(), values.max())
        scaled = (values - low) * (255.0 / ((high - low) or 1.0))
        return Image.fromarray(scaled.clip(0, 255).round().astype(numpy.uint8)).convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


@contextmanager
def _as_permanent(message: str) -> Iterator[None]:
    """Turn every error into a `PermanentError`: Pillow raises all kinds for damaged files."""
    try:
        yield
    except (PermanentError, MemoryError):
        raise
    except Exception as error:
        raise PermanentError(f"{message}: {error or type(error).__name__}") from error
