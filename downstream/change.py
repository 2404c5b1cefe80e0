"""Two dates of one place: what stayed, what was gained, what was lost, and what nobody can say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from downstream.area import AreaCount, AreaUnit, count_pixels, sum_counts
from tiling.pixel_area import PixelAreas
from tiling.window import Window

OUTSIDE, HOLE, REJECTED, BACKGROUND, FIRST_CLASS = range(5)
"""Codes of a pixel at one date: no data or beyond the image; a tile that was not done, not read or failed; background
because the gate kept its tile out and nobody looked; background that the segmenter saw; class i is FIRST_CLASS + i."""

Codes = NDArray[np.uint16]
Cells = Mapping[tuple[int, int], AreaCount]
"""Counted pixels by (code at A, code at B); what is not there is zero."""
Known = Literal["both", "a", "b"]


def join_classes(a: Sequence[str], b: Sequence[str]) -> tuple[str, ...]:
    """Every class of two runs once, A's first: classes are the same when their names are."""
    return tuple(dict.fromkeys((*a, *b)))


def label_codes(classes: Sequence[str], joined: Sequence[str]) -> Codes:
    """(classes + 1,): what a run's label means among the joined classes; label 0 is background somebody saw."""
    return np.array([BACKGROUND, *(FIRST_CLASS + joined.index(name) for name in classes)], np.uint16)


def count_change(a: Codes, b: Codes, areas: PixelAreas, window: Window) -> dict[tuple[int, int], AreaCount]:
    """How much of a window is what at A and what at B. a, b: (h, w) codes of the same pixels, those of `window`."""
    many = int(max(a.max(), b.max())) + 1
    pair = a.astype(np.intp) * many + b
    present = np.flatnonzero(np.bincount(pair.ravel()))
    return {divmod(int(code), many): count_pixels(pair == code, areas, window) for code in present}


