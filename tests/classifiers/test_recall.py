"""A threshold from a promised recall: exact, and refused where the evidence is too thin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from classifiers.bundle_contract import Calibration
from classifiers.recall import (
    HeldOut,
    allowed_misses,
    held_out,
    positives_needed,
    threshold_for_area,
    threshold_for_recall,
)
from tiling.errors import BadInput


def tiles(own, others=(), fractions=None) -> HeldOut:
    scores = np.array([*own, *others], np.float32)
    positive = np.arange(len(scores)) < len(own)
    return HeldOut(scores=scores, positive=positive, fractions=np.where(positive, 1.0, 0) if fractions is None else fractions)  # fmt: skip


@pytest.mark.parametrize(("recall", "needed"), [(0.99, 299), (0.95, 59), (0.9, 29), (0.999, 2995)])
def test_without_a_miss_the_rule_of_three(recall: float, needed: int) -> None:
    """Textbook sample sizes of success-run testing at 95 %."""
    assert positives_needed(recall, 0.95) == needed
    assert allowed_misses(needed, recall, 0.95) == 0
    assert allowed_misses(needed - 1, recall, 0.95) is None


@given(st.integers(1, 2000), st.sampled_from([0.8, 0.9, 0.95, 0.99]), st.sampled_from([0.8, 0.95, 0.99]))
def test_as_many_misses_as_the_exact_binomial_allows(n: int, recall: float, confidence: float) -> None:
    """scipy's beta quantile: the Clopper-Pearson lower bound of (n - k) / n is at least the recall, for k + 1 not."""
    k = allowed_misses(n, recall, confidence)
    missed = -1 if k is None else k
    assert missed < 0 or beta.ppf(1 - confidence, n - missed, missed + 1) >= recall - 1e-12
    assert missed + 1 >= n or beta.ppf(1 - confidence, n - missed - 1, missed + 2) < recall


def test_the_promise_is_kept_as_often_as_it_says_and_no_more() -> None:
    """1000 calibrations of a gate whose true recall at t is 1 - t (uniform scores): the exact chance is binomial."""
    rng, kept, n = np.random.default_rng(1), 0, 500
    for _ in range(1000):
        kept += 1 - threshold_for_recall(tiles(rng.random(n)), 0.95, 0.9) >= 0.95
    exact = 1 - binom.cdf(allowed_misses(n, 0.95, 0.9), n, 0.05)
    assert exact >= 0.9
    assert kept / 1000 == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 1000))


def test_ties_at_the_threshold_pass() -> None:
    """Of 29 positives none may be missed at 0.9; all that share the lowest score are let through."""
    found = threshold_for_recall(tiles([0.25] * 10 + [0.75] * 19, [0.5] * 5), 0.9, 0.95)
    assert found == 0.25
    assert threshold_for_recall(tiles([0.5] * 400), 0.99, 0.95) == 0.5


@pytest.mark.parametrize(
    ("own", "said"), [([], "has 0 of 3.*at most 0"), ([0.9] * 28, r"has 28 of 31.*at most 0\.898")]
)
def test_too_few_positives_are_told_with_what_they_can_promise(own, said: str) -> None:
    with pytest.raises(BadInput, match=rf"takes 29 calibration tiles.*{said}"):
        threshold_for_recall(tiles(own, [0.1] * 3), 0.9, 0.95)


def test_a_tile_without_a_score_proves_nothing() -> None:
    for choose in (lambda t: threshold_for_recall(t, 0.9, 0.95), lambda t: threshold_for_area(t, 0.9)):
        with pytest.raises(BadInput, match="1 of 41 calibration tiles have no score"):
            choose(tiles([0.9] * 40 + [math.nan]))


def test_all_positive_is_as_good_as_any() -> None:
    assert threshold_for_recall(tiles(np.linspace(0.2, 1, 299)), 0.99, 0.95) == pytest.approx(0.2)


def test_area_counts_what_tiles_hold() -> None:
    """Twelve full tiles and ten slivers of 1 %: at 0.9 the budget is 0.1 * 12.1 - 0.9 = 0.31, so all slivers may go."""
    scores = np.r_[np.linspace(0.5, 0.9, 12), np.linspace(0.1, 0.4, 10)].astype(np.float32)
    fractions = np.r_[np.ones(12), np.full(10, 0.01)]
    held = HeldOut(scores=scores, positive=np.ones(22, bool), fractions=fractions)
    assert threshold_for_area(held, 0.9) == np.float32(0.5)
    with pytest.raises(
        BadInput, match=r"an area of 99 full tiles together; the gate's bundle has 12\.1.*promise 0\.923"
    ):
        threshold_for_area(held, 0.99)


def test_recall_of_area_holds_on_average() -> None:
    """Angelopoulos et al.'s promise is of the mean over calibrations: of a (missed - 0.1), at most 0."""
    rng, losses = np.random.default_rng(2), []
    for _ in range(1500):
        fractions = rng.beta(0.4, 1, 101)
        scores = np.clip(0.5 * fractions + 0.5 * rng.random(101), 0, 1).astype(np.float32)
        held = HeldOut(scores=scores[:100], positive=fractions[:100] > 0, fractions=fractions[:100])
        losses.append(fractions[100] * (float(scores[100] < threshold_for_area(held, 0.9)) - 0.1))
    assert np.mean(losses) <= 3 * np.std(losses) / math.sqrt(len(losses))
    assert np.mean(losses) > -0.03  # and nothing is given away


def test_only_the_classes_that_let_through_count() -> None:
    calibration = Calibration(
        tiles=("a", "b", "c"),
        scores=((0.9, 0.1), (0.2, 0.8), (0.3, 0.4)),
        labels=((1, 0), (0, 1), (0, 0)),
        fractions=((0.5, 0.0), (0.0, 0.25), (0.0, 0.0)),
    )
    one = held_out(calibration, ("water", "ice"), ("ice",))
    both = held_out(calibration, ("water", "ice"), ())
    assert (one.positive.tolist(), one.fractions.tolist()) == ([False, True, False], [0, 0.25, 0])
    assert both.scores.tolist() == pytest.approx([0.9, 0.8, 0.4])
    assert both.fractions.tolist() == [0.5, 0.25, 0]
