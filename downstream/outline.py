"""Outlines along pixel edges: from labelled pixels to closed rings of corners. Pure.

A corner of the plane is one number, y * stride + x with stride = width + 1. Edges run clockwise as seen on a picture
(y downwards): the object is on the right hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.window import Window

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Edges:
    """Straight pieces of outline, in any order."""

    owner: Ints
    """(n,) the object on their right."""
    start: Ints
    """(n,) corner."""
    stop: Ints
    """(n,) corner, on the same row or column as `start`."""

    @classmethod
    def joined(cls, parts: list[Edges]) -> Edges:
        """All of them."""
        none = [np.zeros(0, np.int64)]
        owner, start, stop = (
            np.concatenate(none + [getattr(part, name) for part in parts]) for name in ("owner", "start", "stop")
        )
        return cls(owner=owner, start=start, stop=stop)

    def of(self, chosen: NDArray[np.bool_], owner: Ints) -> Edges:
        """Some of them, under other owners. chosen: (n,); owner: (n,)."""
        return Edges(owner=owner[chosen], start=self.start[chosen], stop=self.stop[chosen])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rings:
    """Closed simple rings, object by object; the first ring of an object is its outer one, the others are holes."""

    corners: Ints
    """(m, 2) y, x; each ring starts at its topmost, then leftmost corner, which is repeated at its end."""
    ring_starts: Ints
    """(rings + 1,) where each ring starts in `corners`, and the end."""
    object_starts: Ints
    """(objects + 1,) where each object starts among the rings, and the end."""


def edges_of(ids: Ints, labels: NDArray[np.uint8], window: Window, stride: int) -> Edges:
    """The edges above and left of the pixels of a window; those below and right of it are its neighbours' to find.

    ids, labels: (1 + h, 1 + w), the window with one row above and one column left of it. An edge is where labels
    differ; id 0 owns none.
    """
    across = (labels[:-1, 1:] != labels[1:, 1:], ids[:-1, 1:], ids[1:, 1:])
    down = (labels[1:, :-1].T != labels[1:, 1:].T, ids[1:, :-1].T, ids[1:, 1:].T)
    parts = []
    for (differ, before, after), along, over, clockwise in (
        (across, 1, stride, "after"),
        (down, stride, 1, "before"),
    ):
        origin = window.y * stride + window.x
        for side, owners in (("before", before), ("after", after)):
            owner, line, first, last = _stretches(np.where(differ, owners, 0))
            one, other = origin + line * over + first * along, origin + line * over + last * along
            start, stop = (one, other) if side == clockwise else (other, one)
            parts.append(Edges(owner=owner, start=start, stop=stop))
    return Edges.joined(parts)


def _stretches(owners: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Runs of equal owners but 0 along the rows of (h, w): (owner, row, first, behind the last)."""
    height, width = owners.shape
    line = np.zeros((height, width + 1), np.int64)
    line[:, :-1] = owners
    flat = line.ravel()
    before = np.concatenate([[0], flat[:-1]])
    changes = flat != before
    begin, end = np.flatnonzero(changes & (flat != 0)), np.flatnonzero(changes & (before != 0))
    return flat[begin], begin // (width + 1), begin % (width + 1), end % (width + 1)


def rings_of(edges: Edges, objects: int, stride: int) -> Rings:
    """All outlines of whole objects. edges: every edge of objects 0 … objects - 1, each of which has some.

    Objects must be connected over edges of pixels (4-connected). Where two of their pixels meet at a corner only, the
    outline turns left, around the background there: the object and this corner close a curve, so the background on the
    two sides of it belongs to two rings, and none passes a corner twice. Hence the polygons are valid (OGC 06-103r4
    6.1.11): rings are simple, touch in single points at most and leave the inside in one piece.
    """
    if objects == 0:
        nothing = np.zeros(1, np.int64)
        return Rings(corners=np.zeros((0, 2), np.int64), ring_starts=nothing, object_starts=nothing)
    upright, back = abs(edges.stop - edges.start) >= stride, edges.stop < edges.start
    corners = int(max(edges.start.max(), edges.stop.max())) + 1
    order = np.lexsort((back ^ upright, edges.owner * corners + edges.start))
    key = (edges.owner * corners + edges.start)[order]
    after = np.searchsorted(key, (edges.owner * corners + edges.stop)[order])
    twice = np.append(key[1:] == key[:-1], False)[after]  # two of its edges start there: left is the first of them,
    after += twice & back[order]  # or the second for those that come backwards
    walk, starts = _cycles(after)
    ring = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    turns = _turns(upright[order][walk], starts)
    walk, ring = walk[turns], ring[turns]
    first = np.searchsorted(ring, np.arange(len(starts)))
    closed = np.insert(walk, first[1:], walk[first[:-1]])
    owner = edges.owner[order][walk[first[:-1]]]
    return Rings(
        corners=np.stack(np.divmod(edges.start[order][closed], stride), axis=1),
        ring_starts=first + np.arange(len(first)),
        object_starts=np.searchsorted(owner, np.arange(objects + 1)),
    )


def _cycles(after: Ints) -> tuple[Ints, Ints]:
    """A permutation as its cycles one behind the other, each from its smallest member: (order, starts and end)."""
    following: list[int] = after.tolist()
    seen = bytearray(len(following))
    order: list[int] = []
    starts = [0]
    for begin in range(len(following)):
        if seen[begin]:
            continue
        at = begin
        while not seen[at]:
            seen[at] = 1
            order.append(at)
            at = following[at]
        starts.append(len(order))
    return np.array(order, np.int64), np.array(starts, np.int64)


def _turns(upright: NDArray[np.bool_], starts: Ints) -> NDArray[np.bool_]:
    """Which edges of some cycles do not go straight on from the one before."""
    before = np.roll(upright, 1)
    before[starts[:-1]] = upright[starts[1:] - 1]
    return np.asarray(upright != before)


def densified(rings: Rings, every_px: int) -> Rings:
    """The same outlines with a corner wherever they cross a row or column whose number is a multiple of every_px.

    Neighbours get the same corners on the edge they share, so they still fit after a projection bends it.
    """
    here, there = rings.corners, np.roll(rings.corners, -1, axis=0)
    along = (there - here)[:, 0] == 0  # the axis that moves: x where y stays
    at, to = (np.where(along, places[:, 1], places[:, 0]) for places in (here, there))
    up = to > at
    extra = np.maximum(0, (np.maximum(at, to) - 1) // every_px - np.minimum(at, to) // every_px)
    extra[rings.ring_starts[1:] - 1] = 0  # from the end of a ring nothing leads to the next
    source = np.repeat(np.arange(len(here)), extra + 1)
    number = np.arange(len(source)) - np.repeat(np.cumsum(extra + 1) - (extra + 1), extra + 1)
    between = np.where(up, at // every_px, (at - 1) // every_px + 1)[source] + np.where(up[source], number, -number)
    corners = here[source]
    new = number > 0
    corners[new, along[source][new].astype(int)] = between[new] * every_px
    starts = np.concatenate([[0], np.cumsum(extra + 1)])[rings.ring_starts]
    return Rings(corners=corners, ring_starts=starts, object_starts=rings.object_starts)
