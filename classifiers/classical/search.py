"""The few hyperparameters that matter, chosen by cross-validation that keeps groups together. Needs scikit-learn."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import ClassifierName
from classifiers.classical.arrays import Arrays, Table, Vector
from classifiers.classical.decide import decider
from classifiers.classical.fit_classifier import Examples, Values, fit_classifier

log = logging.getLogger("tilegate")

FOLDS = 3
GRID: Mapping[ClassifierName, tuple[Values, ...]] = {
    "logistic": ({"C": 0.001}, {"C": 0.01}, {"C": 0.1}, {"C": 1.0}),
    "svm": tuple({"C": c, "gamma": gamma} for c in (1.0, 10.0) for gamma in (0.3, 1.0)),
    "knn": ({"n_neighbors": 5}, {"n_neighbors": 15}, {"n_neighbors": 45}),
    "tree": ({"min_samples_leaf": 5}, {"min_samples_leaf": 20}, {"min_samples_leaf": 60}),
    "forest": tuple({"min_samples_leaf": leaf, "max_features": share} for leaf in (1, 4) for share in (0.1, 0.3)),
}
"""In scikit-learn's words; of equals, the first is taken."""


def search(classifier: ClassifierName, examples: Examples, groups: NDArray[np.str_]) -> Values:
    """Those of GRID with the best mean score on held-out groups.

    Features and their scale were fitted on all examples before: they do not know the labels.
    """
    parts = folds(examples.labels, groups, examples.seed)
    if not parts:
        log.info("%s: one group only, nothing to hold out: %s", classifier, dict(GRID[classifier][0]))
        return GRID[classifier][0]
    scores = [_cross_validated(classifier, examples, values, parts) for values in GRID[classifier]]
    for values, found in zip(GRID[classifier], scores, strict=True):
        log.info("%s %s: %.4f in cross-validation", classifier, dict(values), found)
    return GRID[classifier][int(np.argmax(scores))]


def folds(
    labels: NDArray[np.float32], groups: NDArray[np.str_], seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(learnt, held out) positions, at most FOLDS; none with one group. Stratified by the rarest class of each tile."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    count = min(FOLDS, len(np.unique(groups)))
    if count < 2:
        return []
    kinds = _rarest(labels)
    least = np.unique(kinds, return_counts=True)[1].min()
    way = StratifiedGroupKFold if least >= count else GroupKFold
    parts = way(count, shuffle=True, random_state=seed).split(labels, kinds, groups)
    return [(learnt, held_out) for learnt, held_out in parts if len(learnt) and len(held_out)]


def _rarest(labels: NDArray[np.float32]) -> NDArray[np.intp]:
    """(n,) of the classes a tile holds the rarest, 0 = none, else 1 + its column."""
    order = np.argsort(labels.sum(axis=0))
    held = labels[:, order] > 0
    return np.where(held.any(axis=1), 1 + order[held.argmax(axis=1)], 0)


def _cross_validated(
    classifier: ClassifierName,
    examples: Examples,
    values: Values,
    parts: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> float:
    scores = []
    for learnt, held_out in parts:
        arrays = fit_classifier(classifier, examples.pick(learnt), values)
        logits = answers(classifier, arrays, examples.features[held_out], exclusive=examples.exclusive)
        scores.append(score(logits, examples.labels[held_out], exclusive=examples.exclusive))
    return float(np.mean(scores))


def answers(classifier: ClassifierName, arrays: Arrays, features: Table, *, exclusive: bool) -> NDArray[np.float64]:
    """(n, k) scaled -> logits (n, classes), before temperature."""
    decide = decider(classifier, arrays, exclusive=exclusive)
    return np.stack([decide(row) for row in features])


def score(logits: NDArray[np.float64], labels: NDArray[np.float32], *, exclusive: bool) -> float:
    """Larger is better: accuracy where classes exclude each other, otherwise the mean area under their ROC curves.

    Classes that all or none of the tiles hold have no such curve; 0.5 where no class has one.
    """
    if exclusive:
        return float((logits.argmax(axis=1) == labels.argmax(axis=1)).mean())
    areas = [_roc_auc(logits[:, i], labels[:, i] > 0) for i in range(labels.shape[1]) if np.ptp(labels[:, i])]
    return float(np.mean(areas)) if areas else 0.5


def _roc_auc(scores: Vector, positive: NDArray[np.bool_]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores))
