"""Audits of many runs as one sequence: bounded at every time, also where the runs differ."""

from __future__ import annotations

import math

import numpy as np
import pytest

from downstream.audit import SCORED, Rejected, draw_audit
from downstream.audit_pool import above, pool, shares_of


def test_a_run_is_counted_by_its_own_share() -> None:
    """The mean of many draws' values is (1 - SCORED) times what is missed over what was rejected."""
    rng = np.random.default_rng(1)
    areas, scores = rng.uniform(0.5, 2, 200), rng.random(200)
    held = areas * (rng.random(200) < 0.3)
    tiles = [Rejected(key=(0, i), score=scores[i], area=areas[i]) for i in range(200)]
    means = []
    for run in range(300):
        audit = draw_audit(tiles, 10, str(run))
        shares = shares_of(audit, [held[draw.key[1]] for draw in audit.draws], holes=1.0)
        assert ((shares >= 0) & (shares <= 1)).all()
        means.append(shares.mean())
    error = np.std(means) / math.sqrt(300)
    assert np.mean(means) == pytest.approx((1 - SCORED) * held.sum() / areas.sum(), abs=4 * error)


def test_a_tile_not_segmented_counts_as_full_above_and_as_empty_below() -> None:
    tiles = [Rejected(key=(0, i), score=0.5, area=2.0) for i in range(50)]
    audit = draw_audit(tiles, 5, "f")
    full, empty = (shares_of(audit, [0.0, None, 0.0, 0.0, 0.0], holes=holes) for holes in (1.0, 0.0))
    assert empty.tolist() == [0.0] * 5
    assert full[1] > 0.7
    assert pool(full, empty).low == 0
    assert pool(full, empty).high > pool(empty, empty).high


def test_a_run_whose_gate_rejected_nothing_adds_nothing() -> None:
    assert shares_of(draw_audit([], 5, "f"), [], holes=1.0).shape == (0,)


@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_a_fleet_without_a_miss_tightens_like_the_rule_of_three(n: int) -> None:
    """ln(1 / 0.04 / 0.5) / 0.98 of n draws, over 1 - SCORED."""
    none = np.zeros(n)
    found = pool(none, none)
    assert (found.low, found.estimate) == (0, 0)
    assert 0.9 * math.log(25) < found.high * n * (1 - SCORED) < math.log(50) / 0.98 + 1e-6


@pytest.mark.parametrize("drifting", [False, True])
def test_the_bounds_hold_at_all_times_together(drifting: bool) -> None:
    """150 fleets of 16 runs, looked at after each; misses may come and go between runs. 5 % by luck, three errors."""
    rng, broken = np.random.default_rng(3), 0
    for _ in range(150):
        chances = rng.choice([0.0, 0.01, 0.3], 16) if drifting else np.full(16, 0.05)
        shares = ((rng.random((16, 20)) < chances[:, None]) * rng.beta(1, 2, (16, 20))).ravel()
        wrong = False
        for runs in range(1, 17):
            truth = chances[:runs].mean() / 3 / (1 - SCORED)
            found = pool(shares[: 20 * runs], shares[: 20 * runs])
            wrong |= not found.low <= truth <= found.high
        broken += wrong
    assert broken / 150 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_small_shares_are_bounded_by_their_spread_not_by_their_range() -> None:
    """10 000 draws of 0.1 +- 0.01: within 1 %, where Hoeffding would leave sqrt(ln(25) / 20 000) = 1.3 points."""
    shares = np.random.default_rng(5).normal(0.1, 0.01, 10_000).clip(0, 1)
    assert above(shares, 0.04) / 10_000 == pytest.approx(0.1, abs=0.001)
