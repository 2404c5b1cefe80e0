"""The grid partitions the plane, whatever its size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiling.grid import TileGrid

sides = st.integers(1, 60)
grids = st.builds(
    TileGrid,
    shape_px=st.tuples(sides, sides),
    tile_px=st.integers(1, 20),
    halo_px=st.integers(0, 9),
    batch_tiles=st.integers(1, 4),
)


@given(grids)
def test_cores_partition_the_plane(grid: TileGrid) -> None:
    owners = np.zeros(grid.shape_px, int)
    rows, cols = grid.shape_tiles
    for row in range(rows):
        for col in range(cols):
            owners[grid.tile(row, col).core.slices] += 1
    assert (owners == 1).all()
    assert len(grid) == rows * cols


@given(grids)
def test_batches_partition_tiles_and_plane(grid: TileGrid) -> None:
    owners, seen = np.zeros(grid.shape_px, int), []
    for batch in grid.batches():
        owners[batch.core.slices] += 1
        covered = np.zeros(grid.shape_px, int)
        for tile in batch.tiles:
            covered[tile.core.slices] += 1
            seen.append((tile.row, tile.col))
            assert grid.batch_of(tile.row, tile.col) == (batch.row, batch.col)
        assert covered.sum() == covered[batch.core.slices].sum() == batch.core.height * batch.core.width
    assert (owners == 1).all()
    rows, cols = grid.shape_tiles
    assert sorted(seen) == [(row, col) for row in range(rows) for col in range(cols)]


@given(grids)
def test_reads_are_alike_and_hold_core_and_halo(grid: TileGrid) -> None:
    side = grid.tile_px + 2 * grid.halo_px
    for batch in grid.batches():
        assert len(batch.tiles) <= grid.batch_tiles**2
        for tile in batch.tiles:
            assert tile.read.shape_px == (side, side)
            assert tile.read.intersection(tile.core.pad(grid.halo_px)) == tile.core.pad(grid.halo_px)
            assert (tile.core.y - tile.read.y, tile.core.x - tile.read.x) == (grid.halo_px, grid.halo_px)


@given(grids, st.integers(1, 40))
def test_another_plane_has_the_same_tiles(grid: TileGrid, tile_px: int) -> None:
    coarse = grid.at(tile_px)
    assert coarse.shape_tiles == grid.shape_tiles
    assert coarse.shape_batches == grid.shape_batches
    height, width = grid.shape_px
    assert 0 <= coarse.shape_px[0] - height * tile_px / grid.tile_px < 1
    assert 0 <= coarse.shape_px[1] - width * tile_px / grid.tile_px < 1


def test_a_sentinel_2_tile_by_hand() -> None:
    grid = TileGrid(shape_px=(10_980, 10_980), tile_px=1024, halo_px=64, batch_tiles=4)
    assert (grid.shape_tiles, len(grid), grid.shape_batches, grid.batch_px) == ((11, 11), 121, (3, 3), 4096)
    last = grid.tile(10, 10)
    assert (last.core.y, last.core.y_stop) == (10_240, 10_980)
    assert (last.read.y, last.read.y_stop) == (10_176, 11_328)
    assert (last.id, grid.batch(2, 1).id) == ("r0010c0010", "r0002c0001")


@pytest.mark.parametrize("key", [(-1, 0), (0, -1), (2, 0), (0, 3)])
def test_outside_the_grid_is_an_index_error(key: tuple[int, int]) -> None:
    grid = TileGrid(shape_px=(20, 30), tile_px=10, batch_tiles=1)
    with pytest.raises(IndexError):
        grid.tile(*key)
    with pytest.raises(IndexError):
        grid.batch(*key)


@pytest.mark.parametrize("wrong", [{"shape_px": (0, 5)}, {"tile_px": 0}, {"halo_px": -1}, {"batch_tiles": 0}])
def test_what_is_no_grid_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a grid"):
        TileGrid(**{"shape_px": (5, 5), "tile_px": 2, **wrong})
