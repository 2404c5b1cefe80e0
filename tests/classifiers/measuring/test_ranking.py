"""Areas under curves, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from classifiers.measuring.ranking import curve, pr_auc, roc_auc

# few different scores, so that ties are common
coarse = hnp.arrays(np.float32, st.integers(2, 40), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]))


@given(coarse, st.data())
def test_areas_are_those_of_scikit_learn(scores, data) -> None:
    positive = data.draw(hnp.arrays(bool, scores.shape).filter(lambda p: 0 < p.sum() < p.size))
    assert roc_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert pr_auc(scores, positive) == pytest.approx(average_precision_score(positive, scores))


@pytest.mark.parametrize(("positive", "pr"), [([False, False], None), ([True, True], 1.0), ([], None)])
def test_one_kind_of_tile_has_no_area(positive, pr) -> None:
    scores, positive = np.linspace(0, 1, len(positive)), np.array(positive, bool)
    assert roc_auc(scores, positive) is None
    assert pr_auc(scores, positive) == pr
    assert curve(scores, np.zeros_like(positive))["recall"] == []


def test_a_curve_says_what_passes_at_each_threshold() -> None:
    scores, positive = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False])
    assert curve(scores, positive) == {
        "threshold": [0.9, 0.8, 0.1],
        "recall": [0.5, 1.0, 1.0],
        "precision": [1.0, pytest.approx(2 / 3), 0.5],
        "false_positive_rate": [0.0, 0.5, 1.0],
    }


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    scores = np.arange(5000) / 5000
    drawn = curve(scores, np.arange(5000) % 2 == 1, points=50)
    assert len(drawn["recall"]) == 50
    assert drawn["threshold"][0] == scores[-1]
    assert (drawn["recall"][-1], drawn["false_positive_rate"][-1], drawn["threshold"][-1]) == (1.0, 1.0, 0.0)
