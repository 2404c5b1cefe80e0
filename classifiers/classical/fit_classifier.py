"""The five classifiers, fitted by scikit-learn and taken apart into arrays. Needs scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import ClassifierName
from classifiers.classical.arrays import Arrays, Table
from classifiers.classical.decide import LEAST
from classifiers.classical.trees import LEAF, rounded_down
from tiling.errors import BadInput

AXES_MOST = 64
"""Principal axes of the features that svm and knn measure distances on."""
EXAMPLES_MOST = 4000
"""Tiles that svm and knn learn from, at most: they are kept, and a bundle stays small."""
WIDTH = 100
"""Numbers that every feature weighs as much as, however many it is."""
TREES = 100
TREES_BYTES = 1_500_000
"""All nodes and leaves of a forest together; a tree gets its share, best splits first."""
NODE_BYTES = 14
Values = Mapping[str, float]
"""Hyperparameters, in scikit-learn's words."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """What is learnt from."""

    features: Table
    """(n, k) float32, scaled."""
    labels: NDArray[np.float32]
    """(n, classes), 0 or 1."""
    exclusive: bool
    """Each tile is of exactly one class."""
    balanced: bool = False
    """Classes are weighed by one over their frequency."""
    seed: int = 1
    """Of what is drawn while fitting."""

    def pick(self, chosen: NDArray[np.intp]) -> Examples:
        """Some of them."""
        return replace(self, features=self.features[chosen], labels=self.labels[chosen])

    @property
    def weight(self) -> str | None:
        """As scikit-learn wants it."""
        return "balanced" if self.balanced else None


def fit_scale(
    features: NDArray[np.float64], widths: Sequence[int], classifier: ClassifierName
) -> dict[str, NDArray[Any]]:
    """(n, k) -> their mean, and what their distance from it is divided by; for svm and knn also their principal axes.

    The divisor is the deviation (1 where there is none), and more for numbers of a feature that has many: each feature
    as a whole weighs as much as any other. widths: numbers per feature.
    """
    mean, std = features.mean(axis=0), features.std(axis=0)
    share = np.repeat(np.sqrt(np.array(widths) / WIDTH), widths)
    std = np.where(std > 1e-9 * (1 + np.abs(mean)), std, 1) * share
    found: dict[str, NDArray[Any]] = {"scale.mean": mean.astype(np.float32), "scale.std": std.astype(np.float32)}
    if classifier in {"svm", "knn"}:
        scores = (features - mean) / std
        _, axes = np.linalg.eigh(scores.T @ scores)
        found["scale.axes"] = axes[:, ::-1][:, :AXES_MOST].astype(np.float32)
    return found


def fit_classifier(classifier: ClassifierName, examples: Examples, values: Values) -> Arrays:
    """What classifiers.classical.decide needs of a fitted classifier."""
    return _FITS[classifier](examples, values)


def thinned(labels: NDArray[np.float32], most: int, seed: int) -> NDArray[np.intp]:
    """Positions of at most so many tiles, ascending; kinds of tiles (what they hold together) in their proportion."""
    count = len(labels)
    if count <= most:
        return np.arange(count)
    kinds = np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    order = np.lexsort((np.random.default_rng(seed).random(count), kinds))
    return np.sort(order[np.linspace(0, count - 1, most).round().astype(np.intp)])


def _heads(examples: Examples) -> list[NDArray[np.intp]]:
    """What one-against-the-rest asks of each tile, 0 or 1; one question where there are two exclusive classes."""
    columns = range(examples.labels.shape[1])
    asked = columns[1:] if examples.exclusive and len(columns) == 2 else columns
    return [examples.labels[:, i].astype(np.intp) for i in asked]


def _certain(answers: NDArray[np.intp]) -> float:
    """The logit where all examples have the same answer."""
    return float(np.log((1 - LEAST) / LEAST) * (1 if answers.all() else -1))


def _against_zero(rows: NDArray[np.float64], classes: int) -> NDArray[np.float32]:
    """Of two exclusive classes the first has the logit 0, so that the softmax is the sigmoid of the second's."""
    return np.concatenate([np.zeros((classes - len(rows), *rows.shape[1:])), rows]).astype(np.float32)


