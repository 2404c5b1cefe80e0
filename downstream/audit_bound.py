"""Bounds of a total from tiles drawn one after the other, valid for every population and every size of sample. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOLD = 0.8
"""Share of the stake on the boldest bet, which wins most while nothing is found and is lost with the first full tile."""
STAKES = np.r_[1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]
"""Fractions of what may be staked; their wealths are averaged (a mixture over bets needs no tuning)."""
SHARES = np.r_[BOLD, np.full(len(STAKES) - 1, (1 - BOLD) / (len(STAKES) - 1))]
"""Of the first stake, per fraction."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """A sample drawn without replacement, tile by tile, from a population whose total is sought."""

    values: Floats
    """(n,) what the tile holds over its chance of being drawn among those left: its mean is the total less `known`."""
    known: Floats
    """(n,) what was found before this draw."""
    reach: Floats
    """(n,) the most that the value can be."""


def upper_total(steps: Steps, most: float, alpha: float) -> float:
    """The smallest total that the draws rule out at error alpha, at most `most`; larger ones are ruled out, too.

    Weighted sampling without replacement with a wealth that bets against "the total is m" (Waudby-Smith and Ramdas
    2024, section 4 and 5; Shekhar, Xu, Lipton, Liang and Ramdas 2023): a factor is 1 + f (p - x) / (1 - p), x = X /
    reach, p = (m - known) / reach, whose mean is at most 1 where the total is m or more. By Ville's inequality wealth
    ever reaches 1 / alpha with a chance of at most alpha.
    """

    def refuted(total: float) -> bool:
        p = (total - steps.known) / steps.reach
        if (p >= 1).any():  # no draw can have so large a mean
            return True
        shares = np.minimum(steps.values / steps.reach, 1)
        return richest((np.maximum(p, 0) - shares) / (1 - np.maximum(p, 0)), SHARES) >= -math.log(alpha)

    return bisect(refuted, float(steps.known[-1]), most)


def lower_total(steps: Steps, most: float, alpha: float) -> float:
    """The largest total below which all are ruled out at error alpha; see upper_total. Factors are 1 + f (x - p) / p."""

    def plausible(total: float) -> bool:
        p = (total - steps.known) / steps.reach
        if (p <= 0).any():  # more than that was found already, or draws that found something had nothing to find
            return not (p < 0).any() and not (steps.values[p == 0] > 0).any()
        return richest((steps.values / steps.reach - p) / p, np.full(len(STAKES), 1 / len(STAKES))) < -math.log(alpha)

    return 0.0 if plausible(0.0) else bisect(plausible, 0.0, most)


def richest(edges: Floats, shares: Floats) -> float:
    """Logarithm of the largest wealth on the way. edges: (n,) at least -1. shares: (stakes,)."""
    with np.errstate(divide="ignore"):
        wealth = np.cumsum(np.log1p(STAKES[:, None] * np.maximum(edges, -1.0)[None, :]), axis=1)
        mixed = np.logaddexp.reduce(wealth + np.log(shares)[:, None], axis=0)
    return float(mixed.max(initial=0.0))


def bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a predicate that is false below and true above begins to hold, from above; `high` where it never does."""
    if not holds(high):
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
