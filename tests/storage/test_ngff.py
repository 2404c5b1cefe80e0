"""Coarser levels of exports: means and samples beside numpy over the whole plane at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from storage.ngff import Label, halved, sampled, windows, write_ngff
from storage.plan import RunPlan
from storage.run import Run
from tiling.grid import TileGrid
from tiling.info import native_plane

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


@pytest.mark.parametrize("gate_tile_px", [256, 64], ids=["one plane", "two planes"])
def test_a_pyramid_of_what_a_run_holds(
    tiny_plan: Callable[..., RunPlan], tmp_path: Path, gate_tile_px: int, require_ngff: Any, require_conventions: Any
) -> None:
    image = replace(tiny_plan().image, shape_px=(1300, 2100), dtype="uint8")
    grid = TileGrid(shape_px=(1300, 2100), tile_px=256, batch_tiles=2)
    plan = tiny_plan(image=image, fine=native_plane(image), grid=grid, gate_tile_px=gate_tile_px)
    rng, run = np.random.default_rng(1), Run.create(tmp_path / "run", plan)
    batch, pixels, mask = grid.batch(1, 4), {}, {}
    for tile in batch.tiles:  # one batch at the right edge was segmented
        pixels[tile.row, tile.col] = rng.integers(1, 200, (2, *tile.core.shape_px)).astype(np.uint8)
        mask[tile.row, tile.col] = rng.integers(0, 3, tile.core.shape_px).astype(np.uint8)
    run.write_fine_pixels(batch, pixels)
    run.write_mask(batch, mask)
    counted = np.zeros((1300, 2100), int)

    def seen(block: Any, window: Any) -> None:
        counted[window.slices] += 1 + (block > 0)

    labels = [Label(value=i, name=name, rgb=(i, 2, 3), properties={}) for i, name in enumerate(plan.classes, 1)]
    write_ngff(run, tmp_path / "out.ome.zarr", "ndwi", labels, seen)
    group = zarr.open_group(tmp_path / "out.ome.zarr", mode="r", zarr_format=3)
    label = group["labels/ndwi"]
    for found in (group, label):
        require_ngff(found)
        require_conventions(dict(found.attrs))
        places = [data["path"] for data in found.attrs["ome"]["multiscales"][0]["datasets"]]
        assert (
            places
            == [level["asset"] for level in found.attrs["multiscales"]["layout"]]
            == ["0", "1", "2", "3"][: len(places)]
        )
        assert len(places) == (4 if gate_tile_px == 256 else 3)
    truth = np.asarray(run.array("mask/0"))
    np.testing.assert_array_equal(label["0"][...], truth)
    np.testing.assert_array_equal(counted, 1 + (truth > 0))  # every pixel once
    np.testing.assert_array_equal(group["0"][...], run.array("pixels/fine")[...])
    assert not group["0"][:, :512].any()
    if gate_tile_px == 256:
        whole = np.asarray(run.array("pixels/fine"))[:, 512:1024, 2048:2100].astype(float)
        means = np.floor(whole.reshape(2, 256, 2, 26, 2).mean((2, 4)) + 0.5)
        np.testing.assert_array_equal(group["1"][:, 256:512, 1024:1050], means)
    # what the label schema of 0.5 asks for
    about = label.attrs["ome"]["image-label"]
    assert [entry["label-value"] for entry in about["colors"]] == [1, 2]
    assert all(len(entry["rgba"]) == 4 and max(entry["rgba"]) <= 255 for entry in about["colors"])
    assert [entry["class"] for entry in about["properties"]] == ["water", "ice"]
    assert about["source"] == {"image": "../../"}
    assert group["labels"].attrs["ome"]["labels"] == ["ndwi"]
