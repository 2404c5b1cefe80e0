"""Confident learning: which labels a model that never saw them contradicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def out_of_fold(
    features: NDArray[np.float64], given: NDArray[np.intp], classes: int, fold: NDArray[np.intp]
) -> NDArray[np.float64]:
    """(n, classes) probabilities of a logistic regression fitted to the tiles of all other folds.

    features: (n, k); given: (n,) class numbers; fold: (n,). Where the other folds have one class only, it is certain.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probability = np.zeros((len(given), classes))
    for held_out in np.unique(fold):
        own, others = np.flatnonzero(fold == held_out), fold != held_out
        seen = np.unique(given[others])
        if len(seen) == 1:
            probability[own, seen[0]] = 1
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        model.fit(features[others], given[others])
        probability[np.ix_(own, seen)] = model.predict_proba(features[own])
    return probability


def label_errors(probability: NDArray[np.float64], given: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,) the class a tile is rather of, where its label is likely to be wrong; the given one elsewhere.

    Northcutt, Jiang and Chuang 2021. The confident joint (eq. 1) estimates how many tiles labelled i are of class j; so
    many, those where the probability of j exceeds that of i most, are taken for errors (pruning by noise rate).
    probability: (n, classes), out of fold; given: (n,), each class at least once.
    """
    likely, gain = given.copy(), np.zeros(len(given))
    for i, row in enumerate(_confident_joint(probability, given)):
        own = np.flatnonzero(given == i)
        for j, count in enumerate(np.round(row * len(own) / max(row.sum(), 1)).astype(int)):
            margin = probability[own, j] - probability[own, i]
            doubted = np.argsort(-margin, kind="stable")[: count if i != j else 0]
            better = doubted[margin[doubted] > gain[own[doubted]]]
            likely[own[better]], gain[own[better]] = j, margin[better]
    return likely


def _confident_joint(probability: NDArray[np.float64], given: NDArray[np.intp]) -> NDArray[np.int64]:
    """(classes, classes) tiles labelled i (rows) that are confidently of class j.

    Confidently: the probability of j reaches its mean over the tiles labelled j; of several such classes, the most
    probable.
    """
    classes = probability.shape[1]
    mean = np.array([probability[given == j, j].mean() for j in range(classes)])
    confident = np.where(probability >= mean, probability, -1.0)
    sure = confident.max(axis=1) >= 0
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (given[sure], confident.argmax(axis=1)[sure]), 1)
    return joint
