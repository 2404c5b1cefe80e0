"""The gate itself: scores to decisions. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BadInput


def positive_columns(classes: Sequence[str], positive: Sequence[str]) -> list[int]:
    """Columns of the score matrix that let a tile through; all of them when `positive` is empty."""
    unknown = sorted(set(positive) - set(classes))
    if unknown:
        raise BadInput(f"gate.positive names {', '.join(unknown)}; this gate knows {', '.join(classes)}")
    return [i for i, name in enumerate(classes) if not positive or name in positive]


def gate_scores(probability: NDArray[np.float32], columns: Sequence[int]) -> NDArray[np.float32]:
    """(n, classes) -> (n,): the highest probability among the positive classes."""
    return np.asarray(probability[:, list(columns)].max(axis=1))


def let_through(score: float | None, threshold: float) -> bool:
    """A tile passes at or above the threshold, so 0 passes all; one the gate could not see (None, NaN) passes too."""
    return score is None or not score < threshold


def grow_rings(positive: NDArray[np.bool_], eligible: NDArray[np.bool_], rings: int) -> NDArray[np.bool_]:
    """Positives and their neighbours (8 around) up to `rings` away, as far as they are eligible.

    positive, eligible: (rows, cols) of tiles. Rings spread through any tile but only take eligible ones.
    """
    grown = positive.copy()
    for _ in range(rings):
        padded = np.pad(grown, 1)
        rows, cols = grown.shape
        grown = np.logical_or.reduce([padded[y : y + rows, x : x + cols] for y in range(3) for x in range(3)])
    return positive | (grown & eligible)
