"""Scores to decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from classifiers.gate import gate_scores, grow_rings, let_through, positive_columns
from tiling.errors import BadInput

CLASSES = ("Forest", "River", "Crop")
maps = hnp.arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8)))


def test_positive_classes_are_columns_and_none_named_means_all() -> None:
    assert positive_columns(CLASSES, ("Crop", "Forest")) == [0, 2]
    assert positive_columns(CLASSES, ()) == [0, 1, 2]


def test_an_unknown_class_is_refused_with_those_known() -> None:
    with pytest.raises(BadInput, match="Lake, Wood; this gate knows Forest, River, Crop"):
        positive_columns(CLASSES, ("Wood", "Forest", "Lake"))


def test_a_tile_scores_as_its_best_positive_class() -> None:
    probability = np.array([[0.1, 0.9, 0.3], [0.6, 0.2, 0.2]], np.float32)
    assert gate_scores(probability, [0, 2]).tolist() == [np.float32(0.3), np.float32(0.6)]


@pytest.mark.parametrize(
    ("score", "threshold", "passes"),
    [
        (0.4, 0.4, True),
        (0.39, 0.4, False),
        (0.0, 0.0, True),
        (1.0, 1.0, True),
        (None, 1.0, True),
        (float("nan"), 0.4, True),
    ],
)
def test_at_the_threshold_a_tile_passes_and_so_does_one_the_gate_could_not_see(
    score: float | None, threshold: float, passes: bool
) -> None:
    assert let_through(score, threshold) is passes


@given(maps, st.integers(0, 3), st.data())
def test_rings_are_the_tiles_within_that_many_steps(
    positive: NDArray[np.bool_], rings: int, data: st.DataObject
) -> None:
    eligible = data.draw(hnp.arrays(bool, positive.shape))
    grown = grow_rings(positive, eligible, rings)
    centres = np.argwhere(positive)
    for tile in np.ndindex(positive.shape):
        near = any(np.abs(centre - tile).max() <= rings for centre in centres)
        assert grown[tile] == (positive[tile] or (near and eligible[tile]))


def test_no_ring_changes_nothing_and_the_input_stays() -> None:
    positive = np.eye(4, dtype=bool)
    before = positive.copy()
    np.testing.assert_array_equal(grow_rings(positive, np.ones((4, 4), bool), 0), before)
    assert grow_rings(positive, np.ones((4, 4), bool), 3).all()
    np.testing.assert_array_equal(positive, before)
