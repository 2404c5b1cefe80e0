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
from tiling.errors import BadData
from tiling.info import Plane
from tiling.open import open_source
from tiling.record import TileRecord
from tiling.resample import area_average
from tiling.source import Pixels
from tiling.state import State
from tiling.window import Window

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

DISPLAY = (
    ("red", "green", "blue"),
    ("nir", "red", "green"),
    ("nir", "green", "green"),
    ("nir", "red", "red"),
    ("swir", "green", "green"),
)


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
    """(h, w, 3): the image as a picture, stretched to its 2nd and 98th percentile; grey where there is no data."""
    shape = _thumbnail_shape(run)
    bands = _display_bands(run.plan.image.bands)
    shrunk, seen = _small_pixels(run, shape)
    chosen = shrunk[bands].astype(np.float64)
    if run.plan.image.kind == "raster":
        chosen = np.stack([_stretch(band, seen) for band in chosen])
    picture = np.where(seen, np.clip(chosen, 0, 255), np.array(NODATA)[:, None, None])
    return np.asarray(picture.transpose(1, 2, 0).astype(np.uint8))


def _small_pixels(run: Run, shape: tuple[int, int]) -> Pixels:
    """From the stored gate plane where that is fine enough, else from the image; no data where neither can tell."""
    if run.plan.recipe["store"]["pixels"] and max(run.plan.gate_grid.shape_px) >= max(shape):
        stored = shrink(run, FINE if run.plan.one_plane else GATE, run.plan.gate_tile_px / run.plan.grid.tile_px)
        return Pixels(stored, (stored != 0).any(0))
    source = open_source(run.plan.source)
    try:
        full = run.plan.image.shape_px
        plane = Plane(shape_px=shape, scale=(full[0] / shape[0], full[1] / shape[1]))
        return source.read(Window(y=0, x=0, height=shape[0], width=shape[1]), plane)
    except BadData:  # the tiles it hits are counted as unreadable; a picture without them is better than none
        return Pixels(np.zeros((len(run.plan.image.bands), *shape)), np.zeros(shape, bool))
    finally:
        source.close()


def shrink_mask(run: Run) -> NDArray[np.float64]:
    """(class, h, w): share of each class under every pixel of the thumbnail."""
    return np.stack([shrink(run, MASK, 1.0, label)[0] for label in range(1, len(run.plan.classes) + 1)])


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
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def shrink(run: Run, name: str, ratio: float, label: int | None = None) -> NDArray[np.float64]:
    """(band, h, w): an array of the run averaged to the thumbnail, a strip in memory at a time.

    ratio: pixels of the array per pixel of the fine plane; label: average the share of that label instead.
    """
    array = run.array(name)
    height, width = _thumbnail_shape(run)
    step_y, step_x = (side * ratio / small for side, small in zip(run.plan.grid.shape_px, (height, width), strict=True))
    at_once = max(1, int(1024 / step_y))
    strips = []
    for top in range(0, height, at_once):
        y_edges = np.arange(top, min(top + at_once, height) + 1, dtype=np.float64) * np.float64(step_y)
        first = int(y_edges[0])
        block = np.asarray(array[..., first : int(np.ceil(y_edges[-1])), :])
        block = block.reshape(-1, *block.shape[-2:]) if label is None else (block == label)[None]
        valid = np.ones(block.shape[1:], bool)
        x_edges = np.arange(width + 1, dtype=np.float64) * np.float64(step_x)
        strips.append(area_average(block.astype(np.float32), valid, y_edges - first, x_edges)[0])
    return np.concatenate(strips, axis=1).astype(np.float64)


def _thumbnail_shape(run: Run) -> tuple[int, int]:
    height, width = run.plan.grid.shape_px
    scale = max(1.0, max(height, width) / PANEL_PX)
    return max(1, round(height / scale)), max(1, round(width / scale))


def _display_bands(bands: Sequence[str]) -> list[int]:
    """True colour where there is one, else near infrared in red as the field does, else the first band."""
    for wanted in DISPLAY:
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
