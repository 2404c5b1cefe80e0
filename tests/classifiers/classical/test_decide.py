"""The five classifiers in numpy against scikit-learn's own answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from classifiers.classical.decide import LEAST, coherent, scaled
from classifiers.classical.fit_classifier import TREES, Examples, fit_classifier, fit_scale, growth, thinned
from classifiers.classical.search import GRID, answers, folds, score
from classifiers.classical.trees import checked, rounded_down
from tiling.errors import BadInput

KINDS = {"two exclusive": (2, True), "four exclusive": (4, True), "one of its own": (1, False), "several": (3, False)}
"""Classes, and whether they exclude each other."""


def drawn(kind: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 6) that tell something about the labels (n, classes)."""
    classes, exclusive = KINDS[kind]
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 6)).astype(np.float32)
    hidden = np.random.default_rng(0).normal(size=(6, classes))
    leaning = np.abs(features) @ hidden + features @ hidden[::-1] + 0.5 * random.normal(size=(count, classes))
    chosen = np.eye(classes)[leaning.argmax(axis=1)] if exclusive else leaning > np.median(leaning, axis=0)
    return features, chosen.astype(np.float32)


def examples(kind: str, **changes: Any) -> Examples:
    features, labels = drawn(kind, 160, 1)
    return Examples(features=features, labels=labels, exclusive=KINDS[kind][1], **changes)


def asked(kind: str) -> Any:
    """As scikit-learn wants the labels."""
    _, labels = drawn(kind, 160, 1)
    whole = labels.astype(int)
    return whole.argmax(axis=1) if KINDS[kind][1] else whole[:, 0] if whole.shape[1] == 1 else whole


def share_of(found: Any, kind: str) -> np.ndarray:
    """scikit-learn's predict_proba as (n, classes): of questions without order it gives a list, or both answers."""
    if KINDS[kind][1]:
        return np.asarray(found)
    if isinstance(found, list):
        return np.stack([one[:, 1] for one in found], axis=1)
    return found[:, 1:] if KINDS[kind][0] == 1 else found


def ours(name: Any, kind: str, values: dict[str, float], **changes: Any) -> np.ndarray:
    """Logits on tiles that were not learnt."""
    arrays = fit_classifier(name, examples(kind, **changes), values)
    return answers(name, arrays, drawn(kind, 50, 2)[0], exclusive=KINDS[kind][1])


def shares(logits: np.ndarray, kind: str) -> np.ndarray:
    return softmax(logits, axis=1) if KINDS[kind][1] else expit(logits)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_logistic_regression_is_scikit_learns(kind: str, balanced: bool) -> None:
    model: Any = LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced" if balanced else None)
    model = OneVsRestClassifier(model) if kind == "several" else model
    told = model.fit(examples(kind).features.astype(float), asked(kind)).predict_proba(drawn(kind, 50, 2)[0])
    found = shares(ours("logistic", kind, {"C": 0.1}, balanced=balanced), kind)
    np.testing.assert_allclose(found, share_of(told, kind), atol=1e-5)
    assert found.std() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_support_vector_machines_are_scikit_learns(kind: str) -> None:
    """Several classes, exclusive or not, each against the rest."""
    features = examples(kind).features.astype(float)
    model: Any = SVC(C=3.0, gamma=0.5 / features.var(axis=0).sum())
    model = model if KINDS[kind][0] < 3 else OneVsRestClassifier(model)
    told = model.fit(features, asked(kind)).decision_function(drawn(kind, 50, 2)[0].astype(float))
    found = ours("svm", kind, {"C": 3.0, "gamma": 0.5})
    if kind == "two exclusive":
        assert (found[:, 0] == 0).all()
        found = found[:, 1]
    np.testing.assert_allclose(found.reshape(told.shape), told, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_nearest_neighbours_are_scikit_learns(kind: str) -> None:
    learnt, fresh = examples(kind).features, drawn(kind, 50, 2)[0]
    model = KNeighborsClassifier(7, weights="distance").fit(learnt, asked(kind))
    found = shares(ours("knn", kind, {"n_neighbors": 7}), kind)
    np.testing.assert_allclose(found, share_of(model.predict_proba(fresh), kind), atol=4 * LEAST)
    arrays = fit_classifier("knn", examples(kind), {"n_neighbors": 7})
    itself = shares(answers("knn", arrays, learnt[:20], exclusive=KINDS[kind][1]), kind)
    np.testing.assert_allclose(itself, examples(kind).labels[:20], atol=4 * LEAST, err_msg="a tile that was learnt")


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_trees_and_forests_are_scikit_learns(kind: str, balanced: bool) -> None:
    learnt, fresh = examples(kind, balanced=balanced), drawn(kind, 50, 2)[0]
    values = {"min_samples_leaf": 3, "max_features": 0.5}
    tree: Any = DecisionTreeClassifier(**growth(learnt, values, 1))
    forest: Any = RandomForestClassifier(TREES, max_features=0.5, **growth(learnt, values, TREES))
    for name, model in (("tree", tree), ("forest", forest)):
        told = share_of(model.fit(learnt.features, asked(kind)).predict_proba(fresh), kind)
        found = shares(ours(name, kind, values, balanced=balanced), kind)
        np.testing.assert_allclose(found, told, atol=4 * LEAST)
        assert found.std() > 0.05


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6, width=32))
def test_a_rounded_threshold_parts_as_before(threshold: float, value: float) -> None:
    narrow = rounded_down(np.array([threshold]))[0]
    for x in (np.float32(value), np.float32(threshold), np.nextafter(np.float32(threshold), np.float32(np.inf))):
        assert (float(x) <= threshold) == (x <= narrow)


