"""The arrays of a run: names, shapes, chunks and shards. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storage.plan import RunPlan

FINE, GATE, MASK = "pixels/fine", "pixels/gate", "mask/0"
Shuffle = Literal["noshuffle", "bitshuffle"]
"""blosc's names: bytes as they are, or all their first bits, all their second bits, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayLayout:
    """One array; a batch is one of its shards."""

    name: str
    """Path inside run.zarr."""
    shape: tuple[int, ...]
    """(band, y, x) or (y, x)."""
    dtype: str
    """numpy dtype."""
    chunks: tuple[int, ...]
    """What a reader decodes at once: a tile; all bands of it."""
    shards: tuple[int, ...] | None
    """What is written at once: a batch. None when the chunk already is a whole batch."""
    dimensions: tuple[str, ...]
    """Dimension names."""
    tile_px: int
    """Side of a tile, px."""
    batch_tiles: int
    """Tiles along one side of a batch."""
    shuffle: Shuffle
    """What is done to a chunk before lz4, see storage/shard.py."""

    def shard_file(self, row: int, col: int) -> str:
        """Where batch (row, col) lies below the store's root (Zarr v3 default chunk keys)."""
        return "/".join([self.name, "c", *(["0"] if len(self.shape) == 3 else []), str(row), str(col)])


def arrays(plan: RunPlan) -> dict[str, ArrayLayout]:
    """Every array of a run by name. Where gate and segmenter share a plane there is no pixels/gate."""
    grid, gate, bands = plan.grid, plan.gate_grid, len(plan.image.bands)
    batch, tile = grid.batch_px, grid.tile_px
    fine = ArrayLayout(
        name=FINE,
        shape=(bands, *grid.shape_px),
        dtype=plan.image.dtype,
        chunks=(bands, tile, tile),
        shards=(bands, batch, batch),
        dimensions=("band", "y", "x"),
        tile_px=tile,
        batch_tiles=grid.batch_tiles,
        shuffle="bitshuffle",
    )
    mask = ArrayLayout(
        name=MASK,
        shape=grid.shape_px,
        dtype="uint8",
        chunks=(tile, tile),
        shards=(batch, batch),
        dimensions=("y", "x"),
        tile_px=tile,
        batch_tiles=grid.batch_tiles,
        shuffle="noshuffle",
    )
    coarse = ArrayLayout(
        name=GATE,
        shape=(bands, *gate.shape_px),
        dtype=plan.image.dtype,
        chunks=(bands, gate.batch_px, gate.batch_px),
        shards=None,
        dimensions=("band", "y", "x"),
        tile_px=gate.tile_px,
        batch_tiles=grid.batch_tiles,
        shuffle="bitshuffle",
    )
    return {layout.name: layout for layout in ((fine, mask) if plan.one_plane else (fine, coarse, mask))}
