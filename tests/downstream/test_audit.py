"""The audit: a draw with known chances, and an interval that holds as often as it says."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downstream.audit import SCORED, Audit, Rejected, draw_audit, estimate_missed, promised, raj_rest, tiles_for

FLAT = [Rejected(key=(row, col), score=0.25, area=2.0) for row in range(4) for col in range(5)]


def keys(audit: Audit) -> list[tuple[int, int]]:
    return [draw.key for draw in audit.draws]


def population(areas, scores) -> list[Rejected]:
    pairs = zip(areas, scores, strict=True)
    return [Rejected(key=(0, i), score=float(score), area=float(area)) for i, (area, score) in enumerate(pairs)]


def test_the_draw_depends_on_the_fingerprint_alone() -> None:
    drawn = draw_audit(FLAT, 6, "fingerprint")
    assert drawn == draw_audit(FLAT[::-1], 6, "fingerprint")
    assert keys(drawn) != keys(draw_audit(FLAT, 6, "another"))
    assert len(set(keys(drawn))) == 6
    assert set(keys(drawn)) <= {tile.key for tile in FLAT}
    assert (drawn.tiles, drawn.area) == (20, 40.0)


def test_more_tiles_are_drawn_on_top_of_the_first() -> None:
    assert keys(draw_audit(FLAT, 9, "f"))[:4] == keys(draw_audit(FLAT, 4, "f"))


@pytest.mark.parametrize(("asked", "given_"), [(0, 0), (20, 20), (500, 20)])
def test_no_more_can_be_drawn_than_there_are(asked: int, given_: int) -> None:
    assert len(draw_audit(FLAT, asked, "f").draws) == given_
    assert draw_audit([], asked, "f").draws == ()


def test_tiles_without_area_are_not_drawn() -> None:
    """Rows beyond a pole."""
    assert len(draw_audit([*FLAT, Rejected(key=(9, 9), score=1.0, area=0.0)], 50, "f").draws) == 20
    assert draw_audit([Rejected(key=(9, 9), score=1.0, area=0.0)], 1, "f").draws == ()


def test_alike_tiles_and_pairs_are_drawn_equally_often() -> None:
    """Chi-square over 2000 fingerprints, against its 99.9 % quantile."""
    singles, pairs = Counter[object](), Counter[object]()
    for run in range(2000):
        drawn = keys(draw_audit(FLAT, 5, f"run {run}"))
        singles.update(drawn)
        pairs.update((a, b) for a in drawn for b in drawn if a < b)
    for seen, cells, per_draw, quantile in ((singles, 20, 5, 43.8), (pairs, 190, 10, 254.1)):
        expected = 2000 * per_draw / cells
        assert len(seen) == cells
        assert sum((n - expected) ** 2 for n in seen.values()) / expected < quantile


def test_tiles_are_drawn_with_the_chances_that_are_recorded() -> None:
    """Two of three tiles, in order: all six outcomes against the chances worked out by hand."""
    tiles = population([1.0, 2.0, 1.0], [0.0, 0.5, 1.0])
    share = [0.8 / 4, 0.8 * 2 / 4 + 0.2 * 1 / 2, 0.8 / 4 + 0.2 * 1 / 2]
    assert SCORED == 0.2
    seen = Counter[tuple[int, int]]()
    for run in range(6000):
        audit = draw_audit(tiles, 2, str(run))
        first, second = (key[1] for key in keys(audit))
        seen[first, second] += 1
        assert audit.draws[0].chance == pytest.approx(share[first])
        assert audit.draws[1].chance == pytest.approx(share[second] / (1 - share[first]))
    chances = {(a, b): share[a] * share[b] / (1 - share[a]) for a, b in permutations(range(3), 2)}
    assert sum((seen[o] - 6000 * c) ** 2 / (6000 * c) for o, c in chances.items()) < 20.5  # 99.9 %, five degrees


def test_a_tile_without_a_score_is_drawn_like_one_of_score_1() -> None:
    for blind in (None, math.nan):
        tiles = [replace(tile, score=blind) if tile.key == (0, 0) else tile for tile in FLAT]
        sure = [replace(tile, score=1.0) if tile.key == (0, 0) else tile for tile in FLAT]
        assert draw_audit(tiles, 20, "f") == draw_audit(sure, 20, "f")


@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 1)), min_size=1, max_size=30), st.integers(1, 30), st.integers()
)
def test_no_tile_can_hide_behind_its_score(tiles, n: int, seed: int) -> None:
    """Area over chance is at most sum(area) / (1 - SCORED) at the first draw and sinks from there."""
    audit = draw_audit(population(*zip(*tiles, strict=True)), n, str(seed))
    for draw in audit.draws:
        assert 0 < draw.chance <= 1 + 1e-12
        assert draw.area / draw.chance <= draw.reach * (1 + 1e-9)
        assert draw.reach <= audit.area / (1 - SCORED) * (1 + 1e-9)


def test_when_all_was_audited_nothing_is_unknown() -> None:
    for tiles in (FLAT, []):
        audit = draw_audit(tiles, 20, "f")
        missed = estimate_missed(audit, [1.0] * len(audit.draws))
        assert missed is not None
        assert (missed.estimate, missed.low, missed.high) == (0.0, 0.0, 0.0)


def test_without_an_audit_nothing_can_be_said() -> None:
    assert estimate_missed(draw_audit(FLAT, 0, "f"), []) is None
    assert estimate_missed(draw_audit(FLAT, 1, "f"), [None]) is None


@pytest.mark.parametrize("n", [10, 59, 100, 300])
def test_nothing_found_is_a_bound_and_never_nothing(n: int) -> None:
    """Near the rule of three at the 4 % spent on the upper end: ln 25 / n, plus what the mixture of bets costs."""
    audit = draw_audit(population([2.0] * 5000, [0.1] * 5000), n, "f")
    missed = estimate_missed(audit, [0.0] * n)
    assert missed is not None
    assert (missed.estimate, missed.low) == (0.0, 0.0)
    exact = 1 - 0.04 ** (1 / n)
    assert 0.9 * exact <= missed.high / 10_000 <= 1 - (0.04 * 0.75) ** (1 / n) < 1.13 * exact
    assert missed.high / 10_000 <= promised(n)


@pytest.mark.parametrize("bound", [0.5, 0.05, 0.01, 0.001])
def test_as_many_tiles_as_a_bound_takes(bound: float) -> None:
    assert promised(tiles_for(bound)) <= bound < promised(tiles_for(bound) - 1)
    assert promised(0) == 1.0


@given(st.lists(st.floats(0, 1), min_size=30, max_size=200), st.integers())
def test_the_promise_is_kept_whatever_the_scores(scores: list[float], seed: int) -> None:
    audit = draw_audit(population([1.0] * len(scores), scores), 20, str(seed))
    missed = estimate_missed(audit, [0.0] * 20)
    assert missed is not None
    assert missed.high <= promised(20) * audit.area


def test_the_estimate_is_unbiased_over_all_orders() -> None:
    """Des Raj's mean over every ordered draw of two of four tiles, weighed by its chance, is the total (by hand)."""
    held, share = [0.0, 3.0, 1.0, 0.5], [0.1, 0.4, 0.3, 0.2]
    total = 0.0
    for a, b in permutations(range(4), 2):
        chances = share[a], share[b] / (1 - share[a])
        draws = tuple(
            replace(draw_audit(FLAT, 1, "f").draws[0], key=(0, i), chance=chance)
            for i, chance in zip((a, b), chances, strict=True)
        )
        rest = raj_rest(Audit(draws=draws, tiles=4, area=8.0), [held[a], held[b]])
        total += chances[0] * chances[1] * (rest + held[a] + held[b])
    assert total == pytest.approx(sum(held), rel=1e-12)


