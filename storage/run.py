"""A run on disk: created whole, filled shard by shard, opened by anyone."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from storage.layout import FINE, GATE, MASK, ArrayLayout, arrays, geo_attributes, ome_attributes
from storage.ledger import BatchRecord, Stage, read_parts, sync, table_of, write_part, write_whole
from storage.plan import RunPlan, from_json, to_json
from tiling.errors import BadInput
from tiling.grid import Batch
from tiling.record import TileRecord

LOCK = ".lock"


class Run:
    """RUN/: run.zarr, ledger/, and the results beside them."""

    def __init__(self, path: Path, plan: RunPlan) -> None:
        """Use Run.create or Run.open."""
        self.path, self.plan = path, plan
        self._arrays = arrays(plan)

    @classmethod
    def create(cls, path: Path, plan: RunPlan) -> Run:
        """Lay out every array and write the plan last; the same plan again opens the run it finds.

        Raises BadInput when the folder holds another run (naming what differs) or something that is no run.
        """
        found = cls.find(path, plan)
        if found is not None:
            if found.plan.source.uris == plan.source.uris:
                return found
            zarr.open_group(path / "run.zarr", mode="r+").attrs.update(_attributes(plan))  # the same image, moved
            return cls(path, plan)
        run = cls(path, plan)
        root = zarr.open_group(path / "run.zarr", mode="w")
        for layout in run._arrays.values():
            _create_array(root, layout)
        root.attrs.update(_attributes(plan))
        return run

    @classmethod
    @contextmanager
    def begin(cls, path: Path, plan: RunPlan) -> Iterator[Run]:
        """Create or find the run and hold it for this process. Raises BadInput while another process holds it.

        The kernel lets go of the lock when its process ends, however it ends: no stale lock can block a resume.
        """
        cls.find(path, plan)  # refuses before anything is touched
        path.mkdir(parents=True, exist_ok=True)
        with (path / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(f"another process is working on {path}; wait for it, or stop it first") from None
            yield cls.create(path, plan)

    @classmethod
    def find(cls, path: Path, plan: RunPlan) -> Run | None:
        """The run of this very plan in a folder, None where there is room for one. Raises BadInput otherwise."""
        found = cls._stored_plan(path)
        if found is not None:
            _require_same(path, plan, found)
            return cls(path, found)
        if path.is_file():
            raise BadInput(f"{path} is a file; --out names a folder")
        if (
            _names(path) - {"run.zarr", LOCK}
            or {name.split(".")[0] for name in _names(path / "run.zarr")} - _INTERRUPTED
        ):
            raise BadInput(f"{path} is not empty and holds no run; choose a new folder with --out")
        return None

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run. Raises BadInput when there is none."""
        plan = cls._stored_plan(path)
        if plan is None:
            raise BadInput(f"{path} holds no run (no plan in {path / 'run.zarr'})")
        return cls(path, plan)

    @staticmethod
    def _stored_plan(path: Path) -> RunPlan | None:
        try:
            attributes = json.loads((path / "run.zarr" / "zarr.json").read_text()).get("attributes", {})
        except (FileNotFoundError, NotADirectoryError):
            return None
        except json.JSONDecodeError as error:
            raise BadInput(f"{path / 'run.zarr' / 'zarr.json'} is damaged: {error}") from error
        return from_json(attributes["tilegate"]["plan"]) if "tilegate" in attributes else None

    def write_gate_pixels(self, batch: Batch, pixels: NDArray[np.generic]) -> dict[str, str]:
        """(band, y, x) of the batch on the gate plane, whole and once. Returns {array: sha256 of its shard}."""
        return self._write(FINE if self.plan.one_plane else GATE, batch, pixels)

    def write_fine_pixels(self, batch: Batch, pixels: NDArray[np.generic]) -> dict[str, str]:
        """(band, y, x) of the batch on the fine plane, 0 where nothing was segmented."""
        return self._write(FINE, batch, pixels)

    def write_mask(self, batch: Batch, labels: NDArray[np.uint8]) -> dict[str, str]:
        """(y, x) labels of the batch, 0 where nothing was segmented."""
        return self._write(MASK, batch, labels)

    def commit(self, record: BatchRecord) -> None:
        """Say that a batch is done; call it after its shards are written."""
        write_part(self._ledger(record.stage), record, self.plan.classes, self.plan.fingerprint)

    def committed(self, stage: Stage) -> list[BatchRecord]:
        """Every batch done in a stage, in grid order."""
        return read_parts(self._ledger(stage), stage, self.plan.classes, self.plan.fingerprint)

    def array(self, name: str) -> zarr.Array[Any]:
        """One array to read from: pixels/fine, pixels/gate or mask/0."""
        return zarr.open_array(self.path / "run.zarr" / name, mode="r")

    def write_tiles(self, tiles: list[TileRecord]) -> None:
        """tiles.parquet: the ledger compacted, one row per tile of the grid."""
        table = table_of(tiles, self.plan.classes)
        write_whole(self.path / "tiles.parquet", lambda path: pq.write_table(table, path, compression="zstd"))

    def write_text(self, name: str, text: str) -> Path:
        """A result file beside the store, whole or absent."""
        write_whole(self.path / name, lambda path: path.write_text(text))
        return self.path / name

    def write_file(self, name: str, write: Callable[[Path], object]) -> Path:
        """A result file that `write` makes at the path it is given."""
        write_whole(self.path / name, write)
        return self.path / name

    def summary(self) -> dict[str, Any] | None:
        """summary.json, or None before the run was summarised."""
        path = self.path / "summary.json"
        return dict(json.loads(path.read_text())) if path.exists() else None

    def _ledger(self, stage: Stage) -> Path:
        return self.path / "ledger" / stage

    def _write(self, name: str, batch: Batch, values: NDArray[Any]) -> dict[str, str]:
        layout = self._arrays[name]
        side_y, side_x = (layout.shards or layout.chunks)[-2:]
        rows = slice(batch.row * side_y, batch.row * side_y + values.shape[-2])
        cols = slice(batch.col * side_x, batch.col * side_x + values.shape[-1])
        array: Any = zarr.open_array(self.path / "run.zarr" / name, mode="r+")
        array[..., rows, cols] = values
        return {name: _seal(self.path / "run.zarr" / layout.shard_file(batch.row, batch.col))}


