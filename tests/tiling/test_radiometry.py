"""Scales and offsets of bands, against numpy on what rasterio reads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from tiling.errors import BadInput
from tiling.info import ImageInfo
from tiling.open import open_source
from tiling.radiometry import Radiometry, from_json, radiometry_of, require_possible, stated, to_json
from tiling.source import SourceSpec

SCALE, OFFSET = 2.75e-05, -0.2
"""Landsat Collection 2 surface reflectance."""


def info(path: Path, **spec: Any) -> ImageInfo:
    source = open_source(SourceSpec(uris=(str(path),), **spec))
    source.close()
    return source.info


def test_tags_are_those_that_rasterio_reads_in_the_order_of_the_bands(tiny_raster: Any) -> None:
    path = tiny_raster(np.ones((3, 8, 8), np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (SCALE, 1e-4, 2e-4), (OFFSET, -0.1, 0.0)
    assert info(path).radiometry == Radiometry(scale=(SCALE, 1e-4, 2e-4), offset=(OFFSET, -0.1, 0.0))
    narrow = info(path, bands=(("nir", 3), ("red", 1)))
    assert narrow.radiometry == Radiometry(scale=(2e-4, SCALE), offset=(0.0, OFFSET))


def test_a_file_without_tags_says_nothing(tiny_raster: Any) -> None:
    assert info(tiny_raster(np.ones((2, 8, 8), np.uint16))).radiometry is None
    assert radiometry_of([1.0, 1.0], [0.0, 0.0]) is None


def test_reflectance_is_numpys_of_what_rasterio_reads(tiny_raster: Any) -> None:
    numbers = np.random.default_rng(3).integers(0, 65536, (2, 40, 30)).astype(np.uint16)
    path = tiny_raster(numbers)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (SCALE, 1e-4), (OFFSET, -0.1)
    with rasterio.open(path) as file:
        values = file.read() * np.array(file.scales)[:, None, None] + np.array(file.offsets)[:, None, None]
    found = info(path).radiometry
    assert found is not None
    seen = found.reflectance(numbers[None], (0, 1))
    assert (seen.dtype, seen.shape) == (np.float32, (1, 2, 40, 30))
    np.testing.assert_array_equal(seen[0], np.where(values < 0, 0, values).astype(np.float32))
    assert (values < 0).any()
    np.testing.assert_array_equal(found.reflectance(numbers[1:], (1,))[0], seen[0, 1])


@given(st.integers(0, 64535))
def test_both_encodings_of_sentinel_2_are_the_same_to_the_bit(number: int) -> None:
    """Before baseline 04.00 reflectance * 10000, since then 1000 more."""
    before = Radiometry(scale=(1e-4,), offset=(0.0,)).reflectance(np.full((1, 1, 1), number, np.uint16), (0,))
    since = Radiometry(scale=(1e-4,), offset=(-0.1,)).reflectance(np.full((1, 1, 1), number + 1000, np.uint16), (0,))
    assert before == since


def test_what_a_person_says_comes_before_the_file() -> None:
    own = Radiometry(scale=(1e-4, 1e-4), offset=(0.0, 0.0))
    bands = ("green", "nir")
    assert stated(own, bands, None, None) is own
    assert stated(None, bands, None, None) is None
    assert stated(None, bands, 1e-4, -0.1) == Radiometry(scale=(1e-4, 1e-4), offset=(-0.1, -0.1), whence="recipe")
    found = Radiometry(scale=(1e-4, 1e-4), offset=(-0.1, -0.1), whence="file and recipe")
    assert stated(own, bands, None, -0.1) == found
    one = Radiometry(scale=(1e-4, 1e-4), offset=(0.0, -0.1), whence="file and recipe")
    assert stated(own, bands, None, {"nir": -0.1}) == one
    assert stated(own, bands, 1e-4, {"nir": -0.1, "green": 0.0}) == Radiometry(
        scale=(1e-4, 1e-4), offset=(0.0, -0.1), whence="recipe"
    )
    with pytest.raises(BadInput, match=r"image\.offset names band red; those that are read are green, nir"):
        stated(own, bands, None, {"red": -0.1})


@pytest.mark.parametrize(
    ("scale", "offset"), [(1e-4, -1000.0), (0.0, 0.1), (-1e-4, 10.0), (math.nan, 0.0), (1.0, math.inf)]
)
def test_what_leaves_nothing_to_see_is_refused(scale: float, offset: float) -> None:
    wrong = Radiometry(scale=(1e-4, scale), offset=(0.0, offset), whence="recipe")
    with pytest.raises(BadInput, match=r"scene\.tif, band nir: .*image\.offset = -0\.1"):
        require_possible(wrong, ("green", "nir"), "uint16", "scene.tif")
    require_possible(Radiometry(scale=(1.0,), offset=(-1000.0,)), ("nir",), "uint16", "scene.tif")


def test_json_and_back() -> None:
    whole = Radiometry(scale=(SCALE,), offset=(OFFSET,), whence="file and recipe")
    assert from_json(to_json(whole)) == whole