def _logistic(examples: Examples, values: Values) -> Arrays:
    """Softmax where classes are exclusive, otherwise one for each."""
    from sklearn.linear_model import LogisticRegression

    def fitted(answers: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
        model = LogisticRegression(C=values["C"], max_iter=2000, class_weight=examples.weight)
        model.fit(examples.features.astype(np.float64), answers)
        return model.coef_, model.intercept_

    classes, width = examples.labels.shape[1], examples.features.shape[1]
    if examples.exclusive and classes > 2:
        answers = examples.labels.argmax(axis=1)
        seen = np.unique(answers)
        weights, offset = np.zeros((classes, width)), np.full(classes, np.log(LEAST))
        found = fitted(answers) if len(seen) > 1 else (np.zeros((1, width)), np.zeros(1))
        weights[seen], offset[seen] = (_against_zero(part, len(seen)) for part in found)
    else:
        heads = [fitted(answers) if np.ptp(answers) else None for answers in _heads(examples)]
        certain = [_certain(answers) for answers in _heads(examples)]
        weights = np.stack([head[0][0] if head else np.zeros(width) for head in heads])
        offset = np.array([head[1][0] if head else sure for head, sure in zip(heads, certain, strict=True)])
    return {"linear.weights": _against_zero(weights, classes), "linear.offset": _against_zero(offset, classes)}


def _svm(examples: Examples, values: Values) -> Arrays:
    """With a Gaussian kernel, one class against the rest. gamma: as a multiple of one over the summed variance."""
    from sklearn.svm import SVC

    features = examples.features.astype(np.float64)
    gamma = values["gamma"] / max(float(features.var(axis=0).sum()), 1e-12)
    heads = _heads(examples)
    weights, offset = np.zeros((len(heads), len(features))), np.array([_certain(answers) for answers in heads])
    for i, answers in enumerate(heads):
        if np.ptp(answers):
            model = SVC(C=values["C"], gamma=gamma, class_weight=examples.weight).fit(features, answers)
            weights[i, model.support_], offset[i] = model.dual_coef_[0], model.intercept_[0]
    used = np.flatnonzero(weights.any(axis=0))
    classes = examples.labels.shape[1]
    return {
        "kernel.vectors": examples.features[used],
        "kernel.weights": _against_zero(weights[:, used], classes),
        "kernel.offset": _against_zero(offset, classes),
        "kernel.gamma": np.array(gamma),
    }


def _knn(examples: Examples, values: Values) -> Arrays:
    """Nothing to fit: the examples are kept."""
    if examples.balanced:
        raise BadInput(
            "k-nearest neighbours weigh no classes: set fit.class_weights = false, or use another classifier"
        )
    count = min(int(values["n_neighbors"]), len(examples.features))
    return {
        "near.examples": examples.features,
        "near.labels": examples.labels.astype(np.uint8),
        "near.count": np.array(count, np.int32),
    }


def _tree(examples: Examples, values: Values) -> Arrays:
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(**growth(examples, values, 1)).fit(examples.features, _answers(examples))
    return _packed([model], model, examples)


def _forest(examples: Examples, values: Values) -> Arrays:
    from sklearn.ensemble import RandomForestClassifier

    options = growth(examples, values, TREES) | {"n_estimators": TREES, "max_features": values["max_features"]}
    model = RandomForestClassifier(**options).fit(examples.features, _answers(examples))
    return _packed(model.estimators_, model, examples)


def growth(examples: Examples, values: Values, trees: int) -> dict[str, Any]:
    """How far each of so many trees may grow, in scikit-learn's words: all together take TREES_BYTES at most."""
    leaves = TREES_BYTES // trees // (2 * NODE_BYTES + 4 * examples.labels.shape[1])
    return {
        "min_samples_leaf": int(values["min_samples_leaf"]),
        "max_leaf_nodes": max(2, leaves),
        "class_weight": examples.weight,
        "random_state": examples.seed,
    }


def _answers(examples: Examples) -> NDArray[np.intp]:
    """(n,) the class, or (n, classes): one tree answers for all."""
    labels = examples.labels.astype(np.intp)
    return labels.argmax(axis=1) if examples.exclusive else labels[:, 0] if labels.shape[1] == 1 else labels


def _packed(grown: Sequence[Any], model: Any, examples: Examples) -> Arrays:
    """scikit-learn's trees, one after the other, their leaves apart."""
    parts: dict[str, list[NDArray[Any]]] = {"feature": [], "left": [], "right": [], "threshold": [], "shares": []}
    nodes, leaves, start = 0, 0, []
    for tree in (one.tree_ for one in grown):
        leaf = tree.children_left < 0
        shares = _shares(tree.value[leaf], model.classes_, examples)
        parts["feature"].append(np.where(leaf, LEAF, tree.feature))
        parts["left"].append(np.where(leaf, leaves + np.cumsum(leaf) - 1, nodes + tree.children_left))
        parts["right"].append(np.where(leaf, 0, nodes + tree.children_right))
        parts["threshold"].append(np.where(leaf, 0, rounded_down(tree.threshold)))
        parts["shares"].append(shares)
        start.append(nodes)
        nodes, leaves = nodes + len(leaf), leaves + len(shares)
    kinds = {"feature": np.int16, "left": np.int32, "right": np.int32, "threshold": np.float32}
    found = {f"tree.{name}": np.concatenate(parts[name]).astype(kind) for name, kind in kinds.items()}
    shares = np.concatenate(parts["shares"]).astype(np.float32)
    return found | {"leaf.shares": shares, "tree.start": np.array(start, np.int32)}


def _shares(value: NDArray[np.float64], classes: Any, examples: Examples) -> NDArray[np.float64]:
    """(leaves, answers, kinds) as scikit-learn has it -> (leaves, classes) share of each class, 0 where it never was."""
    share = value / value.sum(axis=2, keepdims=True)
    found = np.zeros((len(value), examples.labels.shape[1]))
    if examples.exclusive:
        found[:, classes] = share[:, 0]
        return found
    kinds = [classes] if found.shape[1] == 1 else classes
    for i, own in enumerate(kinds):
        if 1 in own:
            found[:, i] = share[:, i, list(own).index(1)]
    return found


_FITS: Mapping[ClassifierName, Callable[[Examples, Values], Arrays]] = {
    "logistic": _logistic,
    "svm": _svm,
    "knn": _knn,
    "tree": _tree,
    "forest": _forest,
}
