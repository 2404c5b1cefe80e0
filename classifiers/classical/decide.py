"""From features to logits, in numpy, from what scikit-learn has fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import ClassifierName
from classifiers.classical.arrays import Arrays, Table, Vector
from classifiers.classical.trees import walk

Decide = Callable[[Table], Vector]
"""Features of one tile, scaled (k,) float32 -> (classes,)."""
LEAST = 1e-4
"""Probabilities closer than this to 0 or 1 count as this close: a count of few trees or neighbours is no certainty."""


def scaled(features: NDArray[np.floating], arrays: Arrays) -> Table:
    """(…, k) -> (…, q) float32: z-scores; on their principal axes where the classifier measures distances."""
    scores = (features - arrays["scale.mean"]) / arrays["scale.std"]
    if "scale.axes" in arrays:
        scores = scores @ arrays["scale.axes"]
    return np.asarray(scores, np.float32)


def decider(classifier: ClassifierName, arrays: Arrays, *, exclusive: bool) -> Decide:
    """Logits before temperature. Those of classifiers that give probabilities p: log p, or log-odds if not exclusive."""
    decide = _DECIDERS[classifier](arrays)
    if classifier in {"logistic", "svm"}:
        return decide
    return lambda row: log_odds(decide(row), exclusive=exclusive)


def log_odds(share: Vector, *, exclusive: bool) -> Vector:
    """Probabilities as the logits of a softmax (exclusive), or of one sigmoid each."""
    kept = np.clip(share, LEAST, 1 - LEAST)
    return np.log(kept) if exclusive else np.log(kept) - np.log1p(-kept)


def coherent(logits: Vector, parents: Sequence[int]) -> Vector:
    """(classes,): a parent is at least as probable as its child. parents: of each class its position, -1 = none.

    Its logit is the largest of its own and its descendants' (Giunchiglia and Lukasiewicz 2020, eq. 3).
    """
    raised = logits.copy()
    for child in range(len(parents)):
        above = parents[child]
        while above >= 0:
            raised[above] = max(raised[above], logits[child])
            above = parents[above]
    return raised


def _linear(arrays: Arrays) -> Decide:
    weights, offset = (arrays[f"linear.{name}"].astype(np.float64) for name in ("weights", "offset"))
    return lambda row: np.asarray(weights @ row + offset)


def _kernel(arrays: Arrays) -> Decide:
    """exp(-gamma d²) of the distances d to the support vectors, weighted."""
    weights, offset = (arrays[f"kernel.{name}"].astype(np.float64) for name in ("weights", "offset"))
    squares, gamma = _squares(arrays["kernel.vectors"]), float(arrays["kernel.gamma"])
    return lambda row: np.asarray(weights @ np.exp(-gamma * squares(row)) + offset)


def _neighbours(arrays: Arrays) -> Decide:
    """Share of each class among the nearest examples, each weighted by one over its distance."""
    labels, count = arrays["near.labels"].astype(np.float64), int(arrays["near.count"])
    squares = _squares(arrays["near.examples"])

    def shares(row: Table) -> Vector:
        distance = np.sqrt(squares(row))
        nearest = np.argpartition(distance, count - 1)[:count]
        same = distance[nearest] <= SAME
        weights = same.astype(np.float64) if same.any() else 1 / distance[nearest]
        return np.asarray(weights @ labels[nearest] / weights.sum())

    return shares


SAME = 1e-6
"""Distance below which an example is the tile itself: it decides alone, or together with others like it."""


def _squares(vectors: Table) -> Callable[[Table], Vector]:
    """Squared distances of a row to all vectors (n, q). In float64: of near ones, float32 leaves nothing."""
    wide = vectors.astype(np.float64)
    lengths = (wide**2).sum(axis=1)

    def squares(row: Table) -> Vector:
        narrow = row.astype(np.float64)
        return np.asarray(np.maximum(lengths - 2 * (wide @ narrow) + narrow @ narrow, 0))

    return squares


_DECIDERS: Mapping[ClassifierName, Callable[[Arrays], Decide]] = {
    "logistic": _linear,
    "svm": _kernel,
    "knn": _neighbours,
    "tree": walk,
    "forest": walk,
}
