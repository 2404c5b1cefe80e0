"""Varied tiles: what moves together, what stays in range, what is never touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.training.augment import augment, random_crop
from classifiers.training.settings import AugmentSettings
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.stack import TileStack

OFF = AugmentSettings(flips=False, rotations=False, brightness=0, colour=0)
SIDE = 12


def tiles(count: int = 4, bands: int = 3, dtype: str = "uint8", seed: int = 0) -> TileStack:
    """No two pixels of a tile alike, if the dtype can tell so many."""
    random = np.random.default_rng(seed)
    most = 255 if dtype in {"uint8", "int8"} else 4000
    pixels = random.integers(0, most, (count, bands, SIDE, SIDE)).astype(dtype)
    tile = TileGrid(shape_px=(SIDE, SIDE), tile_px=SIDE).tile(0, 0)
    return TileStack(tiles=(tile,) * count, pixels=pixels, valid=random.random((count, SIDE, SIDE)) > 0.2)


def masks_of(stack: TileStack) -> np.ndarray[Any, Any]:
    return (np.nan_to_num(stack.pixels[:, 0]) % 3).astype(np.uint8)


def varied(stack: TileStack, seed: int = 0, **changes: Any) -> tuple[TileStack, np.ndarray[Any, Any] | None]:
    return augment(stack, masks_of(stack), replace(OFF, **changes), np.random.default_rng(seed))


def test_nothing_happens_when_all_is_off() -> None:
    stack = tiles()
    found, masks = varied(stack)
    assert (found.pixels == stack.pixels).all()
    assert (found.valid == stack.valid).all()
    assert (masks == masks_of(stack)).all()


EIGHT = [(turns, flip) for turns in range(4) for flip in (False, True)]
ALLOWED = {
    (True, True): EIGHT,
    (False, True): EIGHT[::2],
    (True, False): [(0, False), (0, True), (2, False), (2, True)],
}


@pytest.mark.parametrize(("flips", "rotations"), ALLOWED)
def test_tiles_are_laid_in_all_allowed_ways_and_pixels_valid_and_masks_move_as_one(
    flips: bool, rotations: bool
) -> None:
    stack = tiles(200)
    found, masks = varied(stack, flips=flips, rotations=rotations)
    seen = set()
    for i in range(len(stack)):
        for turns, flip in ALLOWED[flips, rotations]:
            now = [np.rot90(a[i], turns, (-2, -1)) for a in (stack.pixels, stack.valid, masks_of(stack))]
            now = [a[..., ::-1] if flip else a for a in now]
            if (now[0] == found.pixels[i]).all():
                assert (now[1] == found.valid[i]).all()
                assert (now[2] == masks[i]).all()
                seen.add((turns, flip))
                break
        else:
            pytest.fail(f"tile {i} was laid in a way that is off")
    assert seen == set(ALLOWED[flips, rotations])


CHANGES = {"brightness": 1.0, "colour": 1.0, "noise": 1.0, "blur": 1.0}


@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"]),
    change=st.sampled_from(sorted(CHANGES)),
    bands=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_values_keep_dtype_shape_and_range(dtype: str, change: str, bands: int, seed: int) -> None:
    stack = tiles(2, bands, dtype, seed)
    if np.dtype(dtype).kind != "f":
        stack.pixels[0, 0, 0, :2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    before = stack.pixels.copy()
    found, masks = varied(stack, seed, **{change: CHANGES[change]})
    assert found.pixels.dtype == stack.pixels.dtype
    assert found.pixels.shape == stack.pixels.shape
    assert (found.pixels != before).any()
    assert (stack.pixels == before).all()  # the data set is not changed
    assert (found.valid == stack.valid).all()
    assert (masks == masks_of(stack)).all()


def test_large_values_do_not_wrap_round() -> None:
    stack = tiles(8, 1, "uint8")
    stack.pixels[:] = 250
    stack.pixels[:, :, :6] = 5
    found, _ = varied(stack, brightness=0.5)
    assert (found.pixels[:, :, 6:].astype(int) >= found.pixels[:, :, :6].max(axis=(1, 2, 3), keepdims=True)).all()


def test_the_colour_of_a_band_changes_by_itself_and_brightness_by_all() -> None:
    stack = tiles(300, 2, "float64")
    stack.pixels[:] = np.array([100.0, 300.0])[:, None, None]
    factor = varied(stack, colour=0.05)[0].pixels[:, :, 0, 0] / [100.0, 300.0]
    assert factor.std(axis=0) == pytest.approx([0.05, 0.05], rel=0.2)
    assert abs(np.corrcoef(factor.T)[0, 1]) < 0.2
    factor = varied(stack, brightness=0.05)[0].pixels[:, :, 0, 0] / [100.0, 300.0]
    assert np.corrcoef(factor.T)[0, 1] > 0.99
    assert factor.std(axis=0) == pytest.approx([0.05, 0.05], rel=0.2)


def test_noise_is_a_share_of_each_bands_own_spread() -> None:
    random = np.random.default_rng(1)
    stack = tiles(50, 2, "float64")
    stack = replace(stack, pixels=random.normal(0, 1, stack.pixels.shape) * np.array([1.0, 100.0])[:, None, None])
    change = varied(stack, noise=0.1)[0].pixels - stack.pixels
    assert change.std(axis=(0, 2, 3)) == pytest.approx([0.1, 10.0], rel=0.1)


def test_blur_keeps_what_is_flat_and_does_not_spread_nan() -> None:
    stack = tiles(6, 1, "float32")
    stack.pixels[:] = 7
    stack.pixels[~stack.valid[:, None]] = np.nan
    found, _ = varied(stack, blur=1.0)
    assert found.pixels[stack.valid[:, None]] == pytest.approx(7, rel=1e-5)
    edges = tiles(1, 1, "float32")
    edges = replace(edges, valid=np.ones_like(edges.valid))
    assert varied(edges, blur=1.0)[0].pixels.std() < edges.pixels.std()


def test_more_stain_is_beer_and_lambert_with_more_stain() -> None:
    """Built from amounts of haematoxylin and eosin; whatever the factors were, two numbers explain all pixels."""
    vectors = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    amounts = np.random.default_rng(0).uniform(0.1, 0.6, (5, SIDE, SIDE, 2))
    stack = tiles(5)
    stack = replace(
        stack, pixels=np.rint(255 * 10 ** -(amounts @ vectors)).astype(np.uint8).transpose(0, 3, 1, 2).copy()
    )
    found, _ = varied(stack, stain=0.2)
    density = -np.log10(np.maximum(found.pixels, 1) / 255).transpose(0, 2, 3, 1)
    now = density @ np.linalg.pinv(vectors)
    ratio = now / amounts
    for tile in ratio:
        assert tile.std(axis=(0, 1)) == pytest.approx([0, 0], abs=0.1)  # one factor per stain, but for rounding
    factors = np.median(ratio, axis=(1, 2))
    assert factors.std() > 0.05


def test_a_counterstain_is_light_that_another_tile_held_back() -> None:
    """White tiles with one dark square: what is laid over is that square, turned, in a colour red passes best."""
    stack = tiles(40)
    pixels = np.full_like(stack.pixels, 255)
    pixels[:, :, 2:6, 1:9] = 80
    stack = replace(stack, pixels=pixels, valid=np.ones_like(stack.valid))
    found, _ = varied(stack, counterstain=1.0)
    density = -np.log10(np.maximum(found.pixels, 1) / 255)
    laid = density[:, :, ::-1, ::-1][:, :, 2:6, 1:9].mean(axis=(2, 3))
    even = density[:, :, SIDE // 2, 0]
    assert (laid > even - 1e-3).all()
    assert laid.max() > 0.5
    red, green, _ = (laid - even)[(laid - even).max(axis=1) > 0.05].T
    assert (red < green).all()
    assert (found.pixels[:, :, 3, 2] <= 80).all(), "nothing gets lighter"


def test_no_counterstain_for_tiles_that_are_not_chosen() -> None:
    stack = tiles(200)
    found, _ = varied(stack, counterstain=0.3)
    same = (found.pixels == stack.pixels).all(axis=(1, 2, 3)).mean()
    assert same == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize(("bands", "dtype"), [(4, "uint8"), (3, "uint16")])
@pytest.mark.parametrize("setting", ["stain", "counterstain"])
def test_stains_are_for_rgb_of_8_bits(bands: int, dtype: str, setting: str) -> None:
    with pytest.raises(BadInput, match=rf"{bands} bands of {dtype}. Set them to 0"):
        varied(tiles(1, bands, dtype), **{setting: 0.1})


def test_an_edge_cuts_rows_and_columns_off() -> None:
    stack = replace(tiles(100), valid=np.ones((100, SIDE, SIDE), bool))
    found, masks = varied(stack, edge=1.0)
    assert (found.pixels == stack.pixels).all()
    assert (masks[~found.valid] == 255).all()
    assert (masks[found.valid] == masks_of(stack)[found.valid]).all()
    for valid in found.valid:  # a rectangle in one corner stays, at least a quarter
        rows, cols = valid.any(axis=1), valid.any(axis=0)
        assert (valid == np.outer(rows, cols)).all()
        assert min(rows.sum(), cols.sum()) >= SIDE // 2
        assert (np.diff(rows.astype(int)) != 0).sum() <= 1
        assert (np.diff(cols.astype(int)) != 0).sum() <= 1
    corners = found.valid[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (~corners).any(axis=0).all()


def test_a_cutout_blanks_a_quarter() -> None:
    stack = replace(tiles(50), valid=np.ones((50, SIDE, SIDE), bool))
    found, masks = varied(stack, cutout=0.5)
    lost = (~found.valid).sum(axis=(1, 2))
    assert set(lost) == {0, SIDE * SIDE // 4}
    assert (masks[~found.valid] == 255).all()


def test_a_crop_is_a_part_of_its_tile_with_its_mask() -> None:
    stack = tiles(60)
    found, masks = random_crop(stack, masks_of(stack), 8, np.random.default_rng(0))
    starts = set()
    for i in range(len(stack)):
        fits = [
            (y, x)
            for y in range(SIDE - 7)
            for x in range(SIDE - 7)
            if (stack.pixels[i, :, y : y + 8, x : x + 8] == found.pixels[i]).all()
        ]
        (y, x), *_ = fits
        assert (found.valid[i] == stack.valid[i, y : y + 8, x : x + 8]).all()
        assert (masks[i] == masks_of(stack)[i, y : y + 8, x : x + 8]).all()
        starts.add((y, x))
    assert {y for y, _ in starts} == set(range(SIDE - 7))
    assert {tile.read.shape_px for tile in found.tiles} == {(8, 8)}


def test_a_crop_of_the_whole_is_the_whole() -> None:
    stack = tiles(1)
    assert random_crop(stack, None, SIDE, np.random.default_rng(0))[0] is stack
    with pytest.raises(BadInput, match="12 x 12 px can not be cropped to 13 px"):
        random_crop(stack, None, SIDE + 1, np.random.default_rng(0))


def test_the_same_generator_gives_the_same_tiles() -> None:
    everything = {"flips": True, "rotations": True, "brightness": 0.1, "colour": 0.1, "stain": 0.1, "blur": 0.5}
    everything |= {"noise": 0.1, "edge": 0.5, "cutout": 0.5}
    first, second, other = (varied(tiles(), seed, **everything)[0] for seed in (1, 1, 2))
    assert (first.pixels == second.pixels).all()
    assert (first.valid == second.valid).all()
    assert (first.pixels != other.pixels).any()
