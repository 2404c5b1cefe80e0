"""Each disturbance against numpy, PIL or libjpeg; and what none of them may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from classifiers.measuring.disturb import blur, brightness, coarser, contrast, jpeg, rotation, sensor, stain
from classifiers.measuring.stains import restained
from tiling.grid import TileGrid
from tiling.stack import TileStack

MakeStack = Callable[..., TileStack]
ANY = (
    lambda stack: brightness(stack, 1.4),
    lambda stack: contrast(stack, 1.6),
    lambda stack: blur(stack, 1.5),
    lambda stack: coarser(stack, 1.7),
    lambda stack: sensor(stack, (1.1,) * stack.pixels.shape[1], (-3.0,) * stack.pixels.shape[1]),
    lambda stack: rotation(stack, 7),
)
"""Those that take any bands and dtype."""


def random(dtype: str, count: int = 2, bands: int = 3, side: int = 32) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(4)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, np.iinfo(dtype).max, (count, bands, side, side), dtype=dtype, endpoint=True)
    return rng.normal(0.2, 0.1, (count, bands, side, side)).astype(dtype)


@pytest.mark.parametrize("change", ANY)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_dtype_and_what_is_not_valid_stay(change: Any, dtype: str, stack_of: MakeStack) -> None:
    pixels, valid = random(dtype), np.ones((2, 32, 32), bool)
    valid[1, :10, :9] = False
    if dtype.startswith("float"):
        pixels[1, :, :10, :9] = np.nan
    before = pixels.copy()
    found = change(stack_of(pixels, valid))
    np.testing.assert_array_equal(pixels, before)
    assert found.pixels.dtype == dtype
    assert found.pixels.shape == pixels.shape
    assert np.isfinite(found.pixels.astype(float)[np.repeat(found.valid[:, None], 3, axis=1)]).all()
    out = ~found.valid & ~valid
    np.testing.assert_array_equal(found.pixels.swapaxes(0, 1)[:, out], before.swapaxes(0, 1)[:, out])
    assert (found.pixels[0] != before[0]).any()


@pytest.mark.parametrize("change", [ANY[1], ANY[2], ANY[3], ANY[5]])
@given(level=st.integers(0, 255), hole=arrays(bool, (12, 12)))
def test_an_even_tile_stays_even_whatever_its_holes_hold(change: Any, level: int, hole: Any) -> None:
    pixels = np.where(hole, 255 - level, level).astype(np.uint8)[None, None]
    tile = TileGrid(shape_px=(12, 12), tile_px=12).tile(0, 0)
    found = change(TileStack(tiles=(tile,), pixels=pixels, valid=~hole[None]))
    assert (found.pixels[0, 0][found.valid[0]] == level).all()


@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_brightness_is_a_factor_that_saturates(factor: float, stack_of: MakeStack) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    found = brightness(stack_of(pixels), factor).pixels.ravel()
    assert found.tolist() == [min(255, round(value * factor)) for value in range(256)]


def test_contrast_keeps_the_mean_and_scales_the_spread(stack_of: MakeStack) -> None:
    pixels = random("float64")
    found = contrast(stack_of(pixels), 0.5).pixels
    np.testing.assert_allclose(found.mean(axis=(2, 3)), pixels.mean(axis=(2, 3)))
    np.testing.assert_allclose(found.std(axis=(2, 3)), 0.5 * pixels.std(axis=(2, 3)))


@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_blur_spreads_a_point_by_sigma(sigma: float, stack_of: MakeStack) -> None:
    pixels = np.zeros((1, 1, 33, 33))
    pixels[0, 0, 16, 16] = 1
    found, y = blur(stack_of(pixels), sigma).pixels[0, 0], np.arange(33) - 16
    assert found.sum() == pytest.approx(1)
    assert (found.sum(axis=1) * y**2).sum() == pytest.approx(sigma**2, rel=0.03)
    assert (found.sum(axis=0) * y**2).sum() == pytest.approx(sigma**2, rel=0.03)


@pytest.mark.parametrize("factor", [2, 4])
def test_coarser_is_boxes_and_then_lines(factor: int, stack_of: MakeStack) -> None:
    pixels = random("float32", count=1, bands=1)
    small = Image.fromarray(pixels[0, 0]).resize((32 // factor, 32 // factor), Image.Resampling.BOX)
    np.testing.assert_allclose(
        coarser(stack_of(pixels), factor).pixels[0, 0],
        np.asarray(small.resize((32, 32), Image.Resampling.BILINEAR)),
        atol=1e-5,
    )


def test_coarser_by_a_broken_factor_shares_pixels_out(stack_of: MakeStack) -> None:
    """5/4: quarters of pixels, five of them along each side of an average."""
    pixels = random("float64", count=1, bands=1, side=40)
    quarters = pixels[0, 0].repeat(4, axis=0).repeat(4, axis=1)
    small = quarters.reshape(32, 5, 32, 5).mean(axis=(1, 3))
    at, centres = np.arange(40) + 0.5, (np.arange(32) + 0.5) * 1.25
    tall = np.stack([np.interp(at, centres, column) for column in small.T], axis=1)
    expected = np.stack([np.interp(at, centres, row) for row in tall])
    np.testing.assert_allclose(coarser(stack_of(pixels), 1.25).pixels[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("quality", [75, 30])
def test_jpeg_is_what_another_codec_makes_of_it(quality: int, stack_of: MakeStack) -> None:
    smooth = np.kron(random("uint8", side=8), np.ones((1, 1, 4, 4), np.uint8))
    found = jpeg(stack_of(smooth), quality).pixels
    for tile, again in zip(smooth, found, strict=True):
        image = np.ascontiguousarray(tile.transpose(1, 2, 0))
        file = imagecodecs.jpeg8_encode(image, level=quality, subsampling="420")
        expected = simplejpeg.decode_jpeg(file, fastdct=False, fastupsample=False).astype(int)
        assert np.abs(again.transpose(1, 2, 0) - expected).max() <= 1
    assert np.abs(found.astype(int) - smooth).mean() > 1


@given(
    amounts=st.tuples(st.floats(0, 0.9), st.floats(0, 0.6)),
    factors=st.tuples(st.floats(0.5, 1.6), st.floats(0.5, 1.6)),
)
def test_stains_are_scaled_apart(amounts: tuple[float, float], factors: tuple[float, float]) -> None:
    haematoxylin, eosin = (np.array(v) / np.linalg.norm(v) for v in ([0.65, 0.704, 0.286], [0.072, 0.99, 0.105]))

    def slide(h: float, e: float) -> np.ndarray[Any, Any]:
        return 255 * 10 ** -(h * haematoxylin + e * eosin)

    pixel = np.rint(slide(*amounts)).astype(np.uint8)[:, None, None]
    expected = slide(amounts[0] * factors[0], amounts[1] * factors[1])
    np.testing.assert_allclose(restained(pixel, *factors)[:, 0, 0], expected, atol=2.5)  # of rounding to 8 bits


def test_white_has_no_stain_to_scale(stack_of: MakeStack) -> None:
    white = np.full((1, 3, 8, 8), 255, np.uint8)
    np.testing.assert_array_equal(stain(stack_of(white), 1.5, 0.65).pixels, white)


def test_a_sensor_has_gains_and_offsets_of_its_own_per_band(stack_of: MakeStack) -> None:
    pixels = np.array([100, 200], np.uint16)[None, :, None, None] * np.ones((1, 2, 8, 8), np.uint16)
    found = sensor(stack_of(pixels), (1.1, 0.9), (-5.0, 7.0)).pixels
    assert found[0, :, 0, 0].tolist() == [105, 187]


def test_a_quarter_turn_is_exact_and_takes_the_valid_pixels_along(stack_of: MakeStack) -> None:
    pixels, valid = random("uint8"), np.ones((2, 32, 32), bool)
    valid[0, :5, :7] = False
    found = rotation(stack_of(pixels, valid), 90)
    turned, there = np.rot90(pixels, axes=(2, 3)), np.rot90(valid, axes=(1, 2))
    np.testing.assert_array_equal(found.valid, there)
    mask = np.repeat(there[:, None], 3, axis=1)
    np.testing.assert_array_equal(found.pixels[mask], turned[mask])
