"""Error-adjusted areas against the worked example of Olofsson et al. 2014, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downstream.accuracy import assess
from tiling.errors import BadInput

NAMES = ("deforestation", "forest gain", "stable forest", "stable non-forest")
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXEL_HA = 0.09
MAPPED = [200_000 * PIXEL_HA, 150_000 * PIXEL_HA, 3_200_000 * PIXEL_HA, 6_450_000 * PIXEL_HA]


def test_the_worked_example_to_the_hectare() -> None:
    """As printed in their section 5: areas with 95 % intervals in ha, accuracies with two digits."""
    found = assess(NAMES, COUNTS, MAPPED)
    printed = [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    for each, (area, margin) in zip(found.classes, printed, strict=True):
        assert round(each.area.value) == area
        assert each.area.margin == pytest.approx(margin, abs=3)  # they took 1.96 of rounded standard errors
    assert [round(each.users.value, 2) for each in found.classes] == [0.88, 0.73, 0.93, 0.96]
    assert [round(each.users.margin, 2) for each in found.classes] == [0.07, 0.10, 0.04, 0.02]
    assert [round(each.producers.value, 2) for each in found.classes] == [0.75, 0.85, 0.93, 0.96]
    assert round(found.overall.value, 3) == 0.947
    assert round(found.overall.margin, 2) == 0.02


def test_the_errors_are_those_of_samples_drawn_again() -> None:
    """20 000 times the same number of samples per mapped class from the example's shares: the spread of each figure."""
    rng, weights = np.random.default_rng(4), np.array(MAPPED) / sum(MAPPED)
    drawn = [rng.multinomial(row.sum(), row / row.sum(), 20_000) / row.sum() for row in COUNTS]
    cells = weights[:, None] * np.stack(drawn, axis=1)
    right, true = np.einsum("sii->si", cells), cells.sum(axis=1)
    found = assess(NAMES, COUNTS, MAPPED)
    for i, each in enumerate(found.classes):
        assert each.area.error == pytest.approx(sum(MAPPED) * true[:, i].std(), rel=0.03)
        assert each.users.error == pytest.approx((right[:, i] / weights[i]).std(), rel=0.03)
        assert each.producers.error == pytest.approx((right[:, i] / true[:, i]).std(), rel=0.1)  # linearised
    assert found.overall.error == pytest.approx(right.sum(axis=1).std(), rel=0.03)


def test_deforestation_in_pixels() -> None:
    """235 086 +- 68 418 px at 95 %, where the map counts 200 000."""
    (first, *_) = assess(NAMES, COUNTS, [area / PIXEL_HA for area in MAPPED]).classes
    assert round(first.area.value) == 235_086
    assert first.area.margin == pytest.approx(68_418, abs=40)


@given(st.lists(st.integers(2, 60), min_size=2, max_size=5), st.data())
def test_a_perfect_map_keeps_its_areas(samples: list[int], data) -> None:
    mapped = [data.draw(st.floats(0.1, 1e6)) for _ in samples]
    found = assess([str(i) for i in range(len(samples))], np.diag(samples), mapped)
    assert found.overall.value == pytest.approx(1)
    assert found.overall.error == 0
    for each, area in zip(found.classes, mapped, strict=True):
        assert each.area.value == pytest.approx(area)
        assert (each.users.value, each.producers.value) == (1, pytest.approx(1))


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=3))
def test_areas_sum_to_the_map(rows: list[list[int]]) -> None:
    counts = np.array(rows) + np.diag([2, 2, 2])
    found = assess("abc", counts, [1.0, 20.0, 300.0])
    assert sum(each.area.value for each in found.classes) == pytest.approx(321)
    assert all(0 <= each.producers.value <= 1 for each in found.classes)


def test_a_class_without_samples_is_refused_with_its_name() -> None:
    with pytest.raises(BadInput, match=r"the map says b \(1\)"):
        assess("ab", np.array([[5, 0], [0, 1]]), [1.0, 2.0])
    with pytest.raises(BadInput, match="no observed area"):
        assess("ab", np.array([[5, 0], [0, 5]]), [0.0, 0.0])


def test_a_class_that_the_map_lacks_can_still_have_an_area() -> None:
    """Three of ten samples in the only mapped class are the other one: 30 ha of 100, by hand 100 sqrt(0.3 0.7 / 9) ha."""
    found = assess("ab", np.array([[7, 3], [0, 0]]), [100.0, 0.0])
    assert found.classes[1].users is None
    assert found.classes[1].area.value == pytest.approx(30)
    assert found.classes[1].area.error == pytest.approx(100 * (0.3 * 0.7 / 9) ** 0.5)
    assert found.classes[1].producers.value == 0
