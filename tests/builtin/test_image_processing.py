"""The image handler, on files that it makes itself, and on files that nobody should send."""

import base64
import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageDraw, ImageFilter
from pydantic import ValidationError

from raytasks import Cancelled, Context, PermanentError
from raytasks.builtin._picture import analyse, open_picture, scaled_size
from raytasks.builtin.image_processing import ImagePayload, ImageResult, process
from raytasks.handling.context import LocalChannel
from raytasks.handling.guarded_connection import FetchError

LANDSCAPE = Path(__file__).parents[2] / "samples" / "landscape.jpg"
ReadArtifact = Callable[[str], bytes]


def file_of(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def run(data: bytes, context: Context, **more: Any) -> ImageResult:
    payload = ImagePayload.model_validate({"image_url": data_url(data)} | more)
    return process(payload, context)


def photo(width: int = 300, height: int = 200) -> Image.Image:
    """Something with edges, a gradient and a direction: no two turns of it are alike."""
    image = Image.radial_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 4, height // 4), fill="red")
    draw.line((0, height, width, height // 2), fill="blue", width=5)
    return image


def test_the_landscape(context: Context, read_artifact: ReadArtifact) -> None:
    data = LANDSCAPE.read_bytes()
    result = run(data, context)
    assert result["original"] == {
        "width": 1280,
        "height": 853,
        "format": "JPEG",
        "bytes": len(data),
    }
    resized = read_artifact(result["resized_url"])
    compressed = read_artifact(result["compressed_url"])
    assert result["resized"] == {
        "width": 800,
        "height": 533,
        "format": "JPEG",
        "bytes": len(resized),
    }
    assert result["compressed"]["bytes"] == len(compressed) < len(data)
    assert Image.open(io.BytesIO(resized)).size == (800, 533)
    assert Image.open(io.BytesIO(compressed)).size == (1280, 853)
    assert result["resized_url"].endswith("/resized.jpg")
    analysis = result["analysis"]
    assert 0.2 < analysis["brightness"] < 0.8
    assert len(analysis["dominant_colors"]) == 5
    assert sum(color["fraction"] for color in analysis["dominant_colors"]) == pytest.approx(
        1, abs=0.001
    )
    assert not analysis["has_alpha"]
    assert int(analysis["perceptual_hash"], 16) < 2**64


def test_the_compressed_copy_is_the_picture(context: Context, read_artifact: ReadArtifact) -> None:
    result = run(file_of(photo()), context, quality=90)
    copy = Image.open(io.BytesIO(read_artifact(result["compressed_url"]))).convert("RGB")
    difference = numpy.asarray(copy, float) - numpy.asarray(photo(), float)
    assert numpy.abs(difference).mean() < 4


def test_quality_counts(context: Context) -> None:
    sizes = [
        run(LANDSCAPE.read_bytes(), context, quality=q)["compressed"]["bytes"] for q in (10, 50, 95)
    ]
    assert sizes[0] < sizes[1] / 2 < sizes[2] / 4


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 150}, (150, 100)),
        ({"height": 50}, (75, 50)),
        ({"width": 50, "height": 70}, (50, 70)),
        ({"width": 600}, (600, 400)),
        ({}, (300, 200)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_sizes(context: Context, asked: dict[str, int], size: tuple[int, int]) -> None:
    result = run(file_of(photo()), context, **asked)
    assert (result["resized"]["width"], result["resized"]["height"]) == size


def test_scaled_size() -> None:
    assert scaled_size((4000, 3000), None, None, 800) == (800, 600)
    assert scaled_size((3, 2), None, None, 800) == (3, 2)
    assert scaled_size((5000, 2), None, None, 800) == (800, 1)
    assert scaled_size((333, 777), 333, None, 800) == (333, 777)


@pytest.mark.parametrize(
    ("asked", "form", "ending"),
    [
        ("JPEG", "JPEG", "jpg"),
        ("jpg", "JPEG", "jpg"),
        ("png", "PNG", "png"),
        (" WebP ", "WEBP", "webp"),
    ],
)
def test_formats(
    context: Context, read_artifact: ReadArtifact, asked: str, form: str, ending: str
) -> None:
    result = run(file_of(photo()), context, format=asked)
    for name, facts in (("resized", result["resized"]), ("compressed", result["compressed"])):
        url = str(dict(result)[f"{name}_url"])
        assert url.endswith(f"/{name}.{ending}")
        assert Image.open(io.BytesIO(read_artifact(url))).format == form == facts["format"]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG", "AVIF"])
def test_sources(context: Context, form: str) -> None:
    result = run(file_of(photo(), form), context)
    assert result["original"]["format"] == form
    assert result["original"]["width"] == 300


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_modes(context: Context, mode: str) -> None:
    source = Image.new(mode, (20, 10)) if mode == "I;16" else photo(20, 10).convert(mode)
    data = file_of(source, "TIFF" if mode == "CMYK" else "PNG")
    assert run(data, context)["analysis"]["has_alpha"] == (mode in ("LA", "RGBA"))


def test_deep_gray_is_scaled_and_not_clipped() -> None:
    deep = Image.fromarray(numpy.full((8, 8), 32768, numpy.uint16))
    picture = open_picture(file_of(deep), 1000)
    assert picture.image.getpixel((3, 3)) == (128, 128, 128)


def test_alpha_is_laid_on_white_for_jpeg(context: Context, read_artifact: ReadArtifact) -> None:
    glass = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    glass.paste((0, 0, 255, 255), (0, 0, 32, 64))
    result = run(file_of(glass), context)
    flat = Image.open(io.BytesIO(read_artifact(result["compressed_url"])))
    assert min(flat.getpixel((60, 30))) > 245  # type: ignore[arg-type]
    assert result["analysis"]["has_alpha"]
    assert result["analysis"]["dominant_colors"] == [{"hex": "#0000ff", "fraction": 1.0}]
    kept = run(file_of(glass), context, format="PNG")
    again = Image.open(io.BytesIO(read_artifact(kept["resized_url"])))
    assert again.convert("RGBA").getpixel((60, 30))[3] == 0  # type: ignore[index]


def test_a_transparent_palette_counts_as_alpha(context: Context) -> None:
    image = photo(20, 20).quantize(8)
    assert run(file_of(image, transparency=0), context)["analysis"]["has_alpha"]
    nothing = Image.new("RGBA", (9, 9))
    analysis = run(file_of(nothing), context)["analysis"]
    assert analysis["dominant_colors"] == []
    assert analysis["brightness"] == 1.0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(
    context: Context, read_artifact: ReadArtifact, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Secret Camera"
    result = run(file_of(photo(), "JPEG", exif=exif, quality=95), context, format="PNG")
    turned = orientation >= 5
    assert (result["original"]["width"], result["original"]["height"]) == (
        (200, 300) if turned else (300, 200)
    )
    data = read_artifact(result["compressed_url"])
    upright = Image.open(io.BytesIO(data))
    assert not upright.getexif()
    assert b"Secret" not in data
    # Where the red corner goes: what orientation n says of the first row and the first column.
    x, y = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[
        orientation
    ]
    corner = (5 if not x else upright.width - 6, 5 if not y else upright.height - 6)
    red, green, blue = upright.convert("RGB").getpixel(corner)  # type: ignore[misc]
    assert red > 200 > 100 > max(green, blue)


def test_the_first_frame_of_an_animation(context: Context) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in ("lime", "red", "blue")]
    for form in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if form == "WEBP" else {}
        data = file_of(frames[0], form, save_all=True, append_images=frames[1:], **options)
        result = run(data, context)
        assert result["original"]["format"] == form
        assert [c["hex"] for c in result["analysis"]["dominant_colors"]] == ["#00ff00"]


def test_analysis_of_colors_and_brightness() -> None:
    flag = Image.new("RGB", (100, 100), "#ff8000")
    flag.paste("#000080", (0, 0, 100, 25))
    assert analyse(flag)["dominant_colors"] == [
        {"hex": "#ff8000", "fraction": 0.75},
        {"hex": "#000080", "fraction": 0.25},
    ]
    assert analyse(Image.new("RGB", (5, 5), "white"))["brightness"] == 1.0
    assert analyse(Image.new("RGB", (5, 5), "black"))["brightness"] == 0.0
    assert analyse(Image.new("RGB", (5, 5), (51, 51, 51)))["brightness"] == 0.2


def test_sharpness_tells_sharp_from_blurred() -> None:
    sharp = Image.open(LANDSCAPE).convert("RGB")
    values = [
        analyse(sharp.filter(ImageFilter.GaussianBlur(radius)))["sharpness"] for radius in (0, 1, 4)
    ]
    assert values[0] > 2 * values[1] > 4 * values[2]
    assert analyse(Image.new("RGB", (50, 50), "gray"))["sharpness"] == 0.0
    assert analyse(Image.new("RGB", (2, 50), "gray"))["sharpness"] == 0.0


def test_the_perceptual_hash_survives_scaling_and_not_another_picture() -> None:
    def bits(one: Image.Image, other: Image.Image) -> int:
        hashes = [int(analyse(image)["perceptual_hash"], 16) for image in (one, other)]
        return (hashes[0] ^ hashes[1]).bit_count()

    landscape = Image.open(LANDSCAPE).convert("RGB")
    assert bits(landscape, landscape.resize((200, 133))) <= 6
    assert bits(landscape, landscape.transpose(Image.Transpose.FLIP_TOP_BOTTOM)) > 15


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_000, 10_000, 20_000, 60_000])
def test_decompression_bombs(context: Context, side: int) -> None:
    with pytest.raises(PermanentError, match=r"at most 40000000 are read|decompression bomb"):
        run(png_that_claims(side, side), context)


