"""Audits of many runs of one gate as one sequence, bounded at every time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from downstream.audit import CONFIDENCE, ERROR_ABOVE, ERROR_BELOW, SCORED, Audit, steps_of
from downstream.audit_bound import Floats, bisect

BETS = 0.98 * 2.0 ** -np.arange(13)
"""Sizes of the bets whose wealths are averaged: large ones for sequences without a miss, small ones for long ones."""
WEIGHTS = np.r_[0.5, np.full(12, 0.5 / 12)]
"""Of the first stake, per bet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """Share of the rejected area that holds the class, averaged over all audited tiles so far."""

    tiles: int
    """Audited tiles so far."""
    estimate: float
    """Mean of the unbiased estimates."""
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""


def shares_of(audit: Audit, found: Sequence[float | None], *, holes: float) -> Floats:
    """(n,) in [0, 1], one per tile drawn: its mean is (1 - SCORED) times the share of the rejected area with the class.

    found: area per tile in the order of the draw, None = not segmented, counted as `holes` times its area.
    Des Raj's values (known + value) over the most they can be; see draw_audit.
    """
    areas = [holes * draw.area if area is None else area for draw, area in zip(audit.draws, found, strict=True)]
    steps = steps_of(audit, areas)
    return np.asarray(np.clip((steps.values + steps.known) * (1 - SCORED) / audit.area, 0.0, 1.0))


def pool(fullest: Floats, emptiest: Floats, confidence: float = CONFIDENCE) -> Pooled:
    """The bounds after these draws of one or many runs. fullest, emptiest: (n,) n > 0, see shares_of, holes 1 and 0.

    Runs may differ in what their gates missed, so what is bounded is the mean over the draws of every run's own share:
    runs count by the tiles they audited. The bounds hold at all times together: looking after every run costs nothing.
    """
    error, scale = 1 - confidence, len(fullest) * (1 - SCORED)
    high = min(above(fullest, ERROR_ABOVE * error) / scale, 1.0)
    low = max(len(emptiest) - above(1 - emptiest, ERROR_BELOW * error), 0.0) / scale
    return Pooled(tiles=len(fullest), estimate=min(max(math.fsum(emptiest) / scale, low), high), low=low, high=high)


def above(shares: Floats, alpha: float) -> float:
    """Upper bound of the sum of the conditional means of a sequence in [0, 1], at every time with error alpha.

    Empirical Bernstein (Howard, Ramdas, McAuliffe and Sekhon 2021, theorem 4; Waudby-Smith and Ramdas 2024, section
    3.2, from Fan, Grama and Liu 2015): exp(l sum(mean - x) - psi(l) sum((x - guess)^2)), psi(l) = -ln(1 - l) - l and
    the guess made before x is seen, has a mean of at most 1; averaged over l, Ville's inequality bounds it.
    """
    before = np.r_[0.0, np.cumsum(shares)[:-1]] / np.arange(1, len(shares) + 1)
    spread = float(np.sum((shares - before) ** 2))
    cost = (-np.log1p(-BETS) - BETS) * spread
    found = float(np.sum(shares))

    def refuted(total: float) -> bool:
        return float(np.logaddexp.reduce(BETS * (total - found) - cost + np.log(WEIGHTS))) >= -math.log(alpha)

    return bisect(refuted, found, float(len(shares)))
