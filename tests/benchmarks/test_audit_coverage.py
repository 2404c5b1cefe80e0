"""The simulation behind the audit's interval, small: ours covers, and what is known to break breaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from audit_coverage import METHODS, measure, populations

POPULATIONS = populations(np.random.default_rng(11))
AUDITS = 60
LUCK = 3 * math.sqrt(0.05 * 0.95 / AUDITS)
"""Three standard errors of a share of 95 % in so many audits."""


@pytest.mark.parametrize("name", ["rare, full tiles", "adversarial scores", "unequal areas"])
def test_ours_covers_as_often_as_it_says(name: str) -> None:
    coverage, bound = measure(METHODS["ours"], *POPULATIONS[name], 150, AUDITS)
    assert coverage >= 0.95 - LUCK
    assert bound < 0.06


def test_normal_intervals_break_on_rare_misses() -> None:
    """Ten full tiles in 4000, 150 audited: two of three samples see none and promise none, (1 - 1 / 400)^150 = 0.69."""
    coverage, _ = measure(METHODS["uniform, normal"], *POPULATIONS["rare, full tiles"], 150, 4 * AUDITS)
    assert coverage < 0.5


def test_where_tiles_are_full_or_empty_the_exact_bound_is_not_much_narrower() -> None:
    ours, exact = (measure(METHODS[m], *POPULATIONS["none"], 150, 5)[1] for m in ("ours", "hypergeometric"))
    assert exact < ours < 1.3 * exact
