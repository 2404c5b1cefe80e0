"""Sums of areas by counts and moments against sums pixel by pixel, and lines along rows against PROJ's own scale."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Proj

from tiling.lattice_area import MANY, LatticeAreas
from tiling.line_area import Lines
from tiling.map_scale import map_density
from tiling.window import Window

SHAPE = (3000, 4000)


def lattice(crs: int | str, side_m: float, x: float, y: float, shape: tuple[int, int] = SHAPE) -> LatticeAreas:
    return LatticeAreas(shape, Affine(side_m, 0, x, 0, -side_m, y), map_density(CRS.from_user_input(crs)), 1)


LANDS = {
    "long runs": lattice(32633, 10, 399_960, 5_000_040),
    "short runs": lattice(32633, 90, 2e5, 6e6),
    "no runs": lattice(32633, 1000, -1e6, 7e6),
    "many cells": lattice(3413, 900, -1.8e6, 1.4e6),
    "edge": lattice("+proj=ortho +lat_0=40 +type=crs", 4000, -6.4e6 - 4.5e6, 6.4e6),
    "rows": lattice(3857, 30, 1e6, 8e6),
    "all alike": lattice(3035, 10, 4e6, 3e6),
}


def test_the_lands_are_what_they_are_called() -> None:
    window = Window(y=900, x=1100, height=9, width=300)
    runs = {name: areas._lines(window)[0][1] for name, areas in LANDS.items()}
    assert [runs[name].run_px for name in ("long runs", "short runs", "no runs")] == [128, 16, 1]
    assert [LANDS[name].of(window).shape for name in ("rows", "all alike")] == [(9, 1), (1, 1)]
    over_cells = Window(y=1600, x=900, height=90, width=400)
    parts = {name: len(list(areas._parts(over_cells))) for name, areas in LANDS.items()}
    assert (parts["long runs"], parts["short runs"]) == (1, 2)
    assert 1 < parts["no runs"] <= MANY < min(parts["many cells"], parts["edge"])


@st.composite
def windows(draw: st.DrawFn) -> Window:
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 400))
    y, x = draw(st.integers(0, SHAPE[0] - height)), draw(st.integers(0, SHAPE[1] - width))
    return Window(y=y, x=x, height=height, width=width)


@pytest.mark.parametrize("land", LANDS)
@settings(max_examples=25, deadline=None)
@given(window=windows(), seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_sum_is_that_of_its_pixels_to_the_bit(land: str, window: Window, seed: int, share: float) -> None:
    areas = LANDS[land]
    chosen = np.random.default_rng(seed).random(window.shape_px) < share
    values = np.broadcast_to(areas.of(window), window.shape_px)
    truth = float(sum(map(Fraction, values[chosen].tolist()), Fraction(0)))
    assert areas.sum(window, chosen) == truth
    assert areas.sum(window, np.ones_like(chosen)) == math.fsum(values.flat)
    assert values.max() <= areas.most(window)


@pytest.mark.parametrize("land", LANDS)
@settings(max_examples=25, deadline=None)
@given(window=windows(), data=st.data())
def test_a_pixel_has_the_same_bits_in_any_window(land: str, window: Window, data: st.DataObject) -> None:
    y, x = data.draw(st.integers(0, window.height - 1)), data.draw(st.integers(0, window.width - 1))
    alone = Window(y=window.y + y, x=window.x + x, height=1, width=1)
    values = np.broadcast_to(LANDS[land].of(window), window.shape_px)
    assert values[y, x] == LANDS[land].of(alone).item()
    assert LANDS[land].total(alone) == pytest.approx(values[y, x], rel=1e-13)


@pytest.mark.parametrize("land", ["long runs", "short runs", "many cells", "rows", "all alike"])
def test_a_total_is_the_sum_of_its_pixels(land: str) -> None:
    """Also of windows that cut runs and cells; where pixels are coarse it comes from sums of powers, to 1e-9."""
    for window in (Window(y=77, x=1333, height=301, width=299), Window(y=0, x=0, height=512, width=512)):
        values = np.broadcast_to(LANDS[land].of(window), window.shape_px)
        assert LANDS[land].total(window) == pytest.approx(math.fsum(values.flat), rel=1e-9)


@pytest.mark.parametrize(
    ("land", "epsg", "transform"),
    [
        ("long runs", 32633, Affine(10, 0, 399_960, 0, -10, 5_000_040)),
        ("short runs", 32633, Affine(90, 0, 2e5, 0, -90, 6e6)),
        ("many cells", 3413, Affine(900, 0, -1.8e6, 0, -900, 1.4e6)),
    ],
)
def test_lines_are_true_at_every_pixel_and_truer_over_a_run(land: str, epsg: int, transform: Affine) -> None:
    """PROJ's areal scale at pixel centres (pixels this small have the area at their centre)."""
    rows, cols = np.mgrid[900:903, 1024:1536] + 0.5
    flat = Proj(CRS.from_epsg(epsg))
    longitude, latitude = flat(*(transform @ (cols.ravel(), rows.ravel())), inverse=True)
    scale = flat.get_factors(longitude, latitude).areal_scale.reshape(rows.shape)
    truth = abs(transform.determinant) / scale
    values = np.broadcast_to(LANDS[land].of(Window(y=900, x=1024, height=3, width=512)), truth.shape)
    error = values / truth - 1
    assert np.abs(error).max() < 5e-8
    assert np.abs(error.mean(1)).max() < 4e-9


def test_two_runs_by_hand() -> None:
    """Runs of four pixels of 8 and 16, rising by a quarter per half pixel; the window begins at the third pixel."""
    terms = np.array([[[8.0, 0.25], [16.0, 0.25]]])
    lines = Lines(terms=terms, run_px=4, before_px=2, shape_px=(1, 5))
    assert lines.of().tolist() == [[8.25, 8.75, 15.25, 15.75, 16.25]]
    assert lines.whole().tolist() == [64.25]
    assert lines.sums(np.array([[True, False, True, False, True]])).tolist() == [39.75]