def test_a_class_nobody_holds_is_unlikely() -> None:
    """A fold of groups may lack one; what is learnt from it has to answer all the same."""
    features, labels = drawn("four exclusive", 160, 1)
    labels[labels[:, 3] == 1] = [1, 0, 0, 0]
    for name in GRID:
        arrays = fit_classifier(name, Examples(features=features, labels=labels, exclusive=True), GRID[name][0])
        logits = answers(name, arrays, features, exclusive=True)
        assert logits.shape == (160, 4)
        assert (logits.argmax(axis=1) != 3).mean() > 0.9, name


@pytest.mark.parametrize("exclusive", [True, False])
def test_two_classes_of_which_one_is_never_seen(exclusive: bool) -> None:
    features, _ = drawn("two exclusive", 40, 1)
    labels = np.tile(np.array([1, 0], np.float32), (40, 1))
    for name in GRID:
        one = Examples(features=features, labels=labels, exclusive=exclusive)
        logits = answers(name, fit_classifier(name, one, GRID[name][0]), features, exclusive=exclusive)
        assert (logits[:, 0] > logits[:, 1] + 5).all(), name


def test_a_forest_stays_small() -> None:
    """Noise makes every tree as large as it may be."""
    random = np.random.default_rng(0)
    labels = np.eye(10, dtype=np.float32)[random.integers(0, 10, 1500)]
    noise = Examples(features=random.normal(size=(1500, 6)).astype(np.float32), labels=labels, exclusive=True)
    arrays = fit_classifier("forest", noise, {"min_samples_leaf": 1, "max_features": 0.3})
    assert 1_000_000 < sum(array.nbytes for array in arrays.values()) < 1_510_000


@pytest.mark.parametrize(
    ("name", "value"),
    [("tree.left", 0), ("tree.right", 10**6), ("tree.feature", 6), ("tree.start", -1), ("leaf.shares", None)],
)
def test_trees_that_lead_nowhere_are_refused(name: str, value: int | None) -> None:
    arrays = dict(fit_classifier("tree", examples("two exclusive"), {"min_samples_leaf": 3}))
    checked(arrays, 6)
    changed = arrays[name].copy()
    if value is None:
        changed = changed[:1]
    else:
        changed[0] = value
    with pytest.raises(ValueError, match="point outside"):
        checked(arrays | {name: changed}, 6)


def test_neighbours_weigh_no_classes() -> None:
    with pytest.raises(BadInput, match="class_weights = false"):
        fit_classifier("knn", examples("several", balanced=True), {"n_neighbors": 5})


@pytest.mark.parametrize("name", ["forest", "svm"])
def test_every_feature_weighs_the_same(name: Any) -> None:
    """Of ten numbers or of seventy: as many z-scores, in which one number never changes, weigh as a hundred do."""
    features = np.random.default_rng(1).normal(3, 5, (100, 80))
    features[:, 7] = 2.5
    scale = fit_scale(features, (10, 70), name)
    found = scaled(features, scale)
    z = np.divide(features - features.mean(0), np.where(np.arange(80) == 7, 1, features.std(0)))
    expected = z * np.sqrt(np.where(np.arange(80) < 10, 100 / 10, 100 / 70))
    if name == "forest":
        np.testing.assert_allclose(found, expected, atol=1e-5)
        return
    assert found.shape == (100, 64)
    left, right = np.linalg.svd(expected, full_matrices=False)[:2]
    np.testing.assert_allclose(np.abs(found[:, :20]), np.abs(left * right)[:, :20], atol=1e-3)


def test_thinned_tiles_keep_their_proportion() -> None:
    labels = np.repeat(np.eye(3, dtype=np.float32), [900, 90, 10], axis=0)
    kept = thinned(labels, 100, seed=1)
    assert len(set(kept)) == 100
    np.testing.assert_allclose(labels[kept].sum(axis=0), [90, 9, 1], atol=1)
    np.testing.assert_array_equal(thinned(labels, 1000, seed=1), np.arange(1000))


@given(st.integers(0, 1000))
def test_folds_keep_groups_together(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.eye(3, dtype=np.float32)[random.integers(0, 3, 60)]
    groups = random.integers(0, 8, 60).astype(str)
    parts = folds(labels, groups, seed)
    assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(60))
    for learnt, held_out in parts:
        assert not set(groups[learnt]) & set(groups[held_out])


def test_one_group_can_not_be_held_out() -> None:
    assert folds(np.ones((4, 1), np.float32), np.array(["a"] * 4), 0) == []


def test_scores_by_hand() -> None:
    labels = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    logits = np.array([[2.0, 1], [1, 2], [2, 1]])
    assert score(logits, labels, exclusive=True) == pytest.approx(2 / 3)
    assert score(logits, labels, exclusive=False) == pytest.approx(0.75)  # each class: one pair right, one a tie


def test_a_parent_is_at_least_as_probable_as_its_child() -> None:
    np.testing.assert_array_equal(coherent(np.array([-1.0, 0.0, 2.0, 1.0]), (-1, 0, 1, -1)), [2, 2, 2, 1])


def test_what_is_certain_has_a_limit() -> None:
    features, labels = drawn("one of its own", 40, 1)
    sure = Examples(features=features, labels=np.ones_like(labels), exclusive=False)
    found = answers("forest", fit_classifier("forest", sure, GRID["forest"][0]), features, exclusive=False)
    np.testing.assert_allclose(found, logit(1 - LEAST), rtol=1e-6)
