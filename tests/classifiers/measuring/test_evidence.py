"""Thresholds and what tiles prove about them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest

from classifiers.measuring.evidence import clopper_pearson, recall_table, threshold_for
from tiling.errors import BadInput


@given(st.integers(0, 300), st.integers(0, 300), st.sampled_from([0.9, 0.95, 0.99]))
def test_bounds_are_the_exact_ones_of_scipy(successes: int, failures: int, confidence: float) -> None:
    if successes + failures == 0:
        assert clopper_pearson(0, 0, confidence) == (0.0, 1.0)
        return
    told = binomtest(successes, successes + failures).proportion_ci(confidence, method="exact")
    found = clopper_pearson(successes, successes + failures, confidence)
    assert found == (pytest.approx(told.low, abs=1e-9), pytest.approx(told.high, abs=1e-9))


def test_more_successes_than_trials_have_no_bounds() -> None:
    with pytest.raises(BadInput, match="5 of 4"):
        clopper_pearson(5, 4)


@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])),
    st.floats(0.01, 1.0),
    st.data(),
)
def test_a_threshold_is_the_highest_with_that_recall(scores, recall: float, data) -> None:
    positive = data.draw(hnp.arrays(bool, scores.shape).filter(lambda p: p.any()))
    found = threshold_for(scores, positive, recall)
    own = scores[positive]
    assert (own >= found).mean() >= recall
    assert all((own >= higher).mean() < recall for higher in scores[scores > found])


def test_a_recall_that_is_a_whole_number_of_tiles_takes_no_tile_more() -> None:
    # 0.07 x 100 is 7.000000000000001
    assert threshold_for(np.arange(100.0), np.ones(100, bool), 0.07) == 93


def test_tiles_that_cannot_say_anything_are_refused() -> None:
    scores = np.array([0.1, 0.2])
    with pytest.raises(BadInput, match="none of 2 tiles is positive"):
        threshold_for(scores, np.zeros(2, bool), 0.9)
    with pytest.raises(BadInput, match="recall of 0 cannot"):
        threshold_for(scores, np.ones(2, bool), 0)
    with pytest.raises(BadInput, match="NaN"):
        threshold_for(np.array([0.1, np.nan]), np.ones(2, bool), 0.9)


def test_a_table_says_what_each_recall_costs_and_what_is_proven() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.75, 0.1])
    positive = np.array([True, True, True, True, False, False])
    groups = np.array(["p1", "p1", "p1", "p2", "p3", "p3"])
    half, _, every = recall_table(scores, positive, 0.95, groups, recalls=(0.5, 0.75, 1.0))
    assert half == {
        "target": 0.5,
        "threshold": 0.8,
        "recall": 0.5,
        "low": pytest.approx(binomtest(2, 4).proportion_ci().low),
        "high": pytest.approx(binomtest(2, 4).proportion_ci().high),
        "found": 2,
        "positives": 4,
        "groups": 2,
        "let_through": pytest.approx(2 / 6),
        "precision": 1.0,
    }
    assert (every["threshold"], every["recall"], every["high"]) == (0.2, 1.0, 1.0)
    assert every["precision"] == pytest.approx(4 / 5)
    assert json.loads(json.dumps(half)) == half


def test_without_groups_or_positives_a_table_claims_nothing() -> None:
    assert recall_table(np.array([0.5]), np.array([True]))[0]["groups"] is None
    assert recall_table(np.array([0.5]), np.array([False])) == []
