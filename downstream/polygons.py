"""Polygons from a mask that is read tile by tile, joined across all borders. Pure.

Memory holds one tile, one row of pixels as wide as the plane, and the outlines of objects that may still grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from downstream.outline import Edges, Ints, Rings, edges_of, rings_of
from tiling.grid import Tile, TileGrid
from tiling.pixel_area import PixelAreas

UNSEEN = 255
"""Label of pixels nobody looked at; the plane's surroundings are of them."""

T = TypeVar("T", bound=np.generic)
ReadLabels = Callable[[Tile], NDArray[np.uint8]]
"""Labels (h, w) of a tile's core: 0 background, 1 … 254 classes, 255 not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objects:
    """Some objects of the mask; number i is row i of every array."""

    label: NDArray[np.uint8]
    """(n,) their class."""
    pixels: Ints
    """(n,) their size."""
    area: NDArray[np.float64]
    """(n,) their area, in the unit of the areas given."""
    cut: NDArray[np.bool_]
    """(n,) True where pixels that nobody looked at are next to them, or the plane's end: they may be larger."""

    @classmethod
    def joined(cls, parts: Sequence[Objects]) -> Objects:
        """All of them, one part behind the other; at least one part."""
        names = ("label", "pixels", "area", "cut")
        label, pixels, area, cut = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        return cls(label=label, pixels=pixels, area=area, cut=cut)

    def of(self, chosen: Ints | NDArray[np.bool_]) -> Objects:
        """Some of them. chosen: indices or (n,) bool."""
        return Objects(
            label=self.label[chosen], pixels=self.pixels[chosen], area=self.area[chosen], cut=self.cut[chosen]
        )

    def merged(self, into: Ints) -> Objects:
        """What is one in the end, summed. into: (n,) the number each part gets, 0 … without gaps."""
        count = int(into.max(initial=-1)) + 1
        label, pixels, cut = np.zeros(count, np.uint8), np.zeros(count, np.int64), np.zeros(count, bool)
        label[into] = self.label
        np.add.at(pixels, into, self.pixels)
        cut[into[self.cut]] = True
        area = np.bincount(into, self.area, minlength=count).astype(np.float64)
        return Objects(label=label, pixels=pixels, area=area, cut=cut)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polygons:
    """Whole objects, 4-connected, with their outlines along pixel edges: the area inside is that of the pixels."""

    objects: Objects
    """What they are."""
    rings: Rings
    """(y, x) corners on the plane, px; outer rings clockwise as seen on a picture."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """A line of pixels that waits for its neighbours."""

    label: NDArray[np.uint8]
    """(n,)"""
    ids: Ints
    """(n,) objects, numbered from 1 within a row of tiles; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """What one tile adds to its row."""

    objects: Objects
    """Those inside it, numbered on from those before."""
    edges: Edges
    """Outlines, some of them of neighbours before it."""
    same: Ints
    """(2, k): pairs of objects that are one."""
    cut: Ints
    """Objects next to what nobody looked at."""
    below: _Side
    """Its last row."""
    right: _Side
    """Its last column."""


def trace(grid: TileGrid, read: ReadLabels, areas: PixelAreas) -> Iterator[Polygons]:
    """Every object of a mask, a row of tiles at a time: in the order of their last row, then of their first corner.

    The order and the outlines are those of the whole mask, whatever the tiles. Each tile is read once.
    """
    rows, cols = grid.shape_tiles
    stride = grid.shape_px[1] + 1
    carried = _carry(_nothing(), Edges.joined([]), _outside(stride))
    for row in range(rows):
        pieces, left, count = [carried], _outside(grid.tile_px + 1), len(carried.objects.label)
        for col in range(cols):
            tile = grid.tile(row, col)
            labels = _to_the_end(read(tile), tile, grid)
            at = slice(tile.core.x, tile.core.x + labels.shape[1])
            above = _Side(label=carried.below.label[at], ids=carried.below.ids[at])
            piece = _piece(tile, labels, above, left, count, areas, stride)
            left, count = piece.right, count + len(piece.objects.label)
            pieces.append(piece)
        found, carried = _close(pieces, stride)
        if len(found.objects.label):
            yield found


def _nothing() -> Objects:
    none = np.zeros(0, np.int64)
    return Objects(label=none.astype(np.uint8), pixels=none, area=none.astype(np.float64), cut=none.astype(bool))


def _outside(size: int) -> _Side:
    return _Side(label=np.full(size, UNSEEN, np.uint8), ids=np.zeros(size, np.int64))


def _carry(objects: Objects, edges: Edges, below: _Side) -> _Piece:
    """What a row of tiles leaves to the next, as its first piece."""
    none = np.zeros((2, 0), np.int64)
    return _Piece(objects=objects, edges=edges, same=none, cut=none[0], below=below, right=below)


def _to_the_end(labels: NDArray[np.uint8], tile: Tile, grid: TileGrid) -> NDArray[np.uint8]:
    """The labels of a tile; the last ones also hold a line behind the plane's end, which closes all outlines."""
    last = [int(end == side) for end, side in zip((tile.core.y_stop, tile.core.x_stop), grid.shape_px, strict=True)]
    return np.pad(labels, ((0, last[0]), (0, last[1])), constant_values=UNSEEN) if any(last) else labels


