"""Occlusion of classifiers whose answer is known to hang on one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from classifiers.measuring.occlusion import cover, covered, occlusion
from classifiers.protocol import ModelId
from tiling.stack import TileStack
from tiling.window import Window

MakeStack = Callable[..., TileStack]


class BrightestPixel:
    """Class a: the brightest valid pixel over 255. Class b: one less that."""

    model = ModelId(name="brightest", sha256="")
    bands = ("red",)
    classes = ("a", "b")

    def __init__(self) -> None:
        self.tiles = 0

    def score(self, stack: TileStack) -> NDArray[np.float32]:
        self.tiles += len(stack)
        best = np.where(stack.valid, stack.pixels[:, 0], 0).max(axis=(1, 2)) / 255
        return np.stack([best, 1 - best], axis=1).astype(np.float32)


def spots(*places: tuple[int, int], side: int = 20) -> NDArray[np.uint8]:
    """One bright pixel per tile on a dark ground."""
    pixels = np.full((len(places), 1, side, side), 51, np.uint8)
    for tile, (y, x) in zip(pixels, places, strict=True):
        tile[0, y, x] = 255
    return pixels


def test_the_score_falls_where_its_reason_is_covered(stack_of: MakeStack) -> None:
    stack = stack_of(spots((3, 4), (15, 9)))
    found = occlusion(BrightestPixel(), stack, 0, square_px=4)
    for tile, (y, x) in zip(found, ((3, 4), (15, 9)), strict=True):
        assert tile[y, x] == np.float32(0.8), "every square on the spot takes all but the ground from the score"
        far = np.abs(np.mgrid[:20, :20] - np.array([y, x])[:, None, None]).max(axis=0) >= 4
        assert not tile[far].any()
    np.testing.assert_allclose(occlusion(BrightestPixel(), stack, 1, square_px=4), -found, atol=1e-6)
    mixed = occlusion(BrightestPixel(), stack, (0, 1), square_px=4)
    np.testing.assert_allclose(mixed, [found[0], -found[1]], atol=1e-6)


def test_every_square_is_scored_once(stack_of: MakeStack) -> None:
    gate = BrightestPixel()
    occlusion(gate, stack_of(spots((0, 0))), 0)  # squares of 4 px at 0, 2, … 16
    assert gate.tiles == 1 + 9 * 9


def test_what_is_not_valid_says_nothing(stack_of: MakeStack) -> None:
    valid = np.ones((1, 20, 20), bool)
    valid[0, :8] = False
    assert not occlusion(BrightestPixel(), stack_of(spots((12, 12)), valid), 0)[0, :8].any()
    nowhere = occlusion(BrightestPixel(), stack_of(spots((2, 2)), np.zeros((1, 20, 20), bool)), 0)
    assert not nowhere.any()


def test_a_covered_square_has_the_mean_colour_and_no_data(stack_of: MakeStack) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 10, 10), dtype=np.uint8)
    valid = np.ones((1, 10, 10), bool)
    valid[0, 9] = False
    stack, before = stack_of(pixels, valid), pixels.copy()
    found = covered(stack, Window(y=2, x=3, height=4, width=5))
    square = np.zeros((10, 10), bool)
    square[2:6, 3:8] = True
    np.testing.assert_array_equal(found.valid[0], valid[0] & ~square)
    means = [int(band[:9].mean()) for band in before[0]]
    assert found.pixels[0, :, 3, 4].tolist() == means
    np.testing.assert_array_equal(found.pixels[0][:, ~square], before[0][:, ~square])
    np.testing.assert_array_equal(pixels, before)


@given(height=st.integers(1, 40), width=st.integers(1, 40), square=st.integers(1, 50))
def test_squares_leave_nothing_out(height: int, width: int, square: int) -> None:
    seen: Any = np.zeros((height, width), int)
    for window in cover((height, width), square):
        assert window.clip((height, width)) == window
        seen[window.slices] += 1
    assert seen.min() >= 1