def sum_cells(parts: Iterable[Cells], unit: AreaUnit) -> dict[tuple[int, int], AreaCount]:
    """The total of some windows: exact, so any order of them gives the same bits."""
    total: dict[tuple[int, int], AreaCount] = {}
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, AreaCount.zero(unit)) + count
    return dict(sorted(total.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An area as mapped, and how far the two gates may have moved it."""

    mapped: AreaCount
    """Between the two masks as they are; pixels and area of a net change may be negative."""
    low: float
    """No less, m2 or um2."""
    high: float
    """No more, m2 or um2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassChange:
    """One class where both dates were observed."""

    name: str
    """The class."""
    known: Known
    """Who looks for it: both runs, or only one; then nothing was gained or lost."""
    a: AreaCount
    """At A."""
    b: AreaCount
    """At B."""
    stable: Interval | None = None
    """At both."""
    gained: Interval | None = None
    """At B and not at A."""
    lost: Interval | None = None
    """At A and not at B."""
    net: Interval | None = None
    """B less A."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """All that two masks say of one another, on one grid."""

    classes: tuple[str, ...]
    """Joined: code FIRST_CLASS + i is classes[i]."""
    cells: Cells
    """Every pixel of the grid once."""
    unit: AreaUnit
    """Of every area."""

    def total(self, a: Iterable[int], b: Iterable[int]) -> AreaCount:
        """What is one of `a` at A and one of `b` at B."""
        b = tuple(b)
        return sum_counts((self.cells[i, j] for i in a for j in b if (i, j) in self.cells), self.unit)

    @property
    def codes(self) -> range:
        """Every code there may be."""
        return range(FIRST_CLASS + len(self.classes))

    @property
    def seen(self) -> range:
        """Those that count as observed."""
        return self.codes[REJECTED:]

    @property
    def unseen(self) -> range:
        """Those that do not."""
        return self.codes[:REJECTED]

    def observed(self) -> dict[str, AreaCount]:
        """The grid by who observed it: both, only_a, only_b, neither; together they are all of it."""
        return {
            "both": self.total(self.seen, self.seen),
            "only_a": self.total(self.seen, self.unseen),
            "only_b": self.total(self.unseen, self.seen),
            "neither": self.total(self.unseen, self.unseen),
        }

    def holes(self) -> dict[str, AreaCount]:
        """What a run should have seen and did not: tiles unreadable, failed or not done; at A, at B."""
        return {"a": self.total([HOLE], self.codes), "b": self.total(self.codes, [HOLE])}

    def rejected(self) -> dict[str, AreaCount]:
        """Of what both observed: background at A, at B, only because the gate kept its tile out."""
        return {"a": self.total([REJECTED], self.seen), "b": self.total(self.seen, [REJECTED])}

    def matrix(self) -> list[list[AreaCount]]:
        """(1 + classes) x (1 + classes), from A (rows) to B (columns), background first; where both observed."""
        groups = [(REJECTED, BACKGROUND), *((code,) for code in self.codes[FIRST_CLASS:])]
        return [[self.total(a, b) for b in groups] for a in groups]


def class_change(
    change: Change, name: str, known: Known, missed_a: float | None, missed_b: float | None
) -> ClassChange:
    """One class. missed_a, missed_b: at most so much of it lies in the tiles that each gate rejected, m2 or um2.

    None when no audit can tell: then all that was rejected may hold it. With A' = A + what A's gate missed, and B' alike,
    the true gain is all of B' that is not in A'. What A missed can only shrink it, and only where B sees the class and A did not look;
    what B missed can only enlarge it, and only where B did not look and A does not see the class. Loss mirrors that.
    """
    code, seen = FIRST_CLASS + change.classes.index(name), change.seen
    a, b = change.total([code], seen), change.total(seen, [code])
    if known != "both":
        return ClassChange(name=name, known=known, a=a, b=b)
    others = [other for other in seen if other != code]
    stable, gained, lost = change.total([code], [code]), change.total(others, [code]), change.total([code], others)
    net = AreaCount(pixels=b.pixels - a.pixels, exact=b.exact - a.exact, unit=b.unit)
    limit_a, limit_b = _limit(missed_a), _limit(missed_b)
    unlooked_a, unlooked_b = _rooms(change, code, others)
    shrink, grow = min(limit_a, unlooked_a.seen), min(limit_b, unlooked_b.seen)
    both = min(limit_a - shrink, limit_b - grow, unlooked_a.both)
    rise, fall = min(limit_b, unlooked_b.room), min(limit_a, unlooked_a.room)
    return ClassChange(
        name=name,
        known=known,
        a=a,
        b=b,
        stable=_interval(stable, Fraction(0), shrink + grow + both),
        gained=_interval(gained, shrink, rise),
        lost=_interval(lost, grow, fall),
        net=_interval(
            net, min(limit_a, unlooked_a.seen + unlooked_a.room), min(limit_b, unlooked_b.seen + unlooked_b.room)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rooms:
    """Where one gate may have missed a class: the area of tiles it rejected, by what the other date shows there."""

    seen: Fraction
    """The other date shows the class."""
    room: Fraction
    """It shows something else, or did not look either."""
    both: Fraction
    """It did not look either."""


def _rooms(change: Change, code: int, others: Sequence[int]) -> tuple[_Rooms, _Rooms]:
    both = change.total([REJECTED], [REJECTED]).exact
    at_a, at_b = change.total([REJECTED], others).exact, change.total(others, [REJECTED]).exact
    return (
        _Rooms(seen=change.total([REJECTED], [code]).exact, room=at_a, both=both),
        _Rooms(seen=change.total([code], [REJECTED]).exact, room=at_b, both=both),
    )


def _limit(missed: float | None) -> Fraction:
    """Exact; without an audit larger than any area."""
    return Fraction(10) ** 30 if missed is None else Fraction(missed)


def _interval(mapped: AreaCount, below: Fraction, above: Fraction) -> Interval:
    return Interval(mapped=mapped, low=float(mapped.exact - below), high=float(mapped.exact + above))
