"""When scores are of another population, and when an image is told to be foreign to its gate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from classifiers.bundle_contract import Domain
from classifiers.domain import population_stability, stability_by_chance
from classifiers.domain_verdict import judge, not_judged


def test_population_stability_by_hand() -> None:
    """Half low and half high, found four to one: bins below the lowest, low, high, above."""
    reference, found = [0.1] * 50 + [0.9] * 50, [0.1] * 80 + [0.9] * 20
    p, q = np.array([0.5, 50.5, 50.5, 0.5]) / 102, np.array([0.5, 80.5, 20.5, 0.5]) / 102
    assert population_stability(reference, found) == pytest.approx(float(((q - p) * np.log(q / p)).sum()))
    assert population_stability(reference, found) == pytest.approx(0.40, abs=0.01)  # a textbook's, without the halves
    assert population_stability(reference, reference) == 0
    assert math.isnan(population_stability([], found))
    assert math.isnan(population_stability(reference, []))


@pytest.mark.parametrize(("one", "other"), [(0.0, 1.0), (1.0, 0.0), (0.5, 0.2), (0.5, 0.8)])
def test_scores_that_are_all_alike_can_still_move(one: float, other: float) -> None:
    assert population_stability([one] * 100, [other] * 100) > 2
    assert population_stability([one] * 100, [one] * 100) == 0
    assert population_stability([one] * 100, [one + 0.001] * 100) == pytest.approx(0, abs=1e-9)


shares = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(shares, shares)
def test_population_stability_is_never_negative(reference: list[float], found: list[float]) -> None:
    assert population_stability(reference, found) >= 0


def test_samples_of_one_population_stay_within_chance() -> None:
    rng = np.random.default_rng(14)
    trials = [(rng.random(100), rng.random(40)) for _ in range(400)]
    beyond = np.mean([population_stability(p, q) > stability_by_chance(p, q) for p, q in trials])
    assert beyond <= 0.02
    assert np.mean([population_stability(p, q) > 0.25 for p, q in trials]) > 0.2  # which the usual bound does not see
    bins = 11  # ten, and the one below the lowest
    truth = chi2.ppf(0.99, bins - 1) * (1 / 100 + 1 / 40)
    assert stability_by_chance(*trials[0]) == pytest.approx(truth, rel=0.01)


SURE = Domain(tiles=100, mean=(0.0,), precision=((1.0,),), limit=5.0)
EVEN = [i / 100 for i in range(100)]
ONES = [1.0] * 100


def far(beyond: int, of: int = 100) -> list[float]:
    return [9.0] * beyond + [2.0] * (of - beyond)


@pytest.mark.parametrize(
    ("distances", "scores", "verdict"),
    [
        (far(1), EVEN, "inside"),
        (far(10), EVEN, "inside"),
        (far(11), EVEN, "shifted"),
        (far(49), EVEN, "shifted"),
        (far(51), EVEN, "outside"),
        (far(5), ONES, "inside"),
        (far(6), ONES, "shifted"),
        (far(0), ONES, "inside"),  # all of one class, and it looks as it should
        (far(1, 4), EVEN, "inside"),
        (far(3, 4), EVEN, "outside"),
        (far(1, 1), EVEN, "outside"),
        (far(3, 25), EVEN, "shifted"),
        (far(2, 15), EVEN, "inside"),
        ([3.7] * 99, EVEN, "inside"),
        ([3.8] * 99, EVEN, "shifted"),  # none beyond, and all far off
        ([3.8] * 3, EVEN, "shifted"),
        ([3.8] * 2, EVEN, "inside"),
    ],
)
def test_the_verdict(distances: list[float], scores: list[float], verdict: str) -> None:
    found = judge("gate", SURE, distances, EVEN, scores)
    assert found.verdict == verdict
    assert found.tiles == len(distances)
    assert found.share_beyond == np.mean(np.array(distances) > 5)
    assert found.distance_median == np.median(distances)
    assert found.limit == 5
    assert found.psi == population_stability(EVEN, scores)
    assert f"{len(distances)} tiles" in found.reasons[0]
    assert f"median distance {np.median(distances):.3g}, usually up to 3.75; limit 5" in found.reasons[0]
    assert ("is not counted" in found.reasons[-1]) == (scores is ONES and verdict == "inside")


def test_few_scores_prove_nothing() -> None:
    """Nine tiles of high scores under a calibration of 20: a PSI of over 0.25, and of no weight."""
    found = judge("gate", SURE, far(3, 50), EVEN[::5], [0.6, 0.7, 0.95, 0.2, 0.85])
    assert found.psi is not None
    assert found.psi > 0.25
    assert (found.verdict, len(found.reasons)) == ("inside", 1)


def test_what_cannot_be_judged_says_why() -> None:
    none = judge("gate", SURE, [], EVEN, ONES)
    assert (none.verdict, none.tiles, none.share_beyond, none.limit) == ("not judged", 0, None, None)
    assert none.psi == population_stability(EVEN, ONES)
    assert none.reasons == ("no tile was scored that gate could be judged on",)
    assert judge("gate", SURE, far(0), [], EVEN).psi is None
    assert not_judged("because").reasons == ("because",)
