"""overview.png: what the image looks like, what the gate decided, and what was found, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from classifiers.measuring.natural import NODATA, display_bands
from flows.display import class_lines
from flows.pages.thumbnail import small_mask, small_pixels, thumbnail_shape
from storage.run import Run
from tiling.record import TileRecord
from tiling.source import Pixels
from tiling.state import State

PANEL_PX = 640
MARGIN_PX = 20
HEAD_PX, FOOT_PX = 92, 40
INK, FAINT, PAPER = (28, 32, 38), (110, 118, 128), (255, 255, 255)
COLOURS = {
    State.EMPTY: (236, 238, 240),
    State.OUTSIDE: (250, 250, 251),
    State.NEGATIVE: (176, 196, 214),
    State.SEGMENTED: (240, 140, 30),
    State.AUDITED: (120, 80, 190),
    State.UNREADABLE: (205, 30, 40),
    State.FAILED: (20, 20, 20),
    State.PLANNED: (255, 255, 255),
    State.POSITIVE: (250, 200, 120),
}
CLASS_COLOURS = np.array([(0, 0, 0), (20, 110, 235), (230, 60, 60), (40, 160, 80), (240, 190, 40)], np.float64)


def draw_overview(run: Run, tiles: Sequence[TileRecord], summary: dict[str, Any]) -> Image.Image:
    """Three panels of the same place, RGB."""
    shape = thumbnail_shape(run, PANEL_PX)
    marked = [tile for tile in tiles if any(tile.pixels)]
    image = natural(run, small_pixels(run, shape))
    found = overlay(image, small_mask(run, marked, shape))
    panels = [image, gate_map(run, tiles, shape), found]
    pictures = [fit(Image.fromarray(panel)) for panel in panels]
    width, height = pictures[0].size
    page = Image.new("RGB", (3 * width + 4 * MARGIN_PX, height + HEAD_PX + FOOT_PX + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(page)
    _headline(draw, summary)
    titles = ("image", "what the gate decided", f"found: {', '.join(run.plan.classes)}")
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left = MARGIN_PX + i * (width + MARGIN_PX)
        draw.text((left, HEAD_PX - 24), title, INK, font(16))
        page.paste(picture, (left, HEAD_PX))
        draw.rectangle((left - 1, HEAD_PX - 1, left + width, HEAD_PX + height), outline=(200, 204, 210))
    _legend(draw, tiles, MARGIN_PX, HEAD_PX + height + 14)
    return page


def natural(run: Run, small: Pixels) -> NDArray[np.uint8]:
    """(h, w, 3): the image as a picture, stretched to its 2nd and 98th percentile; grey where there is no data."""
    chosen = small.data[display_bands(run.plan.image.bands)].astype(np.float64)
    if run.plan.image.kind == "raster":
        chosen = np.stack([_stretch(band, small.valid) for band in chosen])
    picture = np.where(small.valid, np.clip(chosen, 0, 255), np.array(NODATA)[:, None, None])
    return np.asarray(picture.transpose(1, 2, 0).astype(np.uint8))


def gate_map(run: Run, tiles: Sequence[TileRecord], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, 3): each tile in the colour of its fate."""
    rows, cols = run.plan.grid.shape_tiles
    board = np.zeros((rows, cols, 3), np.uint8)
    for tile in tiles:
        board[tile.row, tile.col] = COLOURS[tile.state]
    height, width = shape
    side = run.plan.grid.tile_px
    y = (np.arange(height) + 0.5) * run.plan.grid.shape_px[0] / height // side
    x = (np.arange(width) + 0.5) * run.plan.grid.shape_px[1] / width // side
    return np.asarray(board[y.astype(int)[:, None], x.astype(int)[None, :]])


def overlay(picture: NDArray[np.uint8], share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The picture in grey with the classes in colour on it."""
    grey = picture.astype(np.float64).mean(2, keepdims=True) * 0.5 + 120
    mixed = np.repeat(grey, 3, axis=2)
    for label, part in enumerate(share, start=1):
        alpha = np.sqrt(np.clip(part, 0, 1))[..., None]  # a few pixels under a thumbnail pixel still show
        mixed = mixed * (1 - alpha) + CLASS_COLOURS[1 + (label - 1) % (len(CLASS_COLOURS) - 1)] * alpha
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def _stretch(band: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not seen.any():
        return band
    low, high = np.percentile(band[seen], (2, 98))
    return np.asarray((band - low) / max(high - low, 1e-9) * 255)


def fit(picture: Image.Image) -> Image.Image:
    """The picture in the size of a panel."""
    scale = PANEL_PX / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _headline(draw: ImageDraw.ImageDraw, summary: dict[str, Any]) -> None:
    draw.text((MARGIN_PX, 12), "   ".join(class_lines(summary)), INK, font(22))
    partial = "PARTIAL: some area was not observed. " if summary["status"] == "partial" else ""
    shape = " x ".join(map(str, summary["image"]["shape_px"]))
    name = summary["image"]["uri"].split("/")[-1]
    draw.text((MARGIN_PX, 42), f"{partial}{name}, {shape} px, recipe {summary['recipe']}", FAINT, font(14))


def _legend(draw: ImageDraw.ImageDraw, tiles: Sequence[TileRecord], left: int, top: int) -> None:
    counts = Counter(tile.state for tile in tiles)
    for state, colour in COLOURS.items():
        if counts[state]:
            draw.rectangle((left, top, left + 14, top + 14), fill=colour, outline=(150, 150, 150))
            text = f"{state.value} {counts[state]:,}"
            draw.text((left + 20, top - 1), text, INK, font(14))
            left += 40 + int(draw.textlength(text, font(14)))


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, in px."""
    return ImageFont.load_default(size)
