"""Metrics of gates, against scikit-learn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from classifiers.measuring.gate_metrics import by_group, gate_metrics
from tiling.errors import BadInput

NAMES = ("Forest", "River", "Crop")


def drawn(exclusive: bool, tiles: int = 300, classes: int = 3, seed: int = 0):
    """Labels, and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    if exclusive:
        labels = np.eye(classes)[random.integers(0, classes, tiles)]
        raw = np.exp(random.normal(size=labels.shape) + labels)
        return labels.astype(np.float32), (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)
    labels = random.random((tiles, classes)) < [0.5, 0.1, 0.3][:classes]
    return labels.astype(np.float32), (1 / (1 + np.exp(random.normal(size=labels.shape) - 2 * labels + 1))).astype(
        np.float32
    )


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif value is not None:
        yield value


def macro(labels, answers):
    found = metrics.precision_recall_fscore_support(labels, answers, average="macro", zero_division=np.nan)
    return [pytest.approx(value) for value in found[:3]]


def test_exclusive_classes_are_measured_as_scikit_learn_does() -> None:
    labels, probability = drawn(exclusive=True)
    found = gate_metrics(labels, probability, exclusive=True, classes=NAMES)
    truth, answer = labels.argmax(axis=1), probability.argmax(axis=1)
    assert found["tiles"] == 300
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, answer))
    assert [found["precision"], found["recall"], found["f1"]] == macro(truth, answer)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, probability, average="macro"))
    assert found["pr_auc"] == pytest.approx(metrics.average_precision_score(labels, probability, average="macro"))
    assert found["confusion"] == metrics.confusion_matrix(truth, answer).tolist()
    for column, name in enumerate(NAMES):
        own = found["per_class"][name]
        assert own["tiles"] == (truth == column).sum()
        assert own["predicted"] == (answer == column).sum()
        assert own["f1"] == pytest.approx(metrics.f1_score(truth == column, answer == column))
        assert own["accuracy"] == pytest.approx(metrics.accuracy_score(truth == column, answer == column))


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_classes_that_may_meet_are_measured_each_at_the_threshold(threshold) -> None:
    labels, probability = drawn(exclusive=False)
    found = gate_metrics(labels, probability, False, threshold, NAMES)
    answer = probability >= (threshold or 0.5)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, answer))
    assert [found["precision"], found["recall"], found["f1"]] == macro(labels, answer)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, probability))
    assert found["confusion"] == metrics.multilabel_confusion_matrix(labels, answer).tolist()


def test_one_class_is_not_averaged() -> None:
    labels, probability = drawn(exclusive=False, classes=1)
    found = gate_metrics(labels, probability, exclusive=False, threshold=0.4)
    answer = probability[:, 0] >= np.float32(0.4)
    assert found["precision"] == pytest.approx(metrics.precision_score(labels[:, 0], answer))
    assert found["f1"] == pytest.approx(metrics.f1_score(labels[:, 0], answer))
    assert found["confusion"] == metrics.confusion_matrix(labels[:, 0], answer).tolist()
    assert found["per_class"]["0"]["roc_auc"] == found["roc_auc"]


@pytest.mark.parametrize("exclusive", [True, False])
def test_figures_are_plain_numbers_that_json_holds(exclusive: bool) -> None:
    found = gate_metrics(*drawn(exclusive), exclusive)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {type(value) for value in numbers(found)} == {int, float}


def test_what_is_not_defined_is_none_and_left_out_of_means() -> None:
    labels, probability = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[0.9, 0.1, 0], [0.8, 0.2, 0]])
    found = gate_metrics(labels, probability, exclusive=True, classes=NAMES)
    assert found["per_class"]["Crop"]["recall"] is None
    assert found["per_class"]["Crop"]["roc_auc"] is None
    assert found["per_class"]["River"]["precision"] is None
    assert found["recall"] == 0.5
    assert found["precision"] == 0.5
    assert all(math.isfinite(value) for value in numbers(found))


def test_nothing_is_known_of_no_tiles() -> None:
    found = gate_metrics(np.zeros((0, 2)), np.zeros((0, 2)), exclusive=True)
    keys = ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "ece")
    assert [found[key] for key in keys] == [None] * len(keys)


def test_each_group_is_measured_by_itself() -> None:
    labels, probability = drawn(exclusive=True)
    groups = np.array(["a", "b", "c"])[np.arange(300) % 3]
    found = by_group(labels, probability, groups, exclusive=True)
    assert list(found) == ["a", "b", "c"]
    own = groups == "b"
    assert found["b"]["tiles"] == own.sum()
    right = metrics.accuracy_score(labels[own].argmax(axis=1), probability[own].argmax(axis=1))
    assert found["b"]["accuracy"] == pytest.approx(right)


def test_what_does_not_fit_together_is_refused() -> None:
    labels, probability = drawn(exclusive=True)
    with pytest.raises(BadInput, match=r"\(300, 3\) and probabilities \(300, 2\)"):
        gate_metrics(labels, probability[:, :2], exclusive=True)
    with pytest.raises(BadInput, match="2 classes are named"):
        gate_metrics(labels, probability, exclusive=True, classes=("a", "b"))
    probability[7, 1] = np.nan
    with pytest.raises(BadInput, match="no number for 1 of 300 tiles"):
        gate_metrics(labels, probability, exclusive=True)
