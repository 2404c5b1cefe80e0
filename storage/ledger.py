"""The ledger: one small Parquet part per batch and stage, written last. The truth about what is done."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tiling.record import TileRecord
from tiling.state import State

Stage = Literal["gate", "segment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """The commit record of one batch and stage."""

    stage: Stage
    """Which stage did it."""
    row: int
    """Batch row."""
    col: int
    """Batch column."""
    tiles: tuple[TileRecord, ...]
    """One row per tile the stage looked at."""
    shards: dict[str, str]
    """sha256 of each shard file by array name; "" where an all-background shard left no file."""
    seconds: float
    """Time spent."""

    @property
    def id(self) -> str:
        """Readable identity, such as r0003c0007."""
        return f"r{self.row:04d}c{self.col:04d}"


def write_part(folder: Path, record: BatchRecord, classes: Sequence[str], fingerprint: str) -> None:
    """Commit a batch: temporary name, fsync, rename, fsync of the folder. Whole or absent, never half."""
    metadata = {"fingerprint": fingerprint, "seconds": repr(record.seconds)} | {
        f"sha256:{name}": digest for name, digest in record.shards.items()
    }
    table = table_of(record.tiles, classes if record.stage == "segment" else ()).replace_schema_metadata(metadata)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{record.id}.parquet", lambda path: pq.write_table(table, path, compression="zstd"))


def read_parts(folder: Path, stage: Stage, classes: Sequence[str], fingerprint: str) -> list[BatchRecord]:
    """Every committed batch of this plan, in the order of the grid; parts of another plan do not count."""
    paths = sorted(folder.glob("r*c*.parquet")) if folder.exists() else []
    records = (_read_part(path, stage, classes if stage == "segment" else (), fingerprint) for path in paths)
    return [record for record in records if record is not None]


def _read_part(path: Path, stage: Stage, classes: Sequence[str], fingerprint: str) -> BatchRecord | None:
    table = pq.read_table(path)
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if metadata.get("fingerprint") != fingerprint:
        return None
    row, col = path.stem[1:].split("c")
    return BatchRecord(
        stage=stage,
        row=int(row),
        col=int(col),
        tiles=records_of(table, classes),
        shards={key[7:]: value for key, value in metadata.items() if key.startswith("sha256:")},
        seconds=float(metadata["seconds"]),
    )


def table_of(tiles: Iterable[TileRecord], classes: Sequence[str]) -> pa.Table:
    """One row per tile; pixels:CLASS and area:CLASS are null where the segmenter did not look."""
    rows = list(tiles)
    columns: dict[str, Any] = {
        "row": pa.array([t.row for t in rows], pa.int32()),
        "col": pa.array([t.col for t in rows], pa.int32()),
        "state": pa.array([t.state.value for t in rows], pa.string()),
        "score": pa.array([t.score for t in rows], pa.float32()),
        "valid_area": pa.array([t.valid_area for t in rows], pa.float64()),
        "reason": pa.array([t.reason for t in rows], pa.string()),
    }
    for i, name in enumerate(classes):
        columns[f"pixels:{name}"] = pa.array([t.pixels[i] if t.pixels else None for t in rows], pa.int64())
        columns[f"area:{name}"] = pa.array([t.area[i] if t.area else None for t in rows], pa.float64())
    return pa.table(columns)


def records_of(table: pa.Table, classes: Sequence[str]) -> tuple[TileRecord, ...]:
    """The rows back."""
    return tuple(
        TileRecord(
            row=row["row"],
            col=row["col"],
            state=State(row["state"]),
            score=row["score"],
            valid_area=row["valid_area"],
            pixels=_values(row, "pixels", classes),
            area=_values(row, "area", classes),
            reason=row["reason"],
        )
        for row in table.to_pylist()
    )


def _values(row: dict[str, Any], what: str, classes: Sequence[str]) -> tuple[Any, ...]:
    values = tuple(row[f"{what}:{name}"] for name in classes)
    return () if None in values else values


def write_whole(path: Path, write: Any) -> None:
    """Call write(temporary path), then put the file in place: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary)
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Fsync a file or folder: it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
