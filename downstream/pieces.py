"""What one tile adds to the polygons of a mask: its objects, their edges, and how it meets its neighbours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from downstream.outline import Edges, Ints, edges_of
from tiling.grid import Tile
from tiling.pixel_area import PixelAreas

UNSEEN = 255
"""Label of pixels nobody looked at; the plane's surroundings are of them."""

T = TypeVar("T", bound=np.generic)


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
class Side:
    """A line of pixels that waits for its neighbours."""

    label: NDArray[np.uint8]
    """(n,)"""
    ids: Ints
    """(n,) objects, numbered from 1 within a row of tiles; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """What one tile adds to its row."""

    objects: Objects
    """Those inside it, numbered on from those before."""
    edges: Edges
    """Outlines, some of them of neighbours before it."""
    same: Ints
    """(2, k): pairs of objects that are one."""
    cut: Ints
    """Objects next to what nobody looked at."""
    below: Side
    """Its last row."""
    right: Side
    """Its last column."""


def nothing() -> Objects:
    """No object."""
    none = np.zeros(0, np.int64)
    return Objects(label=none.astype(np.uint8), pixels=none, area=none.astype(np.float64), cut=none.astype(bool))


def outside(size: int) -> Side:
    """`size` pixels that nobody looked at."""
    return Side(label=np.full(size, UNSEEN, np.uint8), ids=np.zeros(size, np.int64))


def carry(objects: Objects, edges: Edges, below: Side) -> Piece:
    """What a row of tiles leaves to the next, as its first piece."""
    none = np.zeros((2, 0), np.int64)
    return Piece(objects=objects, edges=edges, same=none, cut=none[0], below=below, right=below)


def piece_of(
    tile: Tile, labels: NDArray[np.uint8], above: Side, left: Side, count: int, areas: PixelAreas, stride: int
) -> Piece:
    """One tile between its neighbours. labels: (h, w), see _to_the_end; count: objects numbered before it."""
    left = Side(label=left.label[: len(labels)], ids=left.ids[: len(labels)])
    inside = np.where(labels == UNSEEN, np.uint8(0), labels)
    if not (inside.any() or above.ids.any() or left.ids.any()):
        empty = [Side(label=line, ids=np.zeros(len(line), np.int64)) for line in (labels[-1], labels[:, -1])]
        return replace(carry(nothing(), Edges.joined([]), empty[0]), right=empty[1])
    objects, ids = _objects(inside, count, areas, tile)
    wide, wide_labels = _framed(ids, above.ids, left.ids), _framed(labels, above.label, left.label)
    window = replace(tile.core, height=labels.shape[0], width=labels.shape[1])
    return Piece(
        objects=objects,
        edges=edges_of(wide, wide_labels, window, stride),
        same=_same(labels, ids, above, left),
        cut=_cut(wide, wide_labels),
        below=Side(label=labels[-1], ids=ids[-1]),
        right=Side(label=labels[:, -1], ids=ids[:, -1]),
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


def _same(labels: NDArray[np.uint8], ids: Ints, above: Side, left: Side) -> Ints:
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
