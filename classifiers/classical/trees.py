"""Decision trees as flat arrays, and the walk down all of them at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from classifiers.classical.arrays import Arrays, Table, Vector

LEAF = -1
"""In place of a feature."""


def checked(arrays: Arrays, features: int) -> None:
    """Raise ValueError for trees that are none: a walk must go forward to end, and stay inside."""
    start, feature, left, right = (arrays[f"tree.{name}"] for name in ("start", "feature", "left", "right"))
    inner, nodes = feature != LEAF, np.arange(len(feature))
    leaves = arrays["leaf.shares"]
    children = np.stack([left, right], axis=1)[inner]
    forward = (children > nodes[inner, None]).all() and (children < len(nodes)).all()
    inside = (feature >= LEAF).all() and (feature < features).all() and (left >= 0).all() and (start >= 0).all()
    if not (forward and inside and (left[~inner] < len(leaves)).all() and (start < len(nodes)).all()):
        raise ValueError("its trees point outside of themselves")


def walk(arrays: Arrays) -> Callable[[Table], Vector]:
    """(k,) float32 -> (classes,) mean over the trees of the shares in the leaf it falls into.

    As scikit-learn: to the left where the feature is at most the threshold. A leaf is made its own child, so that all
    trees can go on until none moves.
    """
    start, feature, left, right = (arrays[f"tree.{name}"] for name in ("start", "feature", "left", "right"))
    cut, shares = arrays["tree.threshold"], arrays["leaf.shares"].astype(np.float64)
    leaf, nodes = feature == LEAF, np.arange(len(feature))
    column = np.where(leaf, 0, feature).astype(np.intp)
    below = np.stack([np.where(leaf, nodes, right), np.where(leaf, nodes, left)], axis=1).astype(np.intp)
    row = np.where(leaf, left, 0).astype(np.intp)

    def answer(features: Table) -> Vector:
        at, before = start.astype(np.intp), None
        while before is None or (at != before).any():
            before, goes = at, (features[column[at]] <= cut[at]).astype(np.intp)
            at = below[at, goes]
        return np.asarray(shares[row[at]].mean(axis=0))

    return answer


def rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above: x <= threshold stays as it was for every float32 x."""
    near = thresholds.astype(np.float32)
    return np.where(near.astype(np.float64) > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