def _piece(
    tile: Tile, labels: NDArray[np.uint8], above: _Side, left: _Side, count: int, areas: PixelAreas, stride: int
) -> _Piece:
    """One tile between its neighbours. labels: (h, w), see _to_the_end; count: objects numbered before it."""
    left = _Side(label=left.label[: len(labels)], ids=left.ids[: len(labels)])
    inside = np.where(labels == UNSEEN, np.uint8(0), labels)
    if not (inside.any() or above.ids.any() or left.ids.any()):
        empty = [_Side(label=line, ids=np.zeros(len(line), np.int64)) for line in (labels[-1], labels[:, -1])]
        return replace(_carry(_nothing(), Edges.joined([]), empty[0]), right=empty[1])
    objects, ids = _objects(inside, count, areas, tile)
    wide, wide_labels = _framed(ids, above.ids, left.ids), _framed(labels, above.label, left.label)
    window = replace(tile.core, height=labels.shape[0], width=labels.shape[1])
    return _Piece(
        objects=objects,
        edges=edges_of(wide, wide_labels, window, stride),
        same=_same(labels, ids, above, left),
        cut=_cut(wide, wide_labels),
        below=_Side(label=labels[-1], ids=ids[-1]),
        right=_Side(label=labels[:, -1], ids=ids[:, -1]),
    )


def _objects(inside: NDArray[np.uint8], count: int, areas: PixelAreas, tile: Tile) -> tuple[Objects, Ints]:
    """The connected parts of a tile and the id of every pixel (h, w)."""
    from skimage.measure import label

    local, found = label(inside, background=0, return_num=True, connectivity=1)  # type: ignore[no-untyped-call]
    core = local[: tile.core.height, : tile.core.width]
    pixels = np.bincount(core.ravel(), minlength=found + 1)[1:]
    first = np.zeros(found + 1, np.uint8)
    first[local] = inside
    objects = Objects(
        label=first[1:],
        pixels=pixels,
        area=_areas(core, pixels, areas.of(tile.core)),
        cut=np.zeros(found, bool),
    )
    return objects, np.where(local > 0, local.astype(np.int64) + count, 0)


def _areas(local: Ints, pixels: Ints, pixel_area: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) area of parts 1 … n. pixel_area: broadcastable to the (h, w) of local."""
    if pixel_area.size == 1:
        return np.asarray(pixels * pixel_area.item(), np.float64)
    weights = np.broadcast_to(pixel_area, local.shape).ravel()
    return np.asarray(np.bincount(local.ravel(), weights, minlength=len(pixels) + 1)[1:], np.float64)


def _framed(values: NDArray[T], above: NDArray[T], left: NDArray[T]) -> NDArray[T]:
    """(1 + h, 1 + w): a row above and a column left of (h, w); the corner is never looked at."""
    framed = np.zeros((values.shape[0] + 1, values.shape[1] + 1), values.dtype)
    framed[1:, 1:], framed[0, 1:], framed[1:, 0] = values, above, left
    return framed


def _same(labels: NDArray[np.uint8], ids: Ints, above: _Side, left: _Side) -> Ints:
    """(2, k): objects of this tile and of its neighbours that go on over the border."""
    pairs = [
        np.stack([side.ids, inner])[:, (side.label == label) & (inner > 0)]
        for side, inner, label in ((above, ids[0], labels[0]), (left, ids[:, 0], labels[:, 0]))
    ]
    return np.unique(np.concatenate(pairs, axis=1), axis=1)


def _cut(ids: Ints, labels: NDArray[np.uint8]) -> Ints:
    """Objects with an edge to what nobody looked at. ids, labels: framed."""
    unseen = labels == UNSEEN
    inner = (slice(1, None), slice(1, None))
    found = [
        here[there_unseen]
        for near in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1)))
        for here, there_unseen in ((ids[inner], unseen[near]), (ids[near], unseen[inner]))
    ]
    all_found = np.unique(np.concatenate(found))
    return all_found[all_found > 0]


def _close(pieces: Sequence[_Piece], stride: int) -> tuple[Polygons, _Piece]:
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
    carried = _carry(
        whole.of(is_open), edges.of(going, still[owner]), _Side(label=below.label, ids=ids.astype(np.int64))
    )
    rank = _ranked(edges.of(~going, owner), np.flatnonzero(~is_open), stride)
    numbers = np.zeros(len(whole.label), np.int64)
    numbers[rank] = np.arange(len(rank))
    return Polygons(
        objects=whole.of(rank), rings=rings_of(edges.of(~going, numbers[owner]), len(rank), stride)
    ), carried


def _last_row(pieces: Sequence[_Piece], stride: int) -> _Side:
    """The last row of a row of tiles, (stride,); the first piece is what was carried over."""
    labels, ids = (np.concatenate([getattr(p.below, name) for p in pieces[1:]]) for name in ("label", "ids"))
    assert len(ids) == stride
    return _Side(label=labels, ids=ids)


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
