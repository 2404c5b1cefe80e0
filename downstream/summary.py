"""From tile records to the numbers people use. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from downstream.area import AreaCount, AreaUnit, sum_counts
from downstream.audit import Audit, Missed, estimate_missed
from tiling.record import TileRecord
from tiling.state import State

UNSEEN = (State.PLANNED, State.UNREADABLE, State.FAILED)
"""States whose area nobody observed."""
ROUNDING = 1e-6
"""Two sums over the same pixels differ by a smaller share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassArea:
    """One class of the segmenter over the whole image."""

    name: str
    """The class."""
    mapped: AreaCount
    """Counted in every tile that was segmented, audited ones included."""
    missed: Missed | None
    """What may lie in the tiles nobody segmented; None when no audit can tell."""


def funnel(tiles: Sequence[TileRecord]) -> dict[str, int]:
    """Tiles per fate: empty + negative + positive + unreadable + failed (+ planned) = total; audited are negatives.

    Of the empty ones `outside_aoi` lie outside of the area of interest; it is there only if some do.
    """
    n = Counter(tile.state for tile in tiles)
    counts = {
        "total": len(tiles),
        "empty": n[State.EMPTY] + n[State.OUTSIDE],
        "negative": n[State.NEGATIVE] + n[State.AUDITED],
        "positive": n[State.POSITIVE] + n[State.SEGMENTED],
        "audited": n[State.AUDITED],
        "unreadable": n[State.UNREADABLE],
        "failed": n[State.FAILED],
    }
    extra = {"planned": n[State.PLANNED], "outside_aoi": n[State.OUTSIDE]}
    return counts | {name: count for name, count in extra.items() if count}


def observed_area(tiles: Sequence[TileRecord]) -> float:
    """Area of valid pixels that some step looked at, m2 or um2."""
    return math.fsum(tile.valid_area for tile in tiles if tile.state not in UNSEEN)


def tissue_area(tiles: Sequence[TileRecord]) -> float | None:
    """Area of tissue in observed tiles, um2: what a share of a slide is a share of. None for images without."""
    found = [t.tissue_area for t in tiles if t.state not in UNSEEN and t.tissue_area is not None]
    return math.fsum(found) if found else None


def beyond_tissue(classes: Sequence[ClassArea], tissue: float | None) -> list[str]:
    """Names of the classes with more area than there is tissue, by more than rounding: some of each lies on glass.

    tissue: um2, None for images without.
    """
    return [] if tissue is None else [c.name for c in classes if c.mapped.area > tissue * (1 + ROUNDING)]


def class_areas(tiles: Sequence[TileRecord], classes: Sequence[str], unit: AreaUnit, audit: Audit) -> list[ClassArea]:
    """Area of every class. audit: of these tiles."""
    seen = [tile for tile in tiles if tile.pixels]
    return [
        ClassArea(
            name=name,
            mapped=sum_counts((AreaCount.of(t.pixels[i], t.area[i], unit) for t in seen), unit),
            missed=estimate_missed(audit, found_in(audit, tiles, i)),
        )
        for i, name in enumerate(classes)
    ]


def found_in(audit: Audit, tiles: Sequence[TileRecord], column: int) -> list[float | None]:
    """Area of a class in each tile drawn, in the order of the draw; None where nobody could segment it."""
    seen = {(tile.row, tile.col): tile.area for tile in tiles if tile.state is State.AUDITED}
    return [seen[draw.key][column] if draw.key in seen else None for draw in audit.draws]


def merge_stages(gate: Sequence[TileRecord], segment: Sequence[TileRecord]) -> list[TileRecord]:
    """One record per tile: the segmenter's where it looked, with what the gate found kept."""
    later = {(tile.row, tile.col): tile for tile in segment}
    return [
        replace(
            later.get((tile.row, tile.col), tile),
            score=tile.score,
            distance=tile.distance,
            claimed_area=tile.claimed_area,
            tissue_area=tile.tissue_area,
        )
        for tile in gate
    ]
