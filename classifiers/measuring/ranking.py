"""How well scores rank the tiles of a class above all others, whatever the threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Counts = NDArray[np.int64]


def roc_auc(scores: Scores, positive: NDArray[np.bool_]) -> float | None:
    """Chance that a tile of the class scores above one that is not, ties counting half (Hanley and McNeil 1982).

    scores, positive: (n,). None where either kind of tile is missing.
    """
    _, hits, false = passing(scores, positive)
    if not (hits[-1:].any() and false[-1:].any()):
        return None
    area = np.trapezoid(np.append(0, hits).astype(np.float64), np.append(0, false))
    return float(area / hits[-1] / false[-1])


def pr_auc(scores: Scores, positive: NDArray[np.bool_]) -> float | None:
    """Average precision: precision at each step of recall, weighed by the step; no interpolation.

    scores, positive: (n,). None without a tile of the class.
    """
    _, hits, false = passing(scores, positive)
    if not hits[-1:].any():
        return None
    steps = np.diff(hits, prepend=0) / hits[-1]
    return float((steps * hits / (hits + false)).sum())


def curve(scores: Scores, positive: NDArray[np.bool_], points: int = 200) -> dict[str, list[float]]:
    """What passes at falling thresholds, for drawing: lists of equal length, at most `points`; empty where undefined.

    scores, positive: (n,). Keys threshold, recall, precision, false_positive_rate.
    """
    thresholds, hits, false = passing(scores, positive)
    if not (hits[-1:].any() and false[-1:].any()):
        return {"threshold": [], "recall": [], "precision": [], "false_positive_rate": []}
    last = len(thresholds) - 1
    kept = np.unique(np.linspace(0, last, min(points, last + 1)).round().astype(np.intp))
    thresholds, hits, false = thresholds[kept], hits[kept], false[kept]
    return {
        "threshold": thresholds.astype(np.float64).tolist(),
        "recall": (hits / positive.sum()).tolist(),
        "precision": (hits / (hits + false)).tolist(),
        "false_positive_rate": (false / (~positive).sum()).tolist(),
    }


def passing(scores: Scores, positive: NDArray[np.bool_]) -> tuple[Scores, Counts, Counts]:
    """Distinct scores, falling, and how many tiles of the class and of none reach each: three of the same length.

    scores, positive: (n,).
    """
    thresholds, place = np.unique(scores, return_inverse=True)
    hits = np.bincount(place[positive], minlength=len(thresholds))[::-1].cumsum()
    false = np.bincount(place[~positive], minlength=len(thresholds))[::-1].cumsum()
    return thresholds[::-1], hits.astype(np.int64), false.astype(np.int64)
