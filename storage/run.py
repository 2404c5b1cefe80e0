"""A run: created whole, filled shard by shard, opened by anyone."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from storage.attempts import attempting, suspects
from storage.folder import LOCK, TEMPORARY, Folder, digest
from storage.layout import FINE, GATE, MASK, ArrayLayout, arrays, geo_attributes, ome_attributes
from storage.ledger import BatchRecord, Stage, batch_id, part_name, read_parts, table_of, to_parquet, write_part
from storage.place import folder_at
from storage.plan import RunPlan, from_json, to_json
from tiling.address import public
from tiling.errors import BadInput
from tiling.grid import Batch
from tiling.record import TileRecord

log = logging.getLogger("tilegate")

STAGES: tuple[Stage, ...] = get_args(Stage)
ADDRESS = ".address"
"""Where the signed address of an image is kept until its run is finished."""


class Run:
    """RUN/: run.zarr, ledger/, and the results beside them; on a disk or a bucket."""

    def __init__(self, folder: Folder, plan: RunPlan) -> None:
        """Use Run.begin, Run.create or Run.open."""
        self._folder, self.plan, self.uri = folder, plan, folder.uri
        self._arrays = arrays(plan)
        self._opened: dict[str, Any] = {}

    @classmethod
    def create(cls, place: str | Path, plan: RunPlan) -> Run:
        """Lay out every array and write the plan last; the same plan again opens the run it finds, and mends it.

        place: a path or s3://bucket/prefix. Raises BadInput when the folder holds another run (naming what differs) or
        something that is no run.
        """
        folder = folder_at(place)
        if _find(folder, plan) is None and folder.names("run.zarr"):
            zarr.open_group(folder.zarr("run.zarr"), mode="w")  # a creation that was cut off
        _lay_out(folder, plan)
        return cls(folder, plan)

    @classmethod
    @contextmanager
    def begin(cls, place: str | Path, plan: RunPlan) -> Iterator[Run]:
        """Create or find the run and hold it for this process. Raises BadInput while another process holds it."""
        folder = folder_at(place)
        _find(folder, plan)  # refuses before anything is touched
        with folder.hold():
            yield cls.create(place, plan)

    @classmethod
    def find(cls, place: str | Path, plan: RunPlan) -> Run | None:
        """The run of this very plan in a folder, None where there is room for one. Raises BadInput otherwise."""
        folder = folder_at(place)
        found = _find(folder, plan)
        return None if found is None else cls(folder, found)

    @classmethod
    def open(cls, place: str | Path) -> Run:
        """An existing run. Raises BadInput when there is none."""
        folder = folder_at(place)
        plan = _stored_plan(folder)
        if plan is None:
            raise BadInput(f"{folder.uri} holds no run (no plan in {folder.uri}/run.zarr)")
        return cls(folder, plan)

    def write_gate_pixels(self, batch: Batch, pixels: NDArray[np.generic]) -> dict[str, str]:
        """(band, y, x) of the batch on the gate plane, whole and once. Returns {array: sha256 of its shard}."""
        return self._write(FINE if self.plan.one_plane else GATE, batch, pixels)

    def write_fine_pixels(self, batch: Batch, pixels: NDArray[np.generic]) -> dict[str, str]:
        """(band, y, x) of the batch on the fine plane, 0 where nothing was segmented."""
        return self._write(FINE, batch, pixels)

    def write_mask(self, batch: Batch, labels: NDArray[np.uint8]) -> dict[str, str]:
        """(y, x) labels of the batch, 0 where nothing was segmented."""
        return self._write(MASK, batch, labels)

    def attempt(self, stage: Stage, row: int, col: int) -> AbstractContextManager[None]:
        """Around the work on a batch: if the process dies in there, a resume knows at which batch."""
        return attempting(self._folder, stage, batch_id(row, col))

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
            records = self.committed(stage)
            files = [{self._shard(name, r): sha256 for name, sha256 in r.shards.items()} for r in records]
            damaged = self._folder.damaged({name: sha256 for named in files for name, sha256 in named.items()})
            for record, named in zip(records, files, strict=True):
                if damaged & named.keys():
                    log.warning("%s/%s is damaged; its batch is done again", self.uri, min(damaged & named.keys()))
                    self._folder.remove(part_name(stage, record.id))
                    dropped += 1
        return dropped

    def array(self, name: str) -> zarr.Array[Any]:
        """One array to read from: pixels/fine, pixels/gate or mask/0."""
        return zarr.open_array(self._folder.zarr(f"run.zarr/{name}"), mode="r", zarr_format=3)

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
        return f"run.zarr/{self._arrays[name].shard_file(record.row, record.col)}"

    def _write(self, name: str, batch: Batch, values: NDArray[Any]) -> dict[str, str]:
        layout = self._arrays[name]
        side_y, side_x = (layout.shards or layout.chunks)[-2:]
        rows = slice(batch.row * side_y, batch.row * side_y + values.shape[-2])
        cols = slice(batch.col * side_x, batch.col * side_x + values.shape[-1])
        shard = f"run.zarr/{layout.shard_file(batch.row, batch.col)}"
        self._folder.remove(shard)  # zarr would read what is there, which may be damaged, before it writes a shard
        if name not in self._opened:  # its metadata is read once, not per shard: a bucket takes a request for each
            self._opened[name] = zarr.open_array(self._folder.zarr(f"run.zarr/{name}"), mode="r+", zarr_format=3)
        self._opened[name][..., rows, cols] = values
        return {name: digest(self._folder.read(shard))}  # "" where zarr wrote none because all is background


def probe(folder: Path, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write a small array (y, x) as a run would and read it back."""
    array: Any = zarr.create_array(
        folder / "probe.zarr", shape=values.shape, chunks=values.shape, dtype="uint8", compressors=ZstdCodec(level=1)
    )
    array[...] = values
    return np.asarray(array[...])


