"""Windows cut from blocks: the pixels of the whole array, each block decoded once, never more memory than allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import tiling.slide_jpeg
from tiling.blocks import BlockCache, BlockGrid, Place, cut_window
from tiling.errors import BadData
from tiling.grid import TileGrid
from tiling.info import PixelSize, native_plane, plane_at
from tiling.open import open_source
from tiling.raster_gdal import ENVIRONMENT
from tiling.source import Pixels, SourceSpec
from tiling.window import Window

sides = st.integers(1, 40)
blocks = st.integers(1, 12)


class Blocks:
    """Loads the blocks of an array, and counts them; every array it gives away is overwritten by the next one."""

    def __init__(self, grid: BlockGrid) -> None:
        rng = np.random.default_rng(3)
        self.data = rng.integers(0, 99, (2, *grid.shape_px), dtype=np.int16)
        self.valid = rng.random(grid.shape_px) > 0.2
        self.valid[: grid.shape_px[0] // 2] = True
        self.grid, self.loaded, self.given = grid, Counter[Place](), list[Pixels]()

    def __call__(self, place: Place, /) -> Pixels:
        for old in self.given:
            old.data[:], old.valid[:] = -1, False
        self.loaded[place] += 1
        (y, x), (height, width) = self.grid.corner(place), self.grid.shape_of(place)
        block = np.s_[y : y + height, x : x + width]
        self.given = [Pixels(self.data[:, *block].copy(), self.valid[block].copy())]
        return self.given[0]


@given(st.tuples(sides, sides), st.tuples(blocks, blocks), st.integers(0, 4000), st.data())
def test_any_windows_in_any_order_are_cut_out_of_the_whole(
    shape: tuple[int, int], block: tuple[int, int], limit: int, data: st.DataObject
) -> None:
    grid = BlockGrid(shape_px=shape, block_px=block)
    load, cache = Blocks(grid), BlockCache(limit)
    for _ in range(5):
        y, x = data.draw(st.integers(0, shape[0] - 1)), data.draw(st.integers(0, shape[1] - 1))
        height, width = data.draw(st.integers(1, shape[0] - y)), data.draw(st.integers(1, shape[1] - x))
        part = Window(y=y, x=x, height=height, width=width)
        pixels = cut_window(part, grid, (2, np.int16), load, (cache, 0))
        np.testing.assert_array_equal(pixels.data, load.data[:, *part.slices])
        np.testing.assert_array_equal(pixels.valid, load.valid[part.slices])
        assert pixels.data.flags.c_contiguous
        assert cache.size_bytes <= limit
        pixels.data[:], pixels.valid[:] = 0, False  # whoever reads may write


def test_a_block_is_decoded_once_while_there_is_room() -> None:
    grid = BlockGrid(shape_px=(40, 40), block_px=(8, 8))
    load, cache = Blocks(grid), BlockCache()
    for y in range(1, 30, 5):
        for x in range(1, 30, 5):
            cut_window(Window(y=y, x=x, height=10, width=10), grid, (2, np.int16), load, (cache, 0))
    assert set(load.loaded.values()) == {1}
    assert len(load.loaded) == 25
    cut_window(Window(y=1, x=1, height=1, width=1), grid, (2, np.int16), load, (cache, 1))
    assert load.loaded[Place(0, 0)] == 2  # of another level


def test_whole_blocks_take_no_room() -> None:
    grid = BlockGrid(shape_px=(20, 21), block_px=(8, 8))
    cache = BlockCache()
    for part in (Window(y=8, x=0, height=8, width=16), Window(y=16, x=16, height=4, width=5)):
        cut_window(part, grid, (2, np.int16), Blocks(grid), (cache, 0))
    assert cache.size_bytes == 0
    cut_window(Window(y=16, x=16, height=4, width=4), grid, (2, np.int16), Blocks(grid), (cache, 0))
    assert cache.size_bytes > 0


def test_a_block_that_fails_is_not_remembered_and_costs_only_its_own_windows() -> None:
    grid = BlockGrid(shape_px=(24, 8), block_px=(8, 8))
    load, cache = Blocks(grid), BlockCache()

    def failing(place: Place) -> Pixels:
        if place.row == 1 and not load.loaded[Place(2, 0)]:
            raise BadData("lost")
        return load(place)

    for part in (Window(y=4, x=0, height=8, width=8), Window(y=9, x=0, height=1, width=1)):
        with pytest.raises(BadData, match="lost"):
            cut_window(part, grid, (2, np.int16), failing, (cache, 0))
    for part in (Window(y=3, x=0, height=3, width=8), Window(y=17, x=0, height=3, width=8), Window(y=4, x=0, height=8, width=8)):  # fmt: skip
        pixels = cut_window(part, grid, (2, np.int16), failing, (cache, 0))
        np.testing.assert_array_equal(pixels.data, load.data[:, *part.slices])
    assert load.loaded == {Place(0, 0): 1, Place(1, 0): 1, Place(2, 0): 1}


@pytest.mark.parametrize("halo_px", [0, 24])
def test_every_tile_of_a_slide_is_decoded_once_whatever_the_halo(
    tiny_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, halo_px: int
) -> None:
    """Of the gate's plane too, read in windows of a batch from the level it needs and from no other."""
    rgb = np.random.default_rng(5).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    path = tiny_slide(rgb, levels=[rgb[::4, ::4]], compression="jpeg")
    decoded: Counter[int] = Counter()
    decode = tiling.slide_jpeg.decode

    def counting(stream: bytes, *rest: object) -> None:
        decoded[hash(stream)] += 1
        decode(stream, *rest)

    monkeypatch.setattr(tiling.slide_jpeg, "decode", counting)
    source = open_source(SourceSpec(uris=(str(path),)))
    grid = TileGrid(shape_px=(600, 700), tile_px=128, halo_px=halo_px, batch_tiles=3)
    for batch in grid.batches():
        for tile in batch.tiles:
            source.read(tile.read, native_plane(source.info))
    assert (len(decoded), set(decoded.values())) == (10 * 11, {1})
    decoded.clear()
    coarse = grid.at(32)
    for batch in coarse.batches():
        source.read(batch.core, plane_at(source.info, 4))
    assert (len(decoded), set(decoded.values())) == (3 * 3, {1})


def test_neighbours_share_the_blocks_of_a_raster(
    tiny_raster: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL's cache does it, if it is given more than a few bytes: a block that is gone from the file is still there."""
    monkeypatch.setitem(ENVIRONMENT, "VSI_CACHE", False)  # it would remember the bytes
    image = np.random.default_rng(5).integers(0, 256, (3, 192, 192), dtype=np.uint8)
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "pixel"}
    path = tiny_raster(image, compress="lzw", **tiles)
    source = open_source(SourceSpec(uris=(str(path),), pixel_size=PixelSize(y=1, x=1, unit="m")))
    plane = native_plane(source.info)
    source.read(Window(y=60, x=60, height=70, width=70), plane)
    with tifffile.TiffFile(path) as file:
        start, size = file.pages.first.dataoffsets[4], file.pages.first.databytecounts[4]
    with path.open("r+b") as raw:
        raw.seek(start)
        raw.write(bytes(size))
    neighbour = source.read(Window(y=70, x=100, height=70, width=70), plane)
    np.testing.assert_array_equal(neighbour.data, image[:, 70:140, 100:170])
