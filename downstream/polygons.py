"""Polygons from a mask that is read tile by tile, joined across all borders. Pure.

Memory holds one tile, one row of pixels as wide as the plane, and the outlines of objects that may still grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from downstream.outline import Edges, Ints, Rings, rings_of
from downstream.pieces import UNSEEN, Objects, Piece, Side, carry, nothing, outside, piece_of
from tiling.grid import Tile, TileGrid
from tiling.pixel_area import PixelAreas

ReadLabels = Callable[[Tile], NDArray[np.uint8]]
"""Labels (h, w) of a tile's core: 0 background, 1 … 254 classes, 255 not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polygons:
    """Whole objects, 4-connected, with their outlines along pixel edges: the area inside is that of the pixels."""

    objects: Objects
    """What they are."""
    rings: Rings
    """(y, x) corners on the plane, px; outer rings clockwise as seen on a picture."""


def trace(grid: TileGrid, read: ReadLabels, areas: PixelAreas) -> Iterator[Polygons]:
    """Every object of a mask, a row of tiles at a time: in the order of their last row, then of their first corner.

    The order and the outlines are those of the whole mask, whatever the tiles. Each tile is read once.
    """
    rows, cols = grid.shape_tiles
    stride = grid.shape_px[1] + 1
    carried = carry(nothing(), Edges.joined([]), outside(stride))
    for row in range(rows):
        pieces, left, count = [carried], outside(grid.tile_px + 1), len(carried.objects.label)
        for col in range(cols):
            tile = grid.tile(row, col)
            labels = _to_the_end(read(tile), tile, grid)
            at = slice(tile.core.x, tile.core.x + labels.shape[1])
            above = Side(label=carried.below.label[at], ids=carried.below.ids[at])
            piece = piece_of(tile, labels, above, left, count, areas, stride)
            left, count = piece.right, count + len(piece.objects.label)
            pieces.append(piece)
        found, carried = _close(pieces, stride)
        if len(found.objects.label):
            yield found


def _to_the_end(labels: NDArray[np.uint8], tile: Tile, grid: TileGrid) -> NDArray[np.uint8]:
    """The labels of a tile; the last ones also hold a line behind the plane's end, which closes all outlines."""
    last = [int(end == side) for end, side in zip((tile.core.y_stop, tile.core.x_stop), grid.shape_px, strict=True)]
    return np.pad(labels, ((0, last[0]), (0, last[1])), constant_values=UNSEEN) if any(last) else labels


def _close(pieces: Sequence[Piece], stride: int) -> tuple[Polygons, Piece]:
    """The objects that end in this row of tiles, and those that may go on in the next."""
    objects = Objects.joined([piece.objects for piece in pieces])
    objects.cut[np.concatenate([piece.cut for piece in pieces]) - 1] = True
    into = _united(np.concatenate([piece.same for piece in pieces], axis=1) - 1, len(objects.label))
    edges = Edges.joined([piece.edges for piece in pieces])
    below = _last_row(pieces, stride)
    whole, owner = objects.merged(into), into[edges.owner - 1]
    is_open = np.zeros(len(whole.label), bool)
    is_open[into[below.ids[below.ids > 0] - 1]] = True
    still = np.cumsum(is_open)  # their numbers in the next row, from 1
    ids = np.where(below.ids > 0, still[into[below.ids - 1]], 0) if len(into) else below.ids
    going = is_open[owner]
    carried = carry(whole.of(is_open), edges.of(going, still[owner]), Side(label=below.label, ids=ids.astype(np.int64)))
    rank = _ranked(edges.of(~going, owner), np.flatnonzero(~is_open), stride)
    numbers = np.zeros(len(whole.label), np.int64)
    numbers[rank] = np.arange(len(rank))
    return Polygons(
        objects=whole.of(rank), rings=rings_of(edges.of(~going, numbers[owner]), len(rank), stride)
    ), carried


def _last_row(pieces: Sequence[Piece], stride: int) -> Side:
    """The last row of a row of tiles, (stride,); the first piece is what was carried over."""
    labels, ids = (np.concatenate([getattr(p.below, name) for p in pieces[1:]]) for name in ("label", "ids"))
    assert len(ids) == stride
    return Side(label=labels, ids=ids)


def _united(same: Ints, count: int) -> Ints:
    """(count,) the number of the whole that each part belongs to. same: (2, k) pairs of parts."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(same.shape[1], bool), (same[0], same[1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64) if count else np.zeros(0, np.int64)


def _ranked(edges: Edges, objects: Ints, stride: int) -> Ints:
    """Objects by their last row, then by their first corner. edges: all of theirs; objects: ascending."""
    owner = np.searchsorted(objects, edges.owner)
    bottom, first = np.zeros(len(objects), np.int64), np.full(len(objects), np.iinfo(np.int64).max)
    np.maximum.at(bottom, owner, np.maximum(edges.start, edges.stop) // stride)
    np.minimum.at(first, owner, edges.start)
    return objects[np.lexsort((first, bottom))]
