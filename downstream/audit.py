"""The audit: gate-negative tiles drawn with known probability, and what they say about the rest. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from downstream.audit_bound import BOLD, Steps, lower_total, upper_total

TileKey = tuple[int, int]

SCORED = 0.2
"""Share of the draw that goes by score; the rest is the floor, by area alone (see draw_audit)."""
CONFIDENCE = 0.95
"""Of missed_low and missed_high together."""
ERROR_ABOVE, ERROR_BELOW = 0.8, 0.2
"""How they share the error: the question is how much was missed, so the upper end gets most of it."""
DESIGN = "score-weighted, without replacement"
"""The name of the design in summary.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A tile that the gate kept out and no ring took back."""

    key: TileKey
    """(row, col) in the grid."""
    score: float | None
    """What the gate gave it, in [0, 1]; without one (None, NaN) it is drawn like a tile of score 1."""
    area: float
    """Area of its core as far as it is of interest, the most of a class that it can hold, m2 or um2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One audited tile and the chances it was drawn with."""

    key: TileKey
    """(row, col) in the grid."""
    area: float
    """Area of its core, m2 or um2."""
    chance: float
    """Of being drawn at its turn, among the tiles then left."""
    reach: float
    """The most that area over chance is for any tile then left, m2 or um2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was drawn, in that order, and what it was drawn from."""

    draws: tuple[Draw, ...]
    """The audited tiles; each is drawn among those that the ones before left."""
    tiles: int
    """Rejected tiles, audited ones included."""
    area: float
    """Of their cores, m2 or um2."""

    @property
    def rest_area(self) -> float:
        """Area of the cores of the rejected tiles that were not drawn, m2 or um2."""
        if len(self.draws) == self.tiles:
            return 0.0
        return max(self.area - math.fsum(draw.area for draw in self.draws), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Area of one class in the tiles that neither gate nor audit let be segmented, m2 or um2."""

    estimate: float
    """Unbiased (Des Raj 1956) but for being kept between the bounds."""
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""


def draw_audit(rejected: Sequence[Rejected], tiles: int, fingerprint: str) -> Audit:
    """`tiles` of the rejected, without replacement, seeded by the run's fingerprint.

    Each turn takes a tile with a chance in proportion to (1 - SCORED) area / sum(area) + SCORED area score /
    sum(area score), a defensive mixture (Hesterberg 1995): tiles that nearly passed are looked at more often, and no
    tile can hide behind its score, as area over chance is at most sum(area) / (1 - SCORED). Drawn as a race of
    exponential clocks (Efraimidis and Spirakis 2006), one per tile, so a tile more or less changes little.
    """
    ordered = sorted((tile for tile in rejected if tile.area > 0), key=lambda tile: tile.key)  # none beyond a pole
    if not ordered:
        return Audit(draws=(), tiles=0, area=0.0)
    whole = math.fsum(tile.area for tile in ordered)
    shares = _shares(ordered, whole)
    clocks = [_clock(fingerprint, tile.key) / share for tile, share in zip(ordered, shares, strict=True)]
    race = sorted(range(len(ordered)), key=clocks.__getitem__)
    share, area = np.array(shares)[race], np.array([tile.area for tile in ordered])[race]
    left = np.cumsum(share[::-1])[::-1]
    reach = np.maximum.accumulate((area / share)[::-1])[::-1] * left
    draws = tuple(
        Draw(key=ordered[i].key, area=ordered[i].area, chance=float(share[t] / left[t]), reach=float(reach[t]))
        for t, i in enumerate(race[:tiles])
    )
    return Audit(draws=draws, tiles=len(ordered), area=whole)


def _shares(tiles: Sequence[Rejected], whole: float) -> list[float]:
    """The chance of each tile at the first draw."""
    marks = [tile.area * _score(tile) for tile in tiles]
    marked = math.fsum(marks)
    if marked == 0:
        return [tile.area / whole for tile in tiles]
    return [(1 - SCORED) * tile.area / whole + SCORED * mark / marked for tile, mark in zip(tiles, marks, strict=True)]


def _score(tile: Rejected) -> float:
    return 1.0 if tile.score is None or math.isnan(tile.score) else tile.score


def _clock(fingerprint: str, key: TileKey) -> float:
    """An exponential variate of mean 1 that depends on the run and the tile alone."""
    digest = hashlib.sha256(f"audit {fingerprint} {key[0]} {key[1]}".encode()).digest()
    return -math.log((int.from_bytes(digest[:8], "big") + 0.5) / 2**64)


def estimate_missed(audit: Audit, found: Sequence[float | None], confidence: float = CONFIDENCE) -> Missed | None:
    """Area still missed in the rejected tiles that were not drawn; None without an audit.

    found: area of the class in each tile drawn, in the order of the draw; None where it could not be segmented, which
    counts as full for the upper bound, as empty for the lower one, and not at all for the estimate.
    The bounds hold together at `confidence` whatever the tiles hold (see audit_bound).
    """
    if audit.tiles == len(audit.draws):
        return Missed(estimate=0.0, low=0.0, high=0.0)
    seen = sum(area is not None for area in found)
    if not seen:
        return None
    fullest = [draw.area if area is None else area for draw, area in zip(audit.draws, found, strict=True)]
    emptiest = [area or 0.0 for area in found]
    error = 1 - confidence
    high = upper_total(steps_of(audit, fullest), audit.area, ERROR_ABOVE * error) - math.fsum(fullest)
    low = lower_total(steps_of(audit, emptiest), audit.area, ERROR_BELOW * error) - math.fsum(emptiest)
    high = _printed(min(max(high, 0.0), audit.rest_area))
    low = _printed(min(max(low, 0.0), high))
    guess = _printed(raj_rest(audit, found))
    return Missed(estimate=min(max(guess, low), high), low=low, high=high)


def raj_rest(audit: Audit, found: Sequence[float | None]) -> float:
    """Mean over the draws of what was found before, plus area over chance (Des Raj 1956), less all that was found."""
    steps = steps_of(audit, [area or 0.0 for area in found])
    looked = np.array([area is not None for area in found])
    return float(np.mean((steps.values + steps.known)[looked])) - math.fsum(area or 0.0 for area in found)


def steps_of(audit: Audit, found: Sequence[float]) -> Steps:
    """The draws of an audit as their bounds need them. found: area in each tile, in the order of the draw, m2 or um2."""
    areas = np.array(found, float)
    return Steps(
        values=areas / np.array([draw.chance for draw in audit.draws]),
        known=np.r_[0.0, np.cumsum(areas)[:-1]],
        reach=np.array([draw.reach for draw in audit.draws]),
    )


def promised(tiles: int) -> float:
    """Share of the rejected area, at most 1, that may be missed at most when this many audited tiles hold nothing.

    Solves BOLD (1 - (1 - SCORED) share)^-tiles = 1 / error: the boldest bet alone, for the tiles drawn least.
    """
    if tiles == 0:
        return 1.0
    stake = ERROR_ABOVE * (1 - CONFIDENCE) * BOLD
    return min(-math.expm1(math.log(stake) / tiles) / (1 - SCORED), 1.0)


def tiles_for(bound: float) -> int:
    """Audited tiles that can promise a share in (0, 1) of the rejected area; see promised."""
    return math.ceil(math.log(ERROR_ABOVE * (1 - CONFIDENCE) * BOLD) / math.log1p(-(1 - SCORED) * bound))


def _printed(area: float) -> float:
    """To nine digits: logarithms differ in their last bit between machines, and a summary must not."""
    return float(f"{area:.9g}")
