"""Tiles as arrays: what models receive, and what they give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BadInput
from tiling.grid import Tile
from tiling.info import Plane
from tiling.source import Pixels, Source
from tiling.window import Window

MOST_CLASSES = 254
"""Of a mask: labels are uint8, 0 is background, and 255 is what nobody looked at."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileStack:
    """Tiles of equal size, halo included."""

    tiles: tuple[Tile, ...]
    """Which tiles, in order."""
    pixels: NDArray[np.generic]
    """(n, band, h, w) in the image's dtype."""
    valid: NDArray[np.bool_]
    """(n, h, w), True = data; False outside the image."""

    def __len__(self) -> int:
        return len(self.tiles)

    def pick(self, chosen: Sequence[int], bands: Sequence[int]) -> TileStack:
        """Some of the tiles, with some of the bands, by position."""
        pixels = self.pixels[list(chosen)]
        if list(bands) != list(range(pixels.shape[1])):
            pixels = pixels[:, list(bands)]
        return TileStack(tiles=tuple(self.tiles[i] for i in chosen), pixels=pixels, valid=self.valid[list(chosen)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskStack:
    """Labels of tiles, halo included until cropped."""

    tiles: tuple[Tile, ...]
    """Which tiles, in order."""
    labels: NDArray[np.uint8]
    """(n, h, w), 0 = background, i = classes[i - 1]; 0 where the pixel is not valid."""
    classes: tuple[str, ...]
    """Names of labels 1, 2, …"""


def require_labels_for(classes: Sequence[str], whose: str) -> None:
    """Raise BadInput for more classes than a mask has labels. classes: without background; whose: such as a model's name."""
    if len(classes) > MOST_CLASSES:
        raise BadInput(
            f"{whose} has {len(classes):,} classes; a mask tells {MOST_CLASSES} apart, as its labels are 8 bits and 255 "
            f"is what nobody looked at: {classes[MOST_CLASSES]} is one too many. Merge some of them, or leave some out."
        )


def blank_stack(tile: Tile, bands: int, dtype: str) -> TileStack:
    """One tile of zeros, all of it valid: to try a model on before there are pixels."""
    shape = tile.read.shape_px
    return TileStack(tiles=(tile,), pixels=np.zeros((1, bands, *shape), dtype), valid=np.ones((1, *shape), bool))


def read_stack(source: Source, tiles: Sequence[Tile], plane: Plane) -> TileStack:
    """Read each tile with its halo, at least one."""
    reads = [source.read(tile.read, plane) for tile in tiles]
    return TileStack(
        tiles=tuple(tiles), pixels=_stacked([r.data for r in reads]), valid=_stacked([r.valid for r in reads])
    )


def _stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One axis more; a single array is not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def cut_stack(pixels: Pixels, tiles: Sequence[Tile], window: Window) -> TileStack:
    """Cut the tiles out of one array that covers all their reads. window: where the array lies on their plane."""
    cuts = [tile.read.relative_to(window).slices for tile in tiles]
    return TileStack(
        tiles=tuple(tiles),
        pixels=np.stack([pixels.data[:, rows, cols] for rows, cols in cuts]),
        valid=np.stack([pixels.valid[rows, cols] for rows, cols in cuts]),
    )


def crop_to_core(array: NDArray[np.generic], tile: Tile) -> NDArray[np.generic]:
    """The core of one tile out of its read: array (…, h, w) -> (…, core height, core width)."""
    rows, cols = tile.core.relative_to(tile.read).slices
    return array[..., rows, cols]
