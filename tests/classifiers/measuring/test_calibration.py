"""Confidence against accuracy, and the temperature between them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from classifiers.measuring.calibration import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from tiling.errors import BadInput


def overconfident(temperature: float, exclusive: bool, tiles: int = 20_000):
    """Logits whose probabilities would be true, had they been divided by the temperature; and labels drawn so."""
    random = np.random.default_rng(1)
    true = random.normal(size=(tiles, 3)) * 2
    if exclusive:
        drawn = (softmax(true, axis=1).cumsum(axis=1) > random.random((tiles, 1))).argmax(axis=1)
        return true * temperature, np.eye(3)[drawn]
    return true * temperature, (random.random(true.shape) < expit(true)).astype(float)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float, exclusive: bool) -> None:
    logits, labels = overconfident(temperature, exclusive)
    assert fit_temperature(logits, labels, exclusive) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("exclusive", [True, False])
def test_scaled_probabilities_mean_what_they_say(exclusive: bool) -> None:
    logits, labels = overconfident(3.0, exclusive)
    to = (lambda z: softmax(z, axis=1)) if exclusive else expit
    before = expected_calibration_error(to(logits), labels, exclusive)
    after = expected_calibration_error(to(logits / fit_temperature(logits, labels, exclusive)), labels, exclusive)
    assert before > 0.1
    assert after < 0.012


def test_the_error_of_a_few_tiles_by_hand() -> None:
    # (0.8, 0.866…] holds two answers of 0.85, one right: 0.35 off; (0.933…, 1] one of 0.95, right: 0.05 off
    probability = np.array([[0.85, 0.15], [0.15, 0.85], [0.95, 0.05]])
    labels = np.array([[1.0, 0], [1, 0], [1, 0]])
    assert expected_calibration_error(probability, labels, exclusive=True) == pytest.approx((2 * 0.35 + 0.05) / 3)


def test_bins_are_closed_above_and_none_is_lost() -> None:
    probability = np.array([[0.0], [0.2], [0.4], [1.0]])
    rows = reliability(probability, np.zeros((4, 1)), exclusive=False, bins=5)
    assert [(row["low"], row["count"]) for row in rows] == [(0.0, 2), (0.2, 1), (0.8, 1)]


def test_rows_of_sigmoids_are_the_calibration_curve_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probability = random.random((500, 1))
    labels = (random.random((500, 1)) < probability**2).astype(float)
    right, confidence = calibration_curve(labels[:, 0], probability[:, 0], n_bins=15)
    rows = reliability(probability, labels, exclusive=False)
    assert [row["accuracy"] for row in rows] == pytest.approx(right.tolist())
    assert [row["confidence"] for row in rows] == pytest.approx(confidence.tolist())


def test_the_likelihood_is_that_of_scikit_learn_and_survives_large_logits() -> None:
    logits, labels = overconfident(1.0, exclusive=True, tiles=200)
    told = log_loss(labels, softmax(logits / 2, axis=1))
    assert negative_log_likelihood(logits, labels, exclusive=True, temperature=2.0) == pytest.approx(told)
    each = np.mean([log_loss(column, expit(logit)) for column, logit in zip(labels.T, logits.T, strict=True)])
    assert negative_log_likelihood(logits, labels, exclusive=False) == pytest.approx(each)
    assert negative_log_likelihood(np.array([[4000.0]]), np.array([[0.0]]), exclusive=False) == 4000


def test_a_gate_without_a_mistake_keeps_a_finite_temperature() -> None:
    assert 0.04 < fit_temperature(np.array([[9.0, 0], [0, 9]]), np.eye(2), exclusive=True) < 1


def test_no_tiles_have_no_error_and_no_temperature() -> None:
    assert expected_calibration_error(np.zeros((0, 2)), np.zeros((0, 2)), exclusive=True) is None
    with pytest.raises(BadInput, match="Hold out validation tiles"):
        fit_temperature(np.zeros((0, 2)), np.zeros((0, 2)), exclusive=True)
    with pytest.raises(BadInput, match="finite"):
        fit_temperature(np.array([[np.nan]]), np.ones((1, 1)), exclusive=False)
