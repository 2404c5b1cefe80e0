"""Change between two masks: truth by numpy, intervals by trying out what the gates may have missed."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyproj import CRS

from downstream.change import (
    BACKGROUND,
    FIRST_CLASS,
    HOLE,
    OUTSIDE,
    REJECTED,
    Change,
    class_change,
    count_change,
    join_classes,
    label_codes,
    sum_cells,
)
from tiling.pixel_area import ConstantAreas, ParallelAreas, PixelAreas, _on_ellipsoid
from tiling.window import Window

LANDS: dict[str, PixelAreas] = {
    "metres": ConstantAreas(100.0, "m2", "planar"),
    "degrees": ParallelAreas(Affine(0.01, 0, 10, 0, -0.01, 60), CRS.from_epsg(4326)),
    "rotated degrees": _on_ellipsoid("EPSG:4326", Affine(0.01, 0.003, 10, 0.002, -0.01, 60), (7, 9)),
}
WATER, ICE = FIRST_CLASS, FIRST_CLASS + 1
codes = hnp.arrays(np.uint16, (7, 9), elements=st.integers(OUTSIDE, ICE))
HERE = Window(y=0, x=0, height=7, width=9)


def change_of(a, b, areas=LANDS["metres"], classes=("water", "ice")):
    return Change(classes=classes, cells=count_change(a, b, areas, HERE), unit="m2")


def test_figures_by_hand():
    """1 px is 100 m2: water stays in 2, comes in 1, goes in 3; one pixel is seen at A only, one at neither."""
    a = np.array([[WATER] * 5 + [BACKGROUND] * 2 + [REJECTED, OUTSIDE]], np.uint16)
    b = np.array([[WATER] * 2 + [BACKGROUND] * 2 + [REJECTED] + [WATER, HOLE, BACKGROUND, HOLE]], np.uint16)
    cells = count_change(a, b, LANDS["metres"], Window(y=0, x=0, height=1, width=9))
    change = Change(classes=("water",), cells=cells, unit="m2")
    row = class_change(change, "water", "both", 1e9, 1e9)
    assert [getattr(row, kind).mapped.area for kind in ("stable", "gained", "lost", "net")] == [200, 100, 300, -200]
    assert (row.a.area, row.b.area) == (500, 300)
    assert {name: count.pixels for name, count in change.observed().items()} == {
        "both": 7,
        "only_a": 1,
        "only_b": 0,
        "neither": 1,
    }
    assert {name: count.pixels for name, count in change.holes().items()} == {"a": 0, "b": 2}
    assert [[count.pixels for count in line] for line in change.matrix()] == [[1, 1], [3, 2]]
    # B's gate may have missed the one pixel it rejected where A saw water; A's rejected pixel is no water at B
    assert (row.stable.low, row.stable.high) == (200, 300)
    assert (row.gained.low, row.gained.high) == (100, 100)
    assert (row.lost.low, row.lost.high) == (200, 400)


@pytest.mark.parametrize("land", LANDS)
@given(a=codes, b=codes)
def test_the_table_is_what_numpy_says(land, a, b):
    areas = LANDS[land]
    each = np.broadcast_to(areas.of(HERE), HERE.shape_px)
    change = change_of(a, b, areas)
    seen = (a >= REJECTED) & (b >= REJECTED)
    groups = [(REJECTED, BACKGROUND), (WATER,), (ICE,)]
    for i, at_a in enumerate(groups):
        for j, at_b in enumerate(groups):
            chosen = np.isin(a, at_a) & np.isin(b, at_b)
            assert change.matrix()[i][j].pixels == chosen.sum()
            assert change.matrix()[i][j].area == pytest.approx(each[chosen].sum(), rel=1e-12)
    row = class_change(change, "ice", "both", 0.0, 0.0)
    truth = {"stable": (a == ICE) & (b == ICE), "gained": (a != ICE) & (b == ICE), "lost": (a == ICE) & (b != ICE)}
    for kind, chosen in truth.items():
        assert getattr(row, kind).mapped.pixels == (chosen & seen).sum()
        assert (
            getattr(row, kind).low == getattr(row, kind).mapped.area == getattr(row, kind).high
        )  # gates missed nothing
    assert row.net.mapped.exact == row.b.exact - row.a.exact == row.gained.mapped.exact - row.lost.mapped.exact
    assert sum(count.pixels for count in change.observed().values()) == a.size
    assert math.fsum(count.area for count in change.observed().values()) == pytest.approx(each.sum(), rel=1e-12)


@given(a=codes, b=codes, shuffler=st.randoms(use_true_random=False))
def test_any_order_and_grouping_of_windows_gives_the_same_bits(a, b, shuffler: random.Random):
    areas = LANDS["rotated degrees"]
    rows = [Window(y=y, x=0, height=1, width=9) for y in range(7)]
    parts = [count_change(a[y : y + 1], b[y : y + 1], areas, row) for y, row in enumerate(rows)]
    straight = sum_cells(parts, "m2")
    shuffler.shuffle(parts)
    cut = shuffler.randint(0, 7)
    assert sum_cells([sum_cells(parts[:cut], "m2"), sum_cells(parts[cut:], "m2")], "m2") == straight
    assert list(straight) == sorted(straight)
    assert {key: count.pixels for key, count in straight.items()} == {
        key: count.pixels for key, count in change_of(a, b, areas).cells.items()
    }


@given(
    a=codes,
    b=codes,
    missed=st.tuples(hnp.arrays(bool, (7, 9)), hnp.arrays(bool, (7, 9))),
    spare=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_whatever_the_gates_missed_within_their_bounds_the_truth_is_in_the_interval(a, b, missed, spare):
    """Each pixel a gate rejected may be water: as long as there are no more of them than the bound, it holds."""
    more_a, more_b = missed[0] & (a == REJECTED), missed[1] & (b == REJECTED)
    limits = [100.0 * (more.sum() + extra) for more, extra in zip((more_a, more_b), spare, strict=True)]
    row = class_change(change_of(a, b), "water", "both", *limits)
    seen = (a >= REJECTED) & (b >= REJECTED)
    at_a, at_b = ((a == WATER) | more_a) & seen, ((b == WATER) | more_b) & seen
    truth = {"stable": at_a & at_b, "gained": at_b & ~at_a, "lost": at_a & ~at_b}
    for kind, chosen in truth.items():
        assert getattr(row, kind).low <= 100.0 * chosen.sum() <= getattr(row, kind).high, kind
    assert row.net.low <= 100.0 * (int(at_b.sum()) - int(at_a.sum())) <= row.net.high


@given(a=codes, b=codes, limits=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_the_ends_of_the_interval_are_reached(a, b, limits):
    """Some way to miss that much gives exactly that gain: a wider bound than needed would be a waste."""
    row = class_change(change_of(a, b), "water", "both", 100.0 * limits[0], 100.0 * limits[1])
    seen = (a >= REJECTED) & (b >= REJECTED)
    gained = (b == WATER) & (a != WATER) & seen
    hidden = min(limits[0], (gained & (a == REJECTED)).sum())
    room = min(limits[1], ((b == REJECTED) & (a != WATER) & seen).sum())
    assert row.gained.low == 100.0 * (gained.sum() - hidden)
    assert row.gained.high == 100.0 * (gained.sum() + room)


def test_without_an_audit_all_that_was_rejected_may_hold_it():
    a, b = np.full((7, 9), REJECTED, np.uint16), np.full((7, 9), BACKGROUND, np.uint16)
    row = class_change(change_of(a, b), "water", "both", None, None)
    assert (row.lost.low, row.lost.mapped.area, row.lost.high) == (0, 0, 6300)
    assert (row.gained.low, row.gained.high) == (0, 0)
    assert (row.net.low, row.net.high) == (-6300, 0)


def test_a_class_that_one_run_does_not_know_is_neither_gained_nor_lost():
    a, b = np.full((7, 9), BACKGROUND, np.uint16), np.full((7, 9), ICE, np.uint16)
    row = class_change(change_of(a, b), "ice", "b", None, None)
    assert (row.a.area, row.b.area) == (0, 6300)
    assert row.stable is row.gained is row.lost is row.net is None


def test_classes_are_matched_by_name_whatever_their_label():
    joined = join_classes(("water", "snow"), ("snow", "ice", "water"))
    assert joined == ("water", "snow", "ice")
    assert label_codes(("snow", "ice", "water"), joined).tolist() == [BACKGROUND, *(FIRST_CLASS + i for i in (1, 2, 0))]


def test_255_classes_at_each_date_fit():
    first, second = [f"a{i}" for i in range(255)], [f"b{i}" for i in range(255)]
    joined = join_classes(first, second)
    a, b = label_codes(first, joined)[[[255]]], label_codes(second, joined)[[[255]]]
    cells = count_change(a, b, LANDS["metres"], Window(y=0, x=0, height=1, width=1))
    change = Change(classes=joined, cells=cells, unit="m2")
    assert {name: change.total(change.codes, [FIRST_CLASS + i]).pixels for i, name in enumerate(joined)}["b254"] == 1
    assert change.total([FIRST_CLASS + 254], change.codes).area == 100