@pytest.mark.parametrize(
    "data",
    [
        b"not an image at all",
        b"<html><body>404</body></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"\x00" * 100,
        b"P6 1 1 255\nrgb",  # an image, but of a kind that is not read
        png_that_claims(100, 100),
        png_that_claims(0, 0),
    ],
)
def test_what_is_no_image_fails_for_good(context: Context, data: bytes) -> None:
    with pytest.raises(PermanentError, match="not a readable image"):
        run(data, context)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_fail_for_good(context: Context, form: str, share: float) -> None:
    data = file_of(photo(), form)
    with pytest.raises(PermanentError, match="not a readable image"):
        run(data[: int(len(data) * share)], context)


def test_limits_are_settings(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(photo())
    monkeypatch.setenv("IMAGE_MAX_PIXELS", "59999")
    with pytest.raises(PermanentError, match=r"300 × 200 pixels; at most 59999"):
        run(data, context)
    monkeypatch.setenv("IMAGE_MAX_PIXELS", "60000")
    assert run(data, context)["original"]["width"] == 300
    with pytest.raises(PermanentError, match="too many to scale to"):
        run(data, context, width=301)
    monkeypatch.setenv("IMAGE_MAX_BYTES", str(len(data) - 1))
    with pytest.raises(PermanentError, match="larger than"):
        run(data, context)


def test_a_side_that_grows_out_of_bounds(context: Context) -> None:
    needle = Image.new("RGB", (1, 400))
    with pytest.raises(PermanentError, match="too many to scale to"):
        run(file_of(needle), context, width=16_000)


def test_cancelling(context: Context) -> None:
    context.channel = LocalChannel(is_cancelled=True)
    with pytest.raises(Cancelled):
        run(file_of(photo()), context)


@pytest.fixture
def site() -> Iterator[str]:
    picture = file_of(photo())

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/photo.png" else 503)
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_over_http(context: Context, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = ImagePayload(image_url=f"http://{site}/photo.png")
    with pytest.raises(PermanentError, match=r"127.0.0.1 is not a public address"):
        process(payload, context)
    monkeypatch.setenv("FETCH_ALLOWED_HOSTS", site)
    assert process(payload, context)["original"]["width"] == 300
    with pytest.raises(FetchError, match="answered 503"):
        process(ImagePayload(image_url=f"http://{site}/gone.png"), context)


def test_data_urls_of_other_kinds(context: Context) -> None:
    data = file_of(photo(8, 8))
    percent = "".join(f"%{byte:02x}" for byte in data)
    for url in (
        f"data:image/png,{percent}",
        data_url(data).rstrip("="),
        data_url(data).replace("data", "DATA"),
    ):
        assert process(ImagePayload(image_url=url), context)["original"]["width"] == 8


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "Field required"),
        ({"image_url": ""}, "at least 1 character"),
        ({"image_url": "ftp://example.com/a.png"}, "only http and https"),
        ({"image_url": "file:///etc/passwd"}, "only http and https"),
        ({"image_url": "a.png"}, "only http and https"),
        ({"image_url": "https://"}, "names no host"),
        ({"image_url": "https://me:pw@example.com/"}, "user name or password"),
        ({"image_url": "data:image/png;base64"}, "needs a comma"),
        ({"image_url": "data:image/png;base64,"}, "is empty"),
        ({"image_url": "data:image/png;base64,!!!!"}, "not good base64"),
        ({"image_url": "https://example.com/", "width": 0}, "greater than or equal to 1"),
        ({"image_url": "https://example.com/", "height": 16_384}, "less than or equal to 16383"),
        ({"image_url": "https://example.com/", "quality": 101}, "less than or equal to 100"),
        ({"image_url": "https://example.com/", "format": "TIFF"}, "'JPEG', 'PNG' or 'WEBP'"),
        ({"image_url": "https://example.com/", "format": 3}, "'JPEG', 'PNG' or 'WEBP'"),
        ({"image_url": "https://example.com/", "rotate": 3}, "Extra inputs"),
    ],
)
def test_bad_payloads_are_refused(payload: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImagePayload.model_validate(payload)