_INTERRUPTED = {"zarr.json", "pixels", "mask"}
"""What a creation that was cut off may leave in run.zarr; anything else is somebody's work."""


def _find(folder: Folder, plan: RunPlan) -> RunPlan | None:
    found = _stored_plan(folder)
    if found is not None:
        _require_same(folder.uri, plan, found)
    elif not (_own(folder.names()) <= {"run.zarr", LOCK, ADDRESS} and _own(folder.names("run.zarr")) <= _INTERRUPTED):
        raise BadInput(f"{folder.uri} is not empty and holds no run; choose a new folder with --out")
    return found


def _own(names: set[str]) -> set[str]:
    return {name for name in names if not TEMPORARY.fullmatch(name)}


def _stored_plan(folder: Folder) -> RunPlan | None:
    """The plan in a folder, with the full address of its image. Raises BadInput when it is damaged."""
    text = folder.read("run.zarr/zarr.json")
    if text is None:
        return None
    try:
        attributes = json.loads(text).get("attributes", {})
        if "tilegate" not in attributes:
            return None
        plan, fingerprint = from_json(attributes["tilegate"]["plan"]), attributes["tilegate"]["fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{folder.uri}/run.zarr/zarr.json is damaged: {error}") from error
    if plan.fingerprint != fingerprint:
        raise BadInput(f"{folder.uri}/run.zarr/zarr.json is damaged: its plan is not the one it was written with")
    address = folder.read(ADDRESS)
    if address is None:
        return plan
    try:
        uris = tuple(map(str, json.loads(address)))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{folder.uri}/{ADDRESS} is damaged: {error}; remove it and give the image again") from error
    return replace(plan, source=replace(plan.source, uris=uris))


def _lay_out(folder: Folder, plan: RunPlan) -> None:
    """Write what is missing or damaged of the description of every array, and the plan last."""
    shown = replace(plan, source=replace(plan.source, uris=tuple(map(public, plan.source.uris))))
    if shown.source.uris != plan.source.uris:  # a signed address lies aside for the owner until the run is finished
        folder.write(ADDRESS, json.dumps(plan.source.uris).encode(), private=True)
    else:
        folder.remove(ADDRESS)  # of the same image, when it was asked for at a signed address before
    for name, text in sorted(_descriptions(shown).items(), key=lambda named: named[0] == "zarr.json"):
        if folder.read(f"run.zarr/{name}") != text:
            folder.write(f"run.zarr/{name}", text)


def _descriptions(plan: RunPlan) -> dict[str, bytes]:
    """Every zarr.json of a run by name, as zarr writes them."""
    files: dict[str, Any] = {}
    root = zarr.open_group(MemoryStore(files), mode="w", attributes=_attributes(plan), zarr_format=3)
    for layout in arrays(plan).values():
        _create_array(root, layout)
    return {name: content.to_bytes() for name, content in files.items()}


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


def _require_same(place: str, plan: RunPlan, found: RunPlan) -> None:
    if found.fingerprint == plan.fingerprint:
        return
    lines = "\n  ".join(found.differences(plan)[:12])
    raise BadInput(
        f"{place} holds another run; it is left as it is. What differs (there -> asked for):\n  {lines}\n"
        "Choose another folder with --out, or ask for exactly that run to finish it."
    )
