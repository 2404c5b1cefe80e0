"""Tiles whose data was seen on the gate plane only: they may hold less of it than was counted as observed. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from downstream.audit import Audit, Missed, estimate_missed
from tiling.record import TileRecord
from tiling.state import State

CLAIMING = (State.NEGATIVE, State.EMPTY)
"""States of tiles whose pixels nobody looked at one by one."""

ROUNDING = 1e-9
"""Share of a tile below which two sums of its pixels differ by rounding: it has fewer pixels than the inverse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What was observed on the gate plane only."""

    tiles: int
    """Tiles that were rejected, or screened out, and not audited; all of each holds data as the gate plane shows it."""
    area: float
    """Of these tiles: the most that may turn out to hold no data, m2 or um2."""
    audited: int
    """Audited tiles that the gate plane showed full of data."""
    lacking: int
    """How many of them were not."""
    found: float
    """Area without data in them, m2 or um2; it does not count as observed."""
    hidden: Missed | None
    """Area without data in these tiles; None when no audit can tell. No audit looks at tiles that were screened out:
    they are in the upper bound as a whole, and in nothing else."""


def claims_of(tiles: Sequence[TileRecord], audit: Audit) -> Claims | None:
    """None where what is observed is exact. audit: of these tiles; it finds what hides as it finds missed areas."""
    claiming = [tile.claimed_area for tile in tiles if tile.state in CLAIMING and tile.claimed_area]
    if not claiming:
        return None
    looked = {(tile.row, tile.col): _lacks(tile) for tile in tiles if tile.state is State.AUDITED}
    claimed = [_lacks(tile) for tile in tiles if tile.state is State.AUDITED and tile.claimed_area is not None]
    screened = math.fsum(tile.claimed_area or 0.0 for tile in tiles if tile.state is State.EMPTY)
    area, hidden = math.fsum(claiming), estimate_missed(audit, [looked.get(draw.key) for draw in audit.draws])
    return Claims(
        tiles=len(claiming),
        area=area,
        audited=len(claimed),
        lacking=sum(area > 0 for area in claimed),
        found=math.fsum(claimed),
        hidden=None if hidden is None else replace(hidden, high=min(hidden.high + screened, area)),
    )


def _lacks(tile: TileRecord) -> float:
    """Area of an audited tile that the gate plane showed as data and that holds none; less than a pixel is rounding."""
    lost = (tile.claimed_area or 0.0) - tile.valid_area
    return lost if tile.claimed_area is not None and lost > ROUNDING * tile.claimed_area else 0.0
