"""What held-out tiles prove about a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BadInput

RECALLS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)
"""Rows of a table."""


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact bounds of a share (Clopper and Pearson 1934), from quantiles of the beta distribution.

    They hold for trials that do not depend on each other. Without a trial: 0 to 1.
    """
    if not (0 <= successes <= trials and 0 < confidence < 1):
        raise BadInput(f"no bounds for {successes} of {trials} at a confidence of {confidence}")
    from scipy.special import betaincinv

    tail, failures = (1 - confidence) / 2, trials - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return low, high


def threshold_for(scores: NDArray[np.floating], positive: NDArray[np.bool_], recall: float) -> float:
    """The highest threshold that lets at least this share of these positive tiles through (score >= threshold).

    scores: (n,); positive: (n,). recall in (0, 1]. Raises BadInput without a positive tile.
    """
    if not 0 < recall <= 1:
        raise BadInput(f"a recall of {recall:g} cannot be aimed at; it is a share above 0 and up to 1, such as 0.99")
    own = np.sort(scores[positive])[::-1]
    if not len(own):
        raise BadInput(
            f"none of {len(scores)} tiles is positive: they say nothing about a threshold. Label some that are."
        )
    if np.isnan(own[0]):  # sorted last, so first here
        raise BadInput(
            "some tiles have no score (NaN): they pass every threshold, so they prove nothing. Leave them out."
        )
    needed = math.ceil(recall * len(own))
    if (needed - 1) / len(own) >= recall:  # the product was rounded up across a whole number
        needed -= 1
    return float(own[needed - 1])


def recall_table(
    scores: NDArray[np.floating],
    positive: NDArray[np.bool_],
    confidence: float = 0.95,
    groups: NDArray[np.str_] | None = None,
    recalls: Sequence[float] = RECALLS,
) -> list[dict[str, float | int | None]]:
    """What each aim costs on these tiles, and what these tiles prove of it; no rows without a positive tile.

    scores, positive: (n,). A row: the target, the threshold it takes, recall with its exact bounds low and high (two-
    sided, for tiles that do not depend on each other), positives and those found. Tiles of one group resemble each
    other, so the bounds are at their best where groups, the number of groups with positives, is not much smaller than
    positives; without groups it is None. let_through: share of all tiles; precision: share of those that is positive.
    """
    if not positive.any():
        return []
    patients = None if groups is None else len(np.unique(groups[positive]))
    total = int(positive.sum())
    rows: list[dict[str, float | int | None]] = []
    for target in recalls:
        threshold = threshold_for(scores, positive, target)
        passed = scores >= threshold
        found = int((passed & positive).sum())
        low, high = clopper_pearson(found, total, confidence)
        row = {"target": target, "threshold": threshold, "recall": found / total, "low": low, "high": high}
        counts = {"found": found, "positives": total, "groups": patients}
        shares = {"let_through": float(passed.mean()), "precision": found / int(passed.sum())}
        rows.append({**row, **counts, **shares})
    return rows
