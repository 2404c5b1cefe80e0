"""The ledger: one small Parquet part per batch and stage, written last. The truth about what is done."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal

from storage.columns import numbers, texts
from storage.folder import CannotStore, Folder
from tiling.record import TileRecord
from tiling.state import State

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("tilegate")

PART = re.compile(r"r(\d+)c(\d+)\.parquet")
Stage = Literal["gate", "segment"]
STATES = {state.value: state for state in State}


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
        return batch_id(self.row, self.col)


def batch_id(row: int, col: int) -> str:
    """Name of a batch, such as r0003c0007."""
    return f"r{row:04d}c{col:04d}"


def write_part(folder: Folder, record: BatchRecord, classes: Sequence[str], fingerprint: str) -> None:
    """Commit a batch: whole or absent, never half."""
    metadata = {"fingerprint": fingerprint, "seconds": repr(record.seconds)} | {
        f"sha256:{name}": digest for name, digest in record.shards.items()
    }
    table = table_of(record.tiles, classes if record.stage == "segment" else ()).replace_schema_metadata(metadata)
    folder.write(part_name(record.stage, record.id), to_parquet(table, small=True))


def part_name(stage: Stage, batch_id: str) -> str:
    """Where the commit record of a batch lies."""
    return f"ledger/{stage}/{batch_id}.parquet"


def read_parts(folder: Folder, stage: Stage, classes: Sequence[str], fingerprint: str) -> list[BatchRecord]:
    """Every committed batch of this plan, in the order of the grid.

    Parts of another plan do not count; nor do parts that are damaged, whose batches are done again.
    """
    place = f"ledger/{stage}"
    names = sorted(f"{place}/{name}" for name in folder.names(place) if PART.fullmatch(name))
    with ThreadPoolExecutor(folder.readers) as pool:
        records = list(pool.map(lambda name: _read_part(folder, name, stage, classes, fingerprint), names))
    return [record for record in records if record is not None]


def _read_part(folder: Folder, name: str, stage: Stage, classes: Sequence[str], fingerprint: str) -> BatchRecord | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # read_table would cost twice the time: it looks for folders of files
        file = pq.ParquetFile(pa.BufferReader(folder.read(name) or b""), page_checksum_verification=True)
        table = file.read(use_threads=False)
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        if metadata.get("fingerprint") != fingerprint:
            return None
        row, col = PART.fullmatch(name.rpartition("/")[2]).groups()  # type: ignore[union-attr]
        return BatchRecord(
            stage=stage,
            row=int(row),
            col=int(col),
            tiles=records_of(table, classes if stage == "segment" else ()),
            shards={key[7:]: value for key, value in metadata.items() if key.startswith("sha256:")},
            seconds=float(metadata["seconds"]),
        )
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CannotStore):
            raise
        log.warning("%s/%s is damaged, its batch counts as not done: %s", folder.uri, name, error)
        return None


def to_parquet(table: pa.Table, *, small: bool = False) -> bytes:
    """A table as a file, with checksums. small: some rows; what zstd saves of them its own header takes again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    compression = "none" if small else "zstd"
    pq.write_table(table, buffer, compression=compression, write_page_checksum=True, write_statistics=not small)
    return bytes(buffer.getvalue())


def tiles_of(records: Iterable[BatchRecord]) -> list[TileRecord]:
    """All tiles of some batches, in grid order."""
    return sorted((tile for record in records for tile in record.tiles), key=lambda tile: (tile.row, tile.col))


def table_of(tiles: Iterable[TileRecord], classes: Sequence[str]) -> pa.Table:
    """One row per tile; pixels:CLASS and area:CLASS are null where the segmenter did not look."""
    import pyarrow as pa

    rows = list(tiles)
    columns = {
        "row": numbers([t.row for t in rows], "i4"),
        "col": numbers([t.col for t in rows], "i4"),
        "state": texts([t.state.value for t in rows]),
        "score": numbers([t.score for t in rows], "f4"),
        "distance": numbers([t.distance for t in rows], "f4"),
        "valid_area": numbers([t.valid_area for t in rows], "f8"),
        "claimed_area": numbers([t.claimed_area for t in rows], "f8"),
        "tissue_area": numbers([t.tissue_area for t in rows], "f8"),
        "reason": texts([t.reason for t in rows]),
    }
    for i, name in enumerate(classes):
        columns[f"pixels:{name}"] = numbers([t.pixels[i] if t.pixels else None for t in rows], "i8")
        columns[f"area:{name}"] = numbers([t.area[i] if t.area else None for t in rows], "f8")
    return pa.table(columns)


def records_of(table: pa.Table, classes: Sequence[str]) -> tuple[TileRecord, ...]:
    """The rows back; tables of before there were distances, claims or tissue have none. Raises KeyError when it is no such table."""
    import pyarrow as pa

    for later in {"distance", "claimed_area", "tissue_area"} - set(table.column_names):
        table = table.append_column(later, pa.nulls(len(table)))
    names = ("row", "col", "state", "score", "distance", "valid_area", "claimed_area", "tissue_area", "reason")
    plain = [table.column(name).to_pylist() for name in names]
    rows = zip(*plain, _per_class(table, "pixels", classes), _per_class(table, "area", classes), strict=True)
    return tuple(
        TileRecord(
            row=row,
            col=col,
            state=STATES[state],
            score=score,
            distance=distance,
            valid_area=valid,
            claimed_area=claimed,
            tissue_area=tissue,
            reason=reason,
            pixels=pixels,
            area=area,
        )
        for row, col, state, score, distance, valid, claimed, tissue, reason, pixels, area in rows
    )


def _per_class(table: pa.Table, what: str, classes: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """One tuple per row, empty where the segmenter did not look."""
    columns = [table.column(f"{what}:{name}").to_pylist() for name in classes]
    rows = zip(*columns, strict=True) if columns else repeat((), len(table))
    return (() if None in row else row for row in rows)
