"""A shard made by us is one that zarr reads, whatever its tiles, by the description that zarr wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from storage.describe import descriptions
from storage.layout import ArrayLayout
from storage.shard import chunk, decode, encode
from tiling.grid import Batch, TileGrid

HOUSE = Path(__file__).parents[2]
DTYPES = ("uint8", "int8", "uint16", "int32", "float32", "float64")


def layout_of(grid: TileGrid, bands: int | None, dtype: str, *, sharded: bool) -> ArrayLayout:
    """bands: None for (y, x)."""
    leading = () if bands is None else (bands,)
    batch, tile = (grid.batch_px,) * 2, (grid.tile_px,) * 2
    return ArrayLayout(
        name="pixels/some",
        shape=(*leading, *grid.shape_px),
        dtype=dtype,
        chunks=(*leading, *(tile if sharded else batch)),
        shards=(*leading, *batch) if sharded else None,
        dimensions=("band", "y", "x")[3 - len(leading) - 2 :],
        tile_px=grid.tile_px,
        batch_tiles=grid.batch_tiles,
        shuffle="noshuffle" if bands is None else "bitshuffle",
    )


def cut(batch: Batch, plane: NDArray[Any]) -> dict[tuple[int, int], NDArray[Any]]:
    """The tiles of a batch by place in it, out of a whole plane (…, y, x)."""
    first = batch.tiles[0]
    return {(t.row - first.row, t.col - first.col): plane[..., *t.core.slices] for t in batch.tiles}


def read_back(layout: ArrayLayout, files: dict[str, bytes]) -> NDArray[Any]:
    """All of the array, as zarr reads it out of such files."""
    content = {name: Buffer.from_bytes(data) for name, data in (descriptions([layout], {}) | files).items()}
    return np.asarray(zarr.open_array(MemoryStore(content), path=layout.name, mode="r")[...])


grids = st.builds(
    TileGrid,
    shape_px=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tile_px=st.integers(1, 9),
    batch_tiles=st.integers(1, 4),
)


@given(
    grid=grids,
    bands=st.none() | st.integers(1, 4),
    dtype=st.sampled_from(DTYPES),
    sharded=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_zarr_reads_what_was_encoded(
    grid: TileGrid, bands: int | None, dtype: str, sharded: bool, seed: int, share: float
) -> None:
    """Some tiles hold noise, some are given and all background, the others are not given."""
    layout, rng = layout_of(grid, bands, dtype, sharded=sharded), np.random.default_rng(seed)
    plane = rng.integers(0, 128, layout.shape).astype(dtype)
    files = {}
    for batch in grid.batches():
        for tile in batch.tiles:
            if rng.random() >= share:
                plane[..., *tile.core.slices] = 0
        given_tiles = {place: core for place, core in cut(batch, plane).items() if core.any() or rng.random() < 0.5}
        data = encode(layout, given_tiles)
        assert bool(data) == bool(plane[..., *batch.core.slices].any())
        if data:
            files[layout.shard_file(batch.row, batch.col)] = data
    np.testing.assert_array_equal(read_back(layout, files), plane)


@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), bands=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_zarr_itself_would_store_the_same_chunks(shape: tuple[int, int], bands: int, seed: int) -> None:
    """Byte for byte, but for the order of the chunks in the shard, which is free."""
    grid = TileGrid(shape_px=shape, tile_px=8, batch_tiles=2)
    layout, rng = layout_of(grid, bands, "uint16", sharded=True), np.random.default_rng(seed)
    plane = rng.integers(0, 4, layout.shape).astype("uint16")
    content: dict[str, Any] = {name: Buffer.from_bytes(data) for name, data in descriptions([layout], {}).items()}
    zarr.open_group(MemoryStore(content), mode="r+")[layout.name][...] = plane
    for batch in grid.batches():
        theirs, ours = content.get(layout.shard_file(batch.row, batch.col)), encode(layout, cut(batch, plane))
        assert (theirs is None) == (not ours)
        if theirs is not None:
            assert chunks_of(theirs.to_bytes()) == chunks_of(ours)
            for place, core in cut(batch, plane).items():
                if core.any():
                    (found,) = decode(layout, theirs.to_bytes(), [place])
                    np.testing.assert_array_equal(found[:, : core.shape[1], : core.shape[2]], core)
            assert len(theirs) == len(ours)


@given(seed=st.integers(0, 2**32 - 1))
def test_tiles_may_be_encoded_before_their_shard(seed: int) -> None:
    """The same bytes, whichever of them waited as arrays; background is no chunk either way."""
    grid, rng = TileGrid(shape_px=(30, 20), tile_px=8, batch_tiles=4), np.random.default_rng(seed)
    layout = layout_of(grid, 2, "uint16", sharded=True)
    cores = cut(grid.batch(0, 0), rng.integers(0, 4, layout.shape).astype("uint16"))
    cores |= {place: core * 0 for place, core in cores.items() if rng.random() < 0.3}
    some = {place: chunk(layout, core) if rng.random() < 0.5 else core for place, core in cores.items()}
    assert encode(layout, some) == encode(layout, cores)
    assert [chunk(layout, core) == b"" for core in cores.values()] == [not core.any() for core in cores.values()]


def test_what_is_no_whole_shard_is_not_decoded() -> None:
    """A cut file, a changed index, a changed chunk, a tile that is not there: never pixels of something else."""
    layout = layout_of(TileGrid(shape_px=(16, 16), tile_px=8, batch_tiles=2), 1, "uint8", sharded=True)
    shard = encode(layout, {(0, 0): np.arange(64, dtype=np.uint8).reshape(1, 8, 8)})
    (whole,) = decode(layout, shard, [(0, 0)])
    assert whole.ravel().tolist() == list(range(64))
    index = bytearray(shard)
    index[-20] ^= 1
    chunk_start = b"\xff" * 16 + shard[16:]
    for broken, place in (
        (b"", (0, 0)),
        (shard[:-1], (0, 0)),
        (bytes(index), (0, 0)),
        (chunk_start, (0, 0)),
        (shard, (1, 1)),
    ):
        with pytest.raises(ValueError, match="pixels/some"):
            list(decode(layout, broken, [place]))


def chunks_of(shard: bytes) -> list[bytes | None]:
    """The encoded chunks of a shard of 2 x 2."""
    index = np.frombuffer(shard[-68:-4], "<u8").reshape(-1, 2).tolist()
    return [None if length == 2**64 - 1 else shard[start : start + length] for start, length in index]


def test_cores_may_be_views_in_any_byte_order() -> None:
    """A core is cut out of a read with halo: nothing about its memory is promised."""
    grid = TileGrid(shape_px=(8, 8), tile_px=8, batch_tiles=1)
    layout = layout_of(grid, 2, "uint16", sharded=True)
    stack = np.random.default_rng(1).integers(1, 65536, (12, 12, 2), dtype=np.uint16)
    core = stack.transpose(2, 0, 1)[:, 2:10, 2:10]
    data = encode(layout, {(0, 0): core})
    assert encode(layout, {(0, 0): np.ascontiguousarray(core, ">u2")}) == data
    np.testing.assert_array_equal(read_back(layout, {"pixels/some/c/0/0/0": data}), core)


@pytest.mark.parametrize("sharded", [True, False])
@pytest.mark.parametrize(
    ("place", "core"),
    [
        ((0, 2), np.ones((1, 4, 4), "uint8")),
        ((-1, 0), np.ones((1, 4, 4), "uint8")),
        ((0, 0), np.ones((1, 5, 4), "uint8")),
        ((0, 0), np.ones((2, 4, 4), "uint8")),
        ((0, 0), np.ones((4, 4), "uint8")),
        ((0, 0), np.ones((1, 4, 4), "uint16")),
    ],
    ids=["another batch", "before this batch", "too large", "more bands", "no bands", "another dtype"],
)
def test_a_tile_that_is_none_of_this_layout_is_refused(
    sharded: bool, place: tuple[int, int], core: NDArray[Any]
) -> None:
    grid = TileGrid(shape_px=(8, 8), tile_px=4, batch_tiles=2)
    with pytest.raises(ValueError, match="pixels/some: no tile of"):
        encode(layout_of(grid, 1, "uint8", sharded=sharded), {place: core})


FORK = """
import os, signal, sys
import numpy as np
from storage.layout import ArrayLayout
from storage.shard import encode

layout = ArrayLayout(
    name="mask/0", shape=(8, 8), dtype="uint8", chunks=(4, 4), shards=(8, 8), dimensions=("y", "x"),
    tile_px=4, batch_tiles=2, shuffle="noshuffle",
)
tiles = {place: np.ones((4, 4), "uint8") for place in ((0, 0), (1, 1))}
expected = encode(layout, tiles)
signal.alarm(60)
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(encode(layout, tiles) != expected)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_encodes_with_threads_of_its_own() -> None:
    """Those of its parent are not there: it would wait for them for ever, here until the alarm."""
    done = subprocess.run([sys.executable, "-c", FORK], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
