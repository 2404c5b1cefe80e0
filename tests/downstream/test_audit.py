"""The audit: a fair draw, and a bound that holds as often as it says."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downstream.audit import draw_audit, estimate_missed, upper_mean

NEGATIVES = [(row, col) for row in range(4) for col in range(5)]


def test_the_draw_depends_on_the_fingerprint_alone() -> None:
    drawn = draw_audit(NEGATIVES, 6, "fingerprint")
    assert drawn == draw_audit(NEGATIVES[::-1], 6, "fingerprint")
    assert drawn != draw_audit(NEGATIVES, 6, "another")
    assert len(set(drawn)) == 6
    assert set(drawn) <= set(NEGATIVES)


@pytest.mark.parametrize(("asked", "given_"), [(0, 0), (20, 20), (500, 20)])
def test_no_more_can_be_drawn_than_there_are(asked: int, given_: int) -> None:
    assert len(draw_audit(NEGATIVES, asked, "f")) == given_
    assert draw_audit([], asked, "f") == []


def test_every_tile_and_every_pair_is_drawn_equally_often() -> None:
    """Chi-square over 4000 fingerprints, against its 99.9 % quantile."""
    singles, pairs = Counter[object](), Counter[object]()
    for run in range(4000):
        drawn = draw_audit(NEGATIVES, 5, f"run {run}")
        singles.update(drawn)
        pairs.update((a, b) for a in drawn for b in drawn if a < b)
    for seen, cells, per_draw, quantile in ((singles, 20, 5, 43.8), (pairs, 190, 10, 254.1)):
        expected = 4000 * per_draw / cells
        assert len(seen) == cells
        assert sum((n - expected) ** 2 for n in seen.values()) / expected < quantile


@pytest.mark.parametrize("n", [1, 10, 59, 100, 300])
def test_nothing_found_bounds_the_missed_share_by_the_rule_of_three(n: int) -> None:
    missed = estimate_missed([0.0] * n, tile_area=2.0, rest=10_000 - n)
    assert missed is not None
    assert (missed.estimate, missed.low) == (0.0, 0.0)
    share = 1 - 0.05 ** (1 / n)
    assert missed.high == pytest.approx(min(share * 2.0 * 10_000, 2.0 * (10_000 - n)), rel=1e-9)
    assert share <= 3 / n


def test_when_all_was_audited_nothing_is_unknown() -> None:
    missed = estimate_missed([0.0, 3.0], tile_area=4.0, rest=0)
    assert missed is not None
    assert (missed.estimate, missed.low, missed.high) == (0.0, 0.0, 0.0)
    assert estimate_missed([], tile_area=4.0, rest=0) == missed


def test_without_an_audit_nothing_can_be_said() -> None:
    assert estimate_missed([], tile_area=4.0, rest=7) is None


def test_the_estimate_is_the_mean_of_what_was_found() -> None:
    missed = estimate_missed([0.0, 1.0, 0.5, 0.0], tile_area=2.0, rest=100)
    assert missed is not None
    assert missed.estimate == pytest.approx(37.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(0, 10_000), st.floats(0.01, 1e9))
def test_low_estimate_high_and_the_most_there_can_be_are_in_order(shares: list[float], rest: int, area: float) -> None:
    missed = estimate_missed([share * area for share in shares], area, rest)
    assert missed is not None
    assert missed.low <= missed.estimate <= missed.high * (1 + 1e-9)
    assert missed.high <= area * rest


def test_more_audited_tiles_promise_more() -> None:
    highs = [upper_mean(0.02, n, 0.95) for n in (50, 100, 500, 5000)]
    assert highs == sorted(highs, reverse=True)
    assert highs[-1] == pytest.approx(0.02, abs=0.006)
    assert upper_mean(0.02, 100, 0.99) > upper_mean(0.02, 100, 0.95)
    assert upper_mean(1.0, 9, 0.95) == 1.0


@cache
def bound(found: int, drawn: int, rest: int) -> float:
    """Upper bound of full tiles missed, when `found` of `drawn` audited tiles were full."""
    missed = estimate_missed([1.0] * found + [0.0] * (drawn - found), tile_area=1.0, rest=rest)
    assert missed is not None
    return missed.high


@pytest.mark.parametrize(("total", "drawn"), [(60, 10), (200, 40), (400, 20)])
def test_the_bound_holds_for_every_number_of_missed_tiles_exactly(total: int, drawn: int) -> None:
    """All draws without replacement are weighed (hypergeometric), for every population of full and empty tiles."""
    worst = 1.0
    for full in range(total + 1):
        covered = 0
        for found in range(max(0, drawn - total + full), min(full, drawn) + 1):
            ways = math.comb(full, found) * math.comb(total - full, drawn - found)
            covered += ways * (bound(found, drawn, total - drawn) >= full - found - 1e-9)
        worst = min(worst, covered / math.comb(total, drawn))
    assert 0.95 <= worst < 0.99  # it holds, and it is not merely a bound so wide that it always does


POPULATIONS = {
    "none": np.zeros(1000),
    "rare": np.r_[np.full(15, 1.0), np.zeros(985)],
    "slivers": np.r_[np.random.default_rng(1).beta(0.2, 8, 400), np.zeros(600)],
    "many": np.random.default_rng(2).beta(0.5, 1.0, 1000),
    "all": np.ones(1000),
}


@pytest.mark.parametrize("population", POPULATIONS)
def test_the_bound_covers_what_is_missed_in_95_of_100_audits(population: str) -> None:
    areas, rng = POPULATIONS[population], np.random.default_rng(3)
    covered, draws, estimates = 0, 3000, []
    for _ in range(draws):
        found = rng.choice(areas, 100, replace=False)
        missed = estimate_missed(found.tolist(), tile_area=1.0, rest=900)
        assert missed is not None
        covered += missed.high >= areas.sum() - found.sum() - 1e-9
        estimates.append(missed.estimate)
    assert covered / draws >= 0.95
    standard_error = areas.std() * 900 / np.sqrt(100 * draws)
    assert np.mean(estimates) == pytest.approx(areas.mean() * 900, abs=4 * standard_error + 1e-9)
