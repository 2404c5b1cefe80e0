"""Occlusion (Zeiler and Fergus 2014): which parts of a tile a score hangs on, for classifiers of any kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.protocol import Classifier
from tiling.stack import TileStack
from tiling.window import Window

PARTS = 5
"""A square is about this part of a tile's side."""
BATCH_TILES = 64


def occlusion(
    classifier: Classifier, stack: TileStack, columns: int | Sequence[int], square_px: int | None = None
) -> NDArray[np.float32]:
    """(n, h, w) in [-1, 1]: how far the score of a class falls when a place is covered; mean over the squares on it.

    columns: positions of classes, one for all tiles or one per tile. square_px: side of the squares that are slid over
    the tile by half of it; None = a fifth of the tile. What is covered is not valid and has the tile's mean colour, so
    classifiers that look at either see nothing there. 0 where pixels are not valid.
    """
    chosen = [columns] * len(stack) if isinstance(columns, int) else list(columns)
    bands = range(stack.pixels.shape[1])
    squares = cover(stack.valid.shape[1:], square_px or max(2, round(max(stack.valid.shape[1:]) / PARTS)))
    drops = [
        _drop(classifier, stack.pick([tile], bands), column, squares)
        for tile, column in zip(range(len(stack)), chosen, strict=True)
    ]
    return np.where(stack.valid, np.array(drops, np.float32).reshape(stack.valid.shape), np.float32(0))


def cover(shape_px: tuple[int, ...], square_px: int) -> list[Window]:
    """Squares that overlap by half and leave out no pixel of (h, w), cut where the tile is smaller than they are."""
    height, width = (min(square_px, side) for side in shape_px)
    return [
        Window(y=y, x=x, height=height, width=width)
        for y in _starts(shape_px[0], height)
        for x in _starts(shape_px[1], width)
    ]


def covered(tile: TileStack, square: Window) -> TileStack:
    """One tile with a square of it not valid, in its mean colour."""
    rows, cols = square.slices
    pixels, valid = tile.pixels.copy(), tile.valid.copy()
    seen = tile.pixels[0][:, tile.valid[0]]
    mean = seen.mean(axis=1, dtype=np.float64) if seen.size else np.zeros(len(seen))
    pixels[0, :, rows, cols] = mean.astype(pixels.dtype)[:, None, None]
    valid[0, rows, cols] = False
    return TileStack(tiles=tile.tiles, pixels=pixels, valid=valid)


def _drop(classifier: Classifier, tile: TileStack, column: int, squares: Sequence[Window]) -> NDArray[np.float64]:
    """(h, w) of one tile."""
    before = float(classifier.score(tile)[0, column])
    total, times = np.zeros(tile.valid.shape[1:]), np.zeros(tile.valid.shape[1:])
    for at in range(0, len(squares), BATCH_TILES):
        some = squares[at : at + BATCH_TILES]
        after = classifier.score(_joined([covered(tile, square) for square in some]))[:, column]
        for square, score in zip(some, after, strict=True):
            total[square.slices] += before - float(score)
            times[square.slices] += 1
    return np.asarray(total / times)


def _joined(stacks: Sequence[TileStack]) -> TileStack:
    return TileStack(
        tiles=tuple(tile for stack in stacks for tile in stack.tiles),
        pixels=np.concatenate([stack.pixels for stack in stacks]),
        valid=np.concatenate([stack.valid for stack in stacks]),
    )


def _starts(side_px: int, square_px: int) -> list[int]:
    last = side_px - square_px
    return [*range(0, last, max(1, square_px // 2)), last]