def probe(folder: Path, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write a small array (y, x) as a run would and read it back."""
    array: Any = zarr.create_array(
        folder / "probe.zarr", shape=values.shape, chunks=values.shape, dtype="uint8", compressors=ZstdCodec(level=1)
    )
    array[...] = values
    return np.asarray(array[...])


_INTERRUPTED = {"zarr", "pixels", "mask"}
"""What a creation that was cut off may leave in run.zarr; anything else is somebody's work."""


def _names(folder: Path) -> set[str]:
    return {child.name for child in folder.iterdir()} if folder.is_dir() else set()


def _attributes(plan: RunPlan) -> dict[str, Any]:
    own = {"plan": to_json(plan), "fingerprint": plan.fingerprint}
    return {"tilegate": own, "ome": ome_attributes(plan), **geo_attributes(plan)}


def _create_array(root: zarr.Group, layout: ArrayLayout) -> None:
    root.create_array(
        layout.name,
        shape=layout.shape,
        dtype=layout.dtype,
        chunks=layout.chunks,
        shards=layout.shards,
        compressors=ZstdCodec(level=1),
        fill_value=0,
        dimension_names=layout.dimensions,
    )


def _require_same(path: Path, plan: RunPlan, found: RunPlan) -> None:
    if found.fingerprint == plan.fingerprint:
        return
    changes = found.differences(plan)
    lines = "\n  ".join(changes[:12] or ["the version of tilegate that wrote it"])
    raise BadInput(
        f"{path} holds another run; it is left as it is. What differs (there -> asked for):\n  {lines}\n"
        "Choose another folder with --out, or ask for exactly that run to finish it."
    )


def _seal(shard: Path) -> str:
    """Fsync a shard and its folder; sha256 of the file, or "" where zarr wrote none because all is background."""
    if not shard.exists():
        return ""
    sync(shard)
    sync(shard.parent)
    return hashlib.sha256(shard.read_bytes()).hexdigest()
