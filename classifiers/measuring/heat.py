"""What a classifier looks at, as a picture beside the tile."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

OPAQUE = 0.7
"""Of the hottest place."""
PANEL_PX, MARGIN_PX, LINE_PX, BAR_PX = 320, 16, 20, 12
INK, FAINT, PAPER = (28, 32, 38), (110, 118, 128), (255, 255, 255)
ANCHORS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)
"""Inferno (van der Walt and Smith 2015, CC0) at 0, 1/4, … 1: brighter is more, for colour-blind eyes too."""


def heat_picture(picture: NDArray[np.uint8], heat: NDArray[np.floating], title: str, legend: str) -> bytes:
    """PNG: the tile, and the tile with the heat on it, side by side.

    picture: (h, w, 3), see natural; heat: (h, w) in [0, 1]. title: what was asked, such as the tile, the class and its
    probability; legend: what heat means here. One line each; what is too long is cut.
    """
    panels = [_panel(picture), _panel(heated(picture, heat))]
    width, height = panels[0].size
    page = Image.new("RGB", (2 * width + 4 * MARGIN_PX + BAR_PX, height + 2 * LINE_PX + 3 * MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(page)
    for i, panel in enumerate(panels):
        page.paste(panel, (MARGIN_PX + i * (width + MARGIN_PX), MARGIN_PX))
    page.paste(_bar(height), (2 * width + 3 * MARGIN_PX, MARGIN_PX))
    for i, (text, ink, size) in enumerate(((title, INK, 15), (legend, FAINT, 12))):
        draw.text((MARGIN_PX, height + (i + 1) * LINE_PX), _cut(draw, text, size, page.width), ink, _font(size))
    return png(page)


def heated(picture: NDArray[np.uint8], heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(h, w, 3): the picture in grey, darker, with the heat in colour on it; what is there stays visible."""
    grey = np.repeat(picture.astype(np.float64).mean(axis=2, keepdims=True) * 0.7, 3, axis=2)
    alpha = OPAQUE * np.clip(heat, 0, 1)[..., None]
    return np.asarray(np.rint(grey * (1 - alpha) + coloured(heat) * alpha), np.uint8)


def coloured(heat: NDArray[np.floating]) -> NDArray[np.float64]:
    """(…) in [0, 1] -> (…, 3) R, G, B from 0 to 255."""
    places = np.linspace(0, 1, len(ANCHORS))
    return np.stack([np.interp(heat, places, band) for band in ANCHORS.T], axis=-1)


def relative(drop: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n, h, w), any -> [0, 1]: each tile against its own highest place; what is below 0 speaks against the class."""
    peak = drop.max(axis=(1, 2), keepdims=True, initial=0)
    return np.asarray(np.clip(drop, 0, None) / np.where(peak > 0, peak, 1), np.float32)


def png(picture: Image.Image) -> bytes:
    """As a file."""
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _panel(picture: NDArray[np.uint8]) -> Image.Image:
    """About PANEL_PX on its longer side; small tiles in whole steps, so that pixels stay squares."""
    image, longest = Image.fromarray(picture), max(picture.shape[:2])
    if longest <= PANEL_PX:
        times = round(PANEL_PX / longest)
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    size = (max(1, image.width * PANEL_PX // longest), max(1, image.height * PANEL_PX // longest))
    return image.resize(size, Image.Resampling.BOX)


def _bar(height: int) -> Image.Image:
    """Most on top."""
    shades = np.repeat(coloured(np.linspace(1, 0, height))[:, None], BAR_PX, axis=1)
    return Image.fromarray(np.rint(shades).astype(np.uint8))


def _cut(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> str:
    while text and draw.textlength(text, _font(size)) > width - 2 * MARGIN_PX:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
