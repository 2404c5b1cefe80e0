"""The arrays of a run: names, shapes, chunks and shards. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

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


def ome_attributes(plan: RunPlan) -> dict[str, Any]:
    """OME-NGFF 0.5 multiscales of the pixel planes (https://ngff.openmicroscopy.org/0.5/)."""
    size, unit = plan.image.pixel_size, "meter" if plan.image.pixel_size.unit == "m" else "micrometer"
    axes = [{"name": "c", "type": "channel"}] + [{"name": n, "type": "space", "unit": unit} for n in ("y", "x")]
    planes = {FINE: plan.fine} | ({} if plan.one_plane else {GATE: plan.gate_plane})
    datasets = [
        {
            "path": name,
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, size.y * plane.scale[0], size.x * plane.scale[1]]}
            ],
        }
        for name, plane in planes.items()
    ]
    return {"version": "0.5", "multiscales": [{"name": plan.name, "axes": axes, "datasets": datasets}]}


def geo_attributes(plan: RunPlan) -> dict[str, Any]:
    """GeoZarr's spatial: and proj: names for the fine plane; empty for slides and bare pixels."""
    image, (scale_y, scale_x) = plan.image, plan.fine.scale
    if image.transform is None or image.crs is None:
        return {}
    t = image.transform
    return {
        "zarr_conventions": [{"name": "spatial:", "version": "0.1"}, {"name": "proj:", "version": "1"}],
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": list(plan.grid.shape_px),
        "spatial:transform": [t.a * scale_x, t.b * scale_y, t.c, t.d * scale_x, t.e * scale_y, t.f],
        "proj:wkt2": image.crs,
    }
