"""Draws landscape.jpg: a sunset behind hills, with the grain of a photograph.

Run it by its path: `python samples/make_image.py`. The same picture comes out each time.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

WIDTH, HEIGHT = 1280, 853
HORIZON = 0.62
SUN = (0.68, 0.47)

Array = NDArray[np.float64]


def smooth_noise(random: np.random.Generator, shape: tuple[int, int], cells: int) -> Array:
    """Return noise from 0 to 1 whose features are about 1 / `cells` of the width."""
    coarse = random.random((max(2, cells * shape[0] // shape[1]), cells))
    image = Image.fromarray(coarse.astype(np.float32))
    fine = image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(fine, dtype=np.float64).clip(0, 1)


def blend(first: Array, second: Array, share: Array) -> Array:
    """Mix two pictures; `share` is the share of the second, by pixel."""
    return first * (1 - share[..., None]) + second * share[..., None]


def sky(random: np.random.Generator, x: Array, y: Array) -> Array:
    """Return the sky: a gradient, a sun with its glow, and thin clouds."""
    high, low = np.array([58.0, 92.0, 158.0]), np.array([250.0, 176.0, 112.0])
    picture = blend(
        high + 0 * x[..., None], low + 0 * x[..., None], (y / HORIZON).clip(0, 1) ** 1.4
    )
    distance = np.hypot((x - SUN[0]) * WIDTH / HEIGHT, y - SUN[1])
    glow = np.array([255.0, 226.0, 170.0]) + 0 * picture
    picture = blend(picture, glow, 0.85 * np.exp(-distance * 5.5))
    picture = blend(picture, glow + 20, (1 - (distance - 0.052) / 0.004).clip(0, 1))
    clouds = sum(smooth_noise(random, x.shape, 6 * 2**n) / 2**n for n in range(5)) / 1.94
    stretched = np.asarray(
        Image.fromarray((clouds * 255).astype(np.uint8)).resize((WIDTH * 2, HEIGHT))
    )
    share = ((stretched[:, :WIDTH] / 255.0 - 0.5) * 3.2).clip(0, 0.7) * (1 - y).clip(0, 1)
    return blend(picture, np.array([252.0, 214.0, 190.0]) + 0 * picture, share)


def hills(random: np.random.Generator, picture: Array, x: Array, y: Array) -> Array:
    """Lay rows of hills over the picture, the near ones darker and rougher than the far."""
    far, near = np.array([150.0, 128.0, 140.0]), np.array([26.0, 40.0, 30.0])
    rows = 6
    for row in range(rows):
        depth = row / (rows - 1)
        ridge = np.zeros(WIDTH)
        for octave in range(7):
            phase, waves = random.uniform(0, 6.28), (1.3 + depth) * 1.9**octave
            ridge += np.sin(x[0] * 6.28 * waves + phase) * 0.05 * 0.5**octave * (0.6 + depth)
        top = HORIZON - 0.07 + 0.34 * depth**1.3 + ridge
        inside = ((y - top[None, :]) * HEIGHT).clip(0, 1)
        texture = smooth_noise(random, x.shape, 320) * 0.6 + smooth_noise(random, x.shape, 60) * 0.4
        leaves = random.random(x.shape) ** 3 * (0.15 + 0.85 * depth)
        shade = 0.66 + (0.25 + 0.4 * depth) * texture + leaves
        color = (far * (1 - depth) + near * depth) * shade[..., None]
        lit = np.exp(-((y - top[None, :]) * 14).clip(0, None)) * np.exp(-np.abs(x - SUN[0]) * 2.2)
        color = blend(color, color + np.array([90.0, 52.0, 20.0]), lit * 0.8)
        picture = blend(picture, color, inside)
    return picture


def draw() -> Image.Image:
    """Return the picture."""
    random = np.random.default_rng(1909)  # the year in which Erlang founded the theory of queues
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    x, y = x / WIDTH, y / HEIGHT
    picture = hills(random, sky(random, x, y), x, y)
    corner = np.hypot(x - 0.5, y - 0.5)
    picture *= (1.04 - 0.45 * corner**2)[..., None]
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    lens = np.asarray(image.filter(ImageFilter.GaussianBlur(0.4)), dtype=np.float64)
    grain = random.normal(0, 2.5, x.shape)[..., None]
    return Image.fromarray((lens + grain).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("landscape.jpg"), quality=85, optimize=True)
