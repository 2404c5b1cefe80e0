"""Metrics of masks, against scikit-learn on the pixels themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from classifiers.measuring.mask_metrics import mask_metrics
from tiling.errors import BadInput

CLASSES = ("forest", "water")


def counted(mapped, truth, classes: int):
    """(n, h, w) masks -> (n, classes, 4)."""
    rows = [
        [(m == c) & (t == c), m == c, t == c, t >= 0]
        for m, t in zip(mapped, truth, strict=True)
        for c in range(1, classes + 1)
    ]
    return np.array([[part.sum() for part in row] for row in rows], np.int64).reshape(len(truth), classes, 4)


@pytest.fixture
def masks():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, (6, 20, 20))
    wrong = random.random(truth.shape) < 0.3
    return np.where(wrong, random.integers(0, 3, truth.shape), truth), truth


def test_figures_are_those_of_all_pixels_together(masks) -> None:
    mapped, truth = masks
    found = mask_metrics(counted(mapped, truth, 2), CLASSES, np.array(list("aabbcc")))
    for number, name in enumerate(CLASSES, start=1):
        own, m, t = found["per_class"][name], (mapped == number).ravel(), (truth == number).ravel()
        assert own["iou"] == pytest.approx(metrics.jaccard_score(t, m))
        assert own["dice"] == own["f1"] == pytest.approx(metrics.f1_score(t, m))
        assert own["precision"] == pytest.approx(metrics.precision_score(t, m))
        assert own["recall"] == pytest.approx(metrics.recall_score(t, m))
        assert own["accuracy"] == pytest.approx(metrics.accuracy_score(t, m))
        assert own["area_bias"] == pytest.approx(m.sum() / t.sum() - 1)
        assert (own["mapped_px"], own["true_px"], own["labelled_px"]) == (m.sum(), t.sum(), truth.size)
    macro = metrics.f1_score(truth.ravel(), mapped.ravel(), labels=[1, 2], average="macro")
    assert found["dice"] == pytest.approx(macro)
    assert found["tiles"] == 6


def test_each_group_is_measured_by_itself(masks) -> None:
    mapped, truth = masks
    groups = np.array(list("abbcaa"))
    found = mask_metrics(counted(mapped, truth, 2), CLASSES, groups)["per_group"]
    assert {group: own["tiles"] for group, own in found.items()} == {"a": 3, "b": 2, "c": 1}
    own = truth[groups == "a"].ravel(), mapped[groups == "a"].ravel()
    assert found["a"]["iou"] == pytest.approx(metrics.jaccard_score(*own, labels=[1, 2], average="macro"))


def test_the_order_of_tiles_changes_nothing_to_the_bit(masks) -> None:
    counts, groups = counted(*masks, 2), np.array(list("abbcaa"))
    order = np.random.default_rng(3).permutation(6)
    assert mask_metrics(counts[order], CLASSES, groups[order]) == mask_metrics(counts, CLASSES, groups)


def test_the_area_that_is_off_most_is_told_with_its_sign() -> None:
    counts = np.array([[[80, 120, 100, 1000], [10, 10, 40, 1000]]])
    assert mask_metrics(counts, CLASSES, np.array(["a"]))["area_bias"] == -0.75


def test_empty_masks_are_not_defined_and_json_holds_them() -> None:
    found = mask_metrics(np.array([[[0, 0, 0, 50]]]), ("forest",), np.array(["a"]))
    assert found["iou"] is None
    assert found["area_bias"] is None
    assert found["accuracy"] == 1.0
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert mask_metrics(np.array([[[0, 5, 0]]]), ("forest",), np.array(["a"]))["precision"] == 0.0


def test_without_the_labelled_pixels_there_is_no_accuracy() -> None:
    found = mask_metrics(np.array([[[8, 12, 10]]]), ("forest",), np.array(["a"]))
    assert (found["accuracy"], found["iou"]) == (None, pytest.approx(8 / 14))


@pytest.mark.parametrize(
    ("counts", "groups", "why"),
    [
        ([[[9, 8, 10, 50]]], ["a"], "more pixels agree"),
        ([[[8, 30, 30, 50]]], ["a"], "than are labelled"),
        ([[[8, 8, 8, 50]]], ["a", "b"], "1 tiles, groups of 2"),
        ([[8, 8, 8]], ["a"], r"counts are \(1, 3\)"),
        ([[[8, 8, 8]] * 2], ["a"], "for 1 classes"),
    ],
)
def test_counts_that_contradict_each_other_are_refused(counts, groups, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        mask_metrics(np.array(counts), ("forest",), np.array(groups))
