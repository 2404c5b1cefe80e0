"""A run: created whole, filled shard by shard, opened by anyone."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from storage.attempts import Attempts, suspects
from storage.describe import descriptions
from storage.disk import LocalFolder
from storage.folder import Folder, digest
from storage.layout import FINE, GATE, MASK, ArrayLayout, arrays
from storage.ledger import BatchRecord, Stage, part_name, read_parts, table_of, to_parquet, write_part
from storage.place import folder_at
from storage.plan import RunPlan
from storage.shard import chunk, decode, encode
from storage.stored import ADDRESS, find_plan, lay_out, stored_plan
from storage.threads import threads
from tiling.errors import BadInput
from tiling.grid import Batch, Tile
from tiling.record import TileRecord

if TYPE_CHECKING:
    import zarr

log = logging.getLogger("tilegate")

Tiles = Mapping[tuple[int, int], NDArray[Any] | bytes]
"""Core arrays, or what was packed of them, by (row, col) in the grid of tiles."""
STAGES: tuple[Stage, ...] = get_args(Stage)


class Run:
    """RUN/: run.zarr, ledger/, and the results beside them; on a disk or a bucket."""

    def __init__(self, folder: Folder, plan: RunPlan) -> None:
        """Use Run.begin, Run.create or Run.open."""
        self._folder, self.plan, self.uri = folder, plan, folder.uri
        self._arrays = arrays(plan)

    @classmethod
    def create(cls, place: str | Path, plan: RunPlan) -> Run:
        """Lay out every array and write the plan last; the same plan again opens the run it finds, and mends it.

        place: a path or s3://bucket/prefix. Raises BadInput when the folder holds another run (naming what differs) or
        something that is no run.
        """
        folder = folder_at(place)
        if find_plan(folder, plan) is None and folder.names("run.zarr"):
            folder.clear("run.zarr")  # a creation that was cut off
        lay_out(folder, plan)
        return cls(folder, plan)

    @classmethod
    @contextmanager
    def begin(cls, place: str | Path, plan: RunPlan) -> Iterator[Run]:
        """Create or find the run and hold it for this process. Raises BadInput while another process holds it."""
        folder = folder_at(place)
        find_plan(folder, plan)  # refuses before anything is touched
        with folder.hold():
            yield cls.create(place, plan)

    @classmethod
    def find(cls, place: str | Path, plan: RunPlan) -> Run | None:
        """The run of this very plan in a folder, None where there is room for one. Raises BadInput otherwise."""
        folder = folder_at(place)
        found = find_plan(folder, plan)
        return None if found is None else cls(folder, found)

    @classmethod
    def open(cls, place: str | Path) -> Run:
        """An existing run. Raises BadInput when there is none."""
        folder = folder_at(place)
        plan = stored_plan(folder)
        if plan is None:
            raise BadInput(f"{folder.uri} holds no run (no plan in {folder.uri}/run.zarr)")
        return cls(folder, plan)

    def write_gate_pixels(self, batch: Batch, tiles: Tiles) -> dict[str, str]:
        """(band, y, x) cores on the gate plane. batch: of plan.gate_grid. See _write."""
        return self._write(FINE if self.plan.one_plane else GATE, batch, tiles)

    def pack_pixels(self, core: NDArray[Any]) -> bytes:
        """(band, y, x) core on the fine plane as its shard will hold it. Raises ValueError for another size or dtype."""
        return chunk(self._arrays[FINE], core)

    def pack_labels(self, core: NDArray[np.uint8]) -> bytes:
        """(y, x) labels of a core, likewise."""
        return chunk(self._arrays[MASK], core)

    def write_fine_pixels(self, batch: Batch, tiles: Tiles) -> dict[str, str]:
        """(band, y, x) cores on the fine plane, of what was segmented. See _write."""
        return self._write(FINE, batch, tiles)

    def write_mask(self, batch: Batch, tiles: Tiles) -> dict[str, str]:
        """(y, x) uint8 labels of what was segmented. See _write."""
        return self._write(MASK, batch, tiles)

    def attempts(self, stage: Stage) -> Attempts:
        """Around a span, told of each batch: if the process dies in there, a resume knows at which batches."""
        return Attempts(self._folder, stage)

    def suspects(self, stage: Stage, pending: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
        """Those of the pending batches, (row, col), that may have killed the processes that worked on them."""
        return suspects(self._folder, stage, pending)

    def commit(self, record: BatchRecord) -> None:
        """Say that a batch is done; call it after its shards are written."""
        write_part(self._folder, record, self.plan.classes, self.plan.fingerprint)

    def committed(self, stage: Stage) -> list[BatchRecord]:
        """Every batch done in a stage, in grid order."""
        return read_parts(self._folder, stage, self.plan.classes, self.plan.fingerprint)

    def drop_damaged(self) -> int:
        """Take back the commit of every batch whose shards are gone or hold other bytes. Returns how many."""
        dropped = 0
        for stage in STAGES:
            for record, shard in self.damaged(stage):
                log.warning("%s/%s is damaged; its batch is done again", self.uri, shard)
                self._folder.remove(part_name(stage, record.id))
                dropped += 1
        return dropped

    def damaged(self, stage: Stage, name: str = "") -> list[tuple[BatchRecord, str]]:
        """Committed batches whose shards are gone or hold other bytes, and one such shard. name: of one array only."""
        records = self.committed(stage)
        files = [
            {self._shard(each, r): sha256 for each, sha256 in r.shards.items() if name in ("", each)} for r in records
        ]
        damaged = self._folder.damaged({shard: sha256 for named in files for shard, sha256 in named.items()})
        return [
            (record, min(damaged & named.keys()))
            for record, named in zip(records, files, strict=True)
            if damaged & named.keys()
        ]

    def array(self, name: str) -> zarr.Array[Any]:
        """One array to read from: pixels/fine, pixels/gate or mask/0."""
        import zarr

        return zarr.open_array(self._folder.zarr(f"run.zarr/{name}"), mode="r", zarr_format=3)

    def labels(self, batch: Batch, tiles: Sequence[Tile]) -> Iterator[NDArray[np.uint8]]:
        """(y, x) labels of the cores of tiles of a batch that hold some. Raises BadInput when they are damaged."""
        shard, side = self._shard_of(MASK, batch), self.plan.grid.batch_tiles
        places = [(tile.row - batch.row * side, tile.col - batch.col * side) for tile in tiles]
        try:
            for tile, whole in zip(tiles, decode(self._arrays[MASK], self.read(shard) or b"", places), strict=True):
                yield whole[: tile.core.height, : tile.core.width]
        except ValueError as error:
            raise BadInput(f"{self.uri}/{shard} is gone or damaged ({error}). Mend it: tilegate resume") from error

    def write_tiles(self, tiles: list[TileRecord]) -> None:
        """tiles.parquet: the ledger compacted, one row per tile of the grid."""
        self.write("tiles.parquet", to_parquet(table_of(tiles, self.plan.classes)))

    def write(self, name: str, data: bytes) -> None:
        """A result file beside the store, whole or absent."""
        self._folder.write(name, data)

    def read(self, name: str) -> bytes | None:
        """A result file, None when there is none."""
        return self._folder.read(name)

    def summary(self) -> dict[str, Any] | None:
        """summary.json, or None before the run was summarised. Raises BadInput when it is damaged."""
        text = self.read("summary.json")
        try:
            return None if text is None else dict(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise BadInput(f"{self.uri}/summary.json is damaged: {error}. Make it again: tilegate resume") from error

    def finish(self) -> None:
        """Forget what only an unfinished run needs: the signed address of its image."""
        self._folder.remove(ADDRESS)

    def _shard(self, name: str, record: BatchRecord) -> str:
        return self._shard_of(name, record)

    def _shard_of(self, name: str, batch: Batch | BatchRecord) -> str:
        return f"run.zarr/{self._arrays[name].shard_file(batch.row, batch.col)}"

    def _write(self, name: str, batch: Batch, tiles: Tiles) -> dict[str, str]:
        """The shard of a batch, whole and once. tiles: all that is not background, by (row, col) in the grid.

        Returns {array: sha256 of its shard}, "" where all is background: then no file is left there, not even one of an
        earlier attempt. Raises ValueError for a tile of another batch, size or dtype; CannotStore.
        """
        layout, side = self._arrays[name], self.plan.grid.batch_tiles
        inside = {(row - batch.row * side, col - batch.col * side): core for (row, col), core in tiles.items()}
        shard, data = self._shard_of(name, batch), encode(layout, inside)
        if not data:
            self._folder.remove(shard)
            return {name: ""}
        sha256 = threads().submit(digest, data)  # while the disk or the bucket is waited for
        self._folder.write(shard, data)
        return {name: sha256.result()}


def probe(folder: Path, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write a small array (y, x) as a run would and read it back."""
    import zarr

    layout = ArrayLayout(
        name="mask/0",
        shape=values.shape,
        dtype="uint8",
        chunks=values.shape,
        shards=values.shape,
        dimensions=("y", "x"),
        tile_px=max(values.shape),
        batch_tiles=1,
        shuffle="noshuffle",
    )
    files = descriptions([layout], {}) | {layout.shard_file(0, 0): encode(layout, {(0, 0): values})}
    for name, data in files.items():
        LocalFolder(folder).write(f"probe.zarr/{name}", data)
    return np.asarray(zarr.open_array(folder / "probe.zarr" / layout.name, mode="r")[...])
