"""However a plane is cut into windows, tiles or stacks, it holds the same pixels; and the fake reads like a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiling.grid import TileGrid
from tiling.info import ImageInfo, PixelSize, Plane, native_plane, plane_at
from tiling.open import open_source
from tiling.source import ArraySource, Pixels, SourceSpec
from tiling.stack import TileStack, crop_to_core, cut_stack, read_stack
from tiling.window import Window

sides, factors = st.integers(1, 40), st.floats(1, 12)


def fake(height: int, width: int, holes: float = 0.0) -> ArraySource:
    """Two bands of noise, with a share of pixels that are not valid."""
    rng = np.random.default_rng(height * 41 + width)
    data = rng.normal(100, 20, (2, height, width))
    info = ImageInfo(
        uri="fake",
        kind="slide",
        shape_px=(height, width),
        bands=("a", "b"),
        dtype="float64",
        nodata=None,
        pixel_size=PixelSize(y=1, x=1, unit="um"),
        transform=None,
        crs=None,
    )
    return ArraySource(info, data, rng.random((height, width)) >= holes)


def whole(source: ArraySource, plane: Plane) -> Pixels:
    return source.read(Window(y=0, x=0, height=plane.shape_px[0], width=plane.shape_px[1]), plane)


def assert_alike(ours: Pixels | TileStack, data: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """The same to the last digits, where there is data."""
    values = ours.data if isinstance(ours, Pixels) else ours.pixels
    shown = valid[..., None, :, :]
    np.testing.assert_array_equal(ours.valid, valid)
    np.testing.assert_allclose(np.where(shown, values, 0), np.where(shown, data, 0), rtol=1e-12)


@given(sides, sides, factors)
def test_a_plane_keeps_the_integral_of_the_image(height: int, width: int, factor: float) -> None:
    source = fake(height, width)
    plane = plane_at(source.info, factor)
    pixels = whole(source, plane)
    assert pixels.valid.all()
    image = source.read(Window(y=0, x=0, height=height, width=width), native_plane(source.info)).data
    total = pixels.data.sum((1, 2)) * plane.scale[0] * plane.scale[1]
    np.testing.assert_allclose(total, image.sum((1, 2)), rtol=1e-9)


@given(sides, sides, factors, st.data())
def test_any_window_is_cut_out_of_the_whole_plane(height: int, width: int, factor: float, data: st.DataObject) -> None:
    source = fake(height, width, holes=0.3)
    plane = plane_at(source.info, factor)
    y, x = (data.draw(st.integers(-5, side - 1)) for side in plane.shape_px)
    window = Window(
        y=y, x=x, height=data.draw(st.integers(1 - min(y, 0), 50)), width=data.draw(st.integers(1 - min(x, 0), 50))
    )
    around = ((5, 60), (5, 60))
    everything = whole(source, plane)
    rows, cols = window.relative_to(Window(y=-5, x=-5, height=1, width=1)).slices
    values = np.pad(everything.data, ((0, 0), *around))[:, rows, cols]
    assert_alike(source.read(window, plane), values, np.pad(everything.valid, around)[rows, cols])


@given(sides, sides, st.integers(1, 12), st.integers(0, 4), factors)
def test_cores_of_tiles_paint_the_plane(height: int, width: int, tile_px: int, halo_px: int, factor: float) -> None:
    source = fake(height, width, holes=0.3)
    plane = plane_at(source.info, factor)
    grid = TileGrid(shape_px=plane.shape_px, tile_px=tile_px, halo_px=halo_px, batch_tiles=100)
    (batch,) = grid.batches()
    stack = read_stack(source, batch.tiles, plane)
    painted, valid = np.full((2, *plane.shape_px), np.nan), np.zeros(plane.shape_px, bool)
    for i, tile in enumerate(stack.tiles):
        painted[:, *tile.core.slices] = crop_to_core(stack.pixels[i], tile)
        valid[tile.core.slices] = crop_to_core(stack.valid[i], tile)
    assert_alike(whole(source, plane), painted, valid)
    rows, cols = grid.shape_tiles
    around = Window(y=0, x=0, height=rows * tile_px, width=cols * tile_px).pad(halo_px)
    assert_alike(cut_stack(source.read(around, plane), batch.tiles, around), stack.pixels, stack.valid)


def test_a_stack_gives_away_tiles_and_bands_by_position() -> None:
    pixels = np.arange(3 * 2 * 4).reshape(3, 2, 2, 2)
    tiles = tuple(TileGrid(shape_px=(2, 6), tile_px=2).tile(0, i) for i in range(3))
    stack = TileStack(tiles=tiles, pixels=pixels, valid=np.arange(12).reshape(3, 2, 2) % 2 == 0)
    picked = stack.pick([2, 0], [1])
    assert (len(stack), len(picked)) == (3, 2)
    assert [tile.col for tile in picked.tiles] == [2, 0]
    np.testing.assert_array_equal(picked.pixels, pixels[[2, 0]][:, [1]])
    np.testing.assert_array_equal(picked.valid, stack.valid[[2, 0]])


@pytest.mark.parametrize("factor", [1, 2, 2.5, 7])
def test_the_fake_reads_what_a_file_reads(tiny_raster: Callable[..., Path], factor: float) -> None:
    data = np.random.default_rng(1).integers(1, 500, (2, 60, 80)).astype(np.int16)
    data[:, 10:20, 10:30] = 0
    file = open_source(SourceSpec(uris=(str(tiny_raster(data, nodata=0)),)))
    plane = plane_at(file.info, factor)
    for window in (Window(y=0, x=0, height=24, width=32), Window(y=-3, x=7, height=9, width=9)):
        theirs = file.read(window, plane)
        ours = ArraySource(file.info, data, (data != 0).all(0)).read(window, plane)
        np.testing.assert_array_equal(ours.valid, theirs.valid)
        np.testing.assert_array_equal(np.where(ours.valid, ours.data, 0), np.where(ours.valid, theirs.data, 0))