def test_a_tile_that_could_not_be_segmented_widens_the_interval_both_ways() -> None:
    audit = draw_audit(population([1.0] * 400, [0.2] * 400), 60, "f")
    found: list[float | None] = [0.5 if i % 3 else 0.0 for i in range(60)]
    whole = estimate_missed(audit, found)
    holed = estimate_missed(audit, [None if i in (3, 31) else area for i, area in enumerate(found)])
    assert whole is not None
    assert holed is not None
    assert holed.low < whole.low < whole.estimate < whole.high < holed.high
    assert holed.estimate == pytest.approx(whole.estimate, rel=0.1)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=40),
    st.integers(1, 40),
    st.integers(),
)
def test_low_estimate_high_and_the_most_there_can_be_are_in_order(tiles, n: int, seed: int) -> None:
    areas, scores, fullness = zip(*tiles, strict=True)
    audit = draw_audit(population(areas, scores), n, str(seed))
    missed = estimate_missed(audit, [areas[key[1]] * fullness[key[1]] for key in keys(audit)])
    assert missed is not None
    assert 0 <= missed.low <= missed.estimate <= missed.high <= audit.rest_area * (1 + 1e-8)


def test_more_audited_tiles_promise_more() -> None:
    tiles = population([1.0] * 3000, [0.1] * 3000)
    highs = [estimate_missed(draw_audit(tiles, n, "f"), [0.02] * n).high for n in (50, 200, 800)]
    assert highs == sorted(highs, reverse=True)


RNG = np.random.default_rng(7)
SCORES = RNG.beta(0.3, 6, 600)
POPULATIONS = {
    "none": (np.ones(600), np.zeros(600)),
    "rare": (np.ones(600), np.where(np.arange(600) % 60 == 7, 0.7, 0)),
    "many": (np.ones(600), RNG.beta(0.5, 1, 600)),
    "as scored": (np.ones(600), (RNG.random(600) < SCORES) * RNG.random(600)),
    "where the gate was surest": (np.ones(600), (SCORES.argsort().argsort() < 40).astype(float)),
    "unequal tiles": (RNG.choice([0.05, 1, 4], 600), (RNG.random(600) < 0.05).astype(float)),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_interval_covers_what_was_missed_at_least_as_often_as_it_says(name: str) -> None:
    """150 audits of 50 tiles; below 0.95 only by luck, at three standard errors."""
    areas, fullness = POPULATIONS[name]
    tiles, held, covered = population(areas, SCORES), areas * fullness, 0
    for run in range(150):
        audit = draw_audit(tiles, 50, f"{name} {run}")
        found = [float(held[key[1]]) for key in keys(audit)]
        missed = estimate_missed(audit, found)
        assert missed is not None
        covered += missed.low - 1e-6 <= held.sum() - sum(found) <= missed.high + 1e-6
    assert covered / 150 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 150)
