"""overview.png: what the image looks like, what the gate decided, and what was found, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flows.display import class_lines
from storage.layout import FINE, GATE, MASK
from storage.run import Run
from tiling.record import TileRecord
from tiling.resample import area_average
from tiling.state import State

PANEL_PX = 640
MARGIN_PX = 20
HEAD_PX, FOOT_PX = 92, 40
INK, FAINT, PAPER, NODATA = (28, 32, 38), (110, 118, 128), (255, 255, 255), (236, 238, 240)
COLOURS = {
    State.EMPTY: (236, 238, 240),
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
    thumbnail = shrink_pixels(run)
    panels = [thumbnail, gate_map(run, tiles), overlay(thumbnail, shrink_mask(run))]
    pictures = [_fit(Image.fromarray(panel)) for panel in panels]
    width, height = pictures[0].size
    page = Image.new("RGB", (3 * width + 4 * MARGIN_PX, height + HEAD_PX + FOOT_PX + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(page)
    _headline(draw, summary)
    titles = ("image", "what the gate decided", f"found: {', '.join(run.plan.classes)}")
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left = MARGIN_PX + i * (width + MARGIN_PX)
        draw.text((left, HEAD_PX - 24), title, INK, _font(16))
        page.paste(picture, (left, HEAD_PX))
        draw.rectangle((left - 1, HEAD_PX - 1, left + width, HEAD_PX + height), outline=(200, 204, 210))
    _legend(draw, tiles, MARGIN_PX, HEAD_PX + height + 14)
    return page


def shrink_pixels(run: Run) -> NDArray[np.uint8]:
    """(h, w, 3): the gate's pixels as a picture, stretched to their 2nd and 98th percentile; grey without data."""
    if not run.plan.recipe["store"]["pixels"]:
        return np.full((*_thumbnail_shape(run), 3), NODATA, np.uint8)
    bands = _display_bands(run.plan.image.bands)
    shrunk = shrink(run, FINE if run.plan.one_plane else GATE)[bands].astype(np.float64)
    seen = (shrunk != 0).any(0)
    if run.plan.image.dtype != "uint8" or run.plan.image.kind == "raster":
        shrunk = np.stack([_stretch(band, seen) for band in shrunk])
    picture = np.where(seen, np.clip(shrunk, 0, 255), np.array(NODATA)[:, None, None])
    return np.asarray(picture.transpose(1, 2, 0).astype(np.uint8))


def shrink_mask(run: Run) -> NDArray[np.float64]:
    """(class, h, w): share of each class under every pixel of the thumbnail."""
    return np.stack([shrink(run, MASK, label)[0] for label in range(1, len(run.plan.classes) + 1)])


def gate_map(run: Run, tiles: Sequence[TileRecord]) -> NDArray[np.uint8]:
    """(h, w, 3): each tile in the colour of its fate, in the thumbnail's proportions."""
    rows, cols = run.plan.grid.shape_tiles
    board = np.zeros((rows, cols, 3), np.uint8)
    for tile in tiles:
        board[tile.row, tile.col] = COLOURS[tile.state]
    height, width = _thumbnail_shape(run)
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
    return np.clip(mixed, 0, 255).astype(np.uint8)


def shrink(run: Run, name: str, label: int | None = None) -> NDArray[np.float64]:
    """(band, h, w): an array of the run averaged to the thumbnail, one batch in memory at a time."""
    array = run.array(name)
    shape = array.shape[-2:]
    height, width = _thumbnail_shape(run)
    step = (shape[0] / height, shape[1] / width)
    strips = []
    rows_per_strip = max(1, int(run.plan.grid.batch_px / step[0]))
    for top in range(0, height, rows_per_strip):
        rows = min(rows_per_strip, height - top)
        first, last = int(top * step[0]), min(int(np.ceil((top + rows) * step[0])), shape[0])
        block = np.asarray(array[..., first:last, :]).reshape(-1, last - first, shape[1])
        block = block if label is None else (block == label)
        y_edges = np.arange(top, top + rows + 1) * step[0] - first
        valid = np.ones(block.shape[1:], bool)
        strips.append(area_average(block.astype(np.float32), valid, y_edges, np.arange(width + 1) * step[1])[0])
    return np.concatenate(strips, axis=1).astype(np.float64)


def _thumbnail_shape(run: Run) -> tuple[int, int]:
    height, width = run.plan.gate_grid.shape_px
    scale = max(1.0, max(height, width) / PANEL_PX)
    return max(1, round(height / scale)), max(1, round(width / scale))


def _display_bands(bands: Sequence[str]) -> list[int]:
    """True colour where there is one, else near infrared in red as the field does, else the first band."""
    for wanted in (("red", "green", "blue"), ("nir", "red", "green"), ("nir", "green", "green"), ("swir", "green", "green"), ("nir", "red", "red")):  # fmt: skip # noqa: E501
        if all(name in bands for name in wanted):
            return [list(bands).index(name) for name in wanted]
    return [0, 0, 0]


def _stretch(band: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not seen.any():
        return band
    low, high = np.percentile(band[seen], (2, 98))
    return np.asarray((band - low) / max(high - low, 1e-9) * 255)


def _fit(picture: Image.Image) -> Image.Image:
    scale = PANEL_PX / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _headline(draw: ImageDraw.ImageDraw, summary: dict[str, Any]) -> None:
    draw.text((MARGIN_PX, 12), "   ".join(class_lines(summary)), INK, _font(22))
    partial = "PARTIAL: some area was not observed. " if summary["status"] == "partial" else ""
    shape = " x ".join(map(str, summary["image"]["shape_px"]))
    name = summary["image"]["uri"].split("/")[-1]
    draw.text((MARGIN_PX, 42), f"{partial}{name}, {shape} px, recipe {summary['recipe']}", FAINT, _font(14))


def _legend(draw: ImageDraw.ImageDraw, tiles: Sequence[TileRecord], left: int, top: int) -> None:
    counts = Counter(tile.state for tile in tiles)
    for state, colour in COLOURS.items():
        if counts[state]:
            draw.rectangle((left, top, left + 14, top + 14), fill=colour, outline=(150, 150, 150))
            text = f"{state.value} {counts[state]:,}"
            draw.text((left + 20, top - 1), text, INK, _font(14))
            left += 40 + int(draw.textlength(text, _font(14)))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
