"""Area averages against block means, a supersampled image and GDAL."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import MemoryFile

from tiling.resample import area_average

images = hnp.arrays(
    np.float64, st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-9, 99)
)
factors = st.builds(Fraction, st.integers(1, 9), st.integers(1, 4))


def edges(cells: int, factor: Fraction) -> NDArray[np.float64]:
    """Borders of `cells` cells of `factor` px."""
    return np.array([float(i * factor) for i in range(cells + 1)])


@given(images, factors, st.data())
def test_fractional_cells_are_the_mean_of_a_supersampled_image(
    image: NDArray[np.float64], factor: Fraction, data: st.DataObject
) -> None:
    valid = data.draw(hnp.arrays(bool, image.shape[1:]))
    ranges = []  # of cells, first to last: all that touch the image, or some of them
    for side in image.shape[1:]:
        first = data.draw(st.integers(0, -(-side // factor) - 1))
        ranges.append(range(first, data.draw(st.integers(first + 1, -(-side // factor)))))
    rows, cols = ranges
    y_edges, x_edges = (edges(cells.stop, factor)[cells.start :] for cells in ranges)
    got, got_valid = area_average(image, valid, y_edges, x_edges)
    q, p = factor.denominator, factor.numerator
    fine, fine_valid = (a.repeat(q, -2).repeat(q, -1) for a in (image, valid))
    for row in rows:
        for col in cols:
            part = slice(row * p, row * p + p), slice(col * p, col * p + p)
            inside = fine_valid[part]
            where = (..., row - rows.start, col - cols.start)
            assert got_valid[where] == (2 * inside.sum() >= p * p)
            if inside.any():
                np.testing.assert_allclose(got[where], fine[:, *part][:, inside].mean(1), atol=1e-9)


@given(images, st.data())
def test_any_cells_keep_the_integral(image: NDArray[np.float64], data: st.DataObject) -> None:
    borders = []
    for side in image.shape[1:]:
        inner = data.draw(st.lists(st.floats(0.01, side - 0.01), unique=True, max_size=6))
        borders.append(np.array([0.0, *sorted(inner), side]))
    mean, valid = area_average(image, np.ones(image.shape[1:], bool), borders[0], borders[1])
    assert valid.all()
    total = np.einsum("byx,y,x->b", mean, np.diff(borders[0]), np.diff(borders[1]))
    np.testing.assert_allclose(total, image.sum((1, 2)), atol=1e-6)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_whole_factors_are_the_block_mean_rounded_half_to_even(k: int) -> None:
    image = np.random.default_rng(k).integers(0, 256, (3, 30, 60), dtype=np.uint8)
    got, _ = area_average(image, np.ones((30, 60), bool), edges(30 // k, Fraction(k)), edges(60 // k, Fraction(k)))
    blocks = image.reshape(3, 30 // k, k, 60 // k, k).mean((2, 4))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.round(blocks))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("cells", [(23, 31), (40, 7), (63, 63)])
def test_gdal_averages_alike(dtype: str, cells: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 64, 96)).astype(dtype)
    profile = {"driver": "GTiff", "count": 2, "height": 64, "width": 96, "dtype": dtype, "crs": "EPSG:32633"}
    with MemoryFile() as memory:
        with memory.open(**profile, transform=rasterio.Affine(10, 0, 5, 0, -10, 5)) as file:
            file.write(image)
        with memory.open() as file:
            theirs = file.read(out_shape=(2, *cells), resampling=Resampling.average)
    ours, _ = area_average(
        image, np.ones((64, 96), bool), np.linspace(0, 64, cells[0] + 1), np.linspace(0, 96, cells[1] + 1)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-3 if dtype == "float32" else 1, rtol=0)


@given(hnp.arrays(np.float64, (1, 6, 6), elements=st.integers(0, 9)))
@settings(max_examples=20)
def test_values_without_data_weigh_nothing(image: NDArray[np.float64]) -> None:
    valid = np.zeros((6, 6), bool)
    valid[:, :3] = True
    poisoned = np.where(valid, image, np.nan)
    got, got_valid = area_average(poisoned, valid, edges(1, Fraction(6)), edges(1, Fraction(6)))
    assert got[0, 0, 0] == pytest.approx(image[0, :, :3].mean())
    assert got_valid[0, 0]  # exactly half of the cell holds data


def test_less_than_half_is_no_data_and_so_is_what_lies_outside() -> None:
    image, valid = np.full((1, 4, 4), 7, np.uint8), np.ones((4, 4), bool)
    valid[:2] = valid[2, 0] = False
    _, got_valid = area_average(image, valid, np.array([0.0, 4.0]), np.array([0.0, 4.0]))
    assert not got_valid.any()
    got, got_valid = area_average(image, np.ones((4, 4), bool), np.array([0.0, 3, 6, 9]), np.array([0.0, 4]))
    assert got_valid.ravel().tolist() == [True, False, False]  # 3 of 3 rows, 1 of 3, 0 of 3
    assert got.ravel()[:2].tolist() == [7, 7]


def test_native_cells_are_the_pixels_themselves() -> None:
    image = np.array([[[2**53 + 1, -(2**60) + 1]]])  # would not survive a float
    got, _ = area_average(image, np.ones((1, 2), bool), np.array([0.0, 1.0]), np.array([0.0, 1, 2]))
    assert got.tolist() == image.tolist()


numbers = st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.int32])


@settings(max_examples=400)
@given(st.data(), numbers, st.integers(1, 5), st.integers(1, 5))
def test_whole_cells_are_averaged_as_any_others_to_the_last_bit(
    data: st.DataObject, dtype: type[np.integer], tall: int, wide: int
) -> None:
    """Whole numbers in floats take the way that any cells take; halves go to the even neighbour on both."""
    height, width = data.draw(st.integers(1, 23)), data.draw(st.integers(1, 23))
    image = data.draw(hnp.arrays(dtype, (2, height, width)))
    valid = data.draw(st.one_of(st.just(np.ones((height, width), bool)), hnp.arrays(bool, (height, width))))
    y_edges, x_edges = (
        np.minimum(np.arange(first, first + cells + 1) * float(step), side)
        for side, step in ((height, tall), (width, wide))
        for most in [-(-side // step)]
        for first in [data.draw(st.integers(0, most - 1))]
        for cells in [data.draw(st.integers(1, most - first))]
    )
    got, got_valid = area_average(image, valid, y_edges, x_edges)
    slow, slow_valid = area_average(image.astype(np.float64), valid, y_edges, x_edges)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.rint(slow))
    np.testing.assert_array_equal(got_valid, slow_valid)


@pytest.mark.parametrize("k", [2, 3, 16, 200])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_sums_of_the_largest_values_do_not_run_over(dtype: type[np.integer], k: int) -> None:
    info = np.iinfo(dtype)
    for value in (info.min, info.max, info.max - 1):
        image = np.full((1, 2 * k, k), value, dtype)
        got, valid = area_average(image, np.ones((2 * k, k), bool), edges(2, Fraction(k)), edges(1, Fraction(k)))
        assert got.ravel().tolist() == [value, value]
        assert valid.all()


def test_halves_go_to_the_even_neighbour_by_hand() -> None:
    table = {(0, 1): 0, (1, 2): 2, (2, 3): 2, (3, 4): 4, (254, 255): 254, (253, 254): 254}
    image = np.array([list(table)], np.uint8).reshape(1, 1, -1)
    got, _ = area_average(image, np.ones(image.shape[1:], bool), np.array([0.0, 1.0]), edges(6, Fraction(2)))
    assert got.ravel().tolist() == list(table.values())
