"""Coarser levels of exports: means and samples beside numpy over the whole plane at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from hypothesis import given
from hypothesis import strategies as st

from storage.ngff import halved, sampled, windows

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(
    shape=SIDES, side=st.integers(1, 17), seed=st.integers(0, 99), dtype=st.sampled_from(["uint8", "uint16", "float32"])
)
def test_halves_are_means_of_what_holds_something(shape: tuple[int, int], side: int, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, 200, (2, *shape)).astype(dtype) * (rng.random(shape) < 0.6).astype(dtype)
    half = -(-shape[0] // 2), -(-shape[1] // 2)
    got = np.full((2, *half), 99, dtype)
    for window in windows(half, side):
        got[:, *window.slices] = halved(plane, window)
    for row in range(half[0]):
        for col in range(half[1]):
            quad = plane[:, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2].reshape(2, -1).astype(float)
            held = quad[:, quad.any(0)]
            mean = held.mean(1) if held.size else np.zeros(2)
            want = np.floor(mean + 0.5) if dtype != "float32" else mean
            np.testing.assert_allclose(got[:, row, col], want, rtol=1e-6)


def test_not_a_number_is_not_averaged() -> None:
    plane = np.array([[[1, np.nan], [3, 0]]], np.float32)
    (window,) = windows((1, 1), 4)
    assert halved(plane, window) == 2


@given(shape=SIDES, factor=st.sampled_from([1, 2, 3.2, 8]), side=st.integers(1, 9), seed=st.integers(0, 99))
def test_samples_are_the_middles(shape: tuple[int, int], factor: float, side: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    array = zarr.array(mask, chunks=(7, 7))
    small = int(np.ceil(shape[0] / factor)), int(np.ceil(shape[1] / factor))
    for window in windows(small, side):
        got = sampled(array, window, (factor, factor))
        for y in range(window.height):
            for x in range(window.width):
                middle = (window.y + y + 0.5) * factor, (window.x + x + 0.5) * factor
                row, col = (min(int(at), last - 1) for at, last in zip(middle, shape, strict=True))
                assert got[y, x] == mask[row, col]


def test_windows_partition(tmp_path: Path) -> None:
    seen = np.zeros((23, 40), int)
    for window in windows((23, 40), 16):
        seen[window.slices] += 1
    assert (seen == 1).all()
