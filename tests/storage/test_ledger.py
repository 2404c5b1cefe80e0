"""One part per batch: whole or absent, and only this plan's count."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.disk import LocalFolder
from storage.ledger import BatchRecord, read_parts, records_of, table_of, write_part
from tiling.record import TileRecord
from tiling.state import State

CLASSES = ("water", "ice")
GATE = BatchRecord(
    stage="gate",
    row=3,
    col=12,
    tiles=(
        TileRecord(row=24, col=96, state=State.NEGATIVE, score=0.25, distance=2.5, valid_area=1 / 3),
        TileRecord(row=24, col=97, state=State.EMPTY, valid_area=5e-324),
        TileRecord(row=24, col=98, state=State.UNREADABLE, reason='tile "x", rows 5-9: ünreadable'),
    ),
    shards={"pixels/gate": "ab" * 32},
    seconds=0.1 + 0.2,
)
SEGMENT = BatchRecord(
    stage="segment",
    row=0,
    col=7,
    tiles=(
        TileRecord(row=0, col=56, state=State.SEGMENTED, valid_area=9.5, pixels=(2**40, 0), area=(1e300, 0.1)),
        TileRecord(row=0, col=57, state=State.AUDITED, valid_area=0.5, pixels=(0, 0), area=(0.0, 0.0)),
        TileRecord(row=0, col=58, state=State.FAILED, reason="segmenter: ValueError: no"),
    ),
    shards={"mask/0": "cd" * 32, "pixels/fine": ""},
    seconds=2.0,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
tiles = st.builds(
    TileRecord,
    row=st.integers(0, 2**31 - 1),
    col=st.integers(0, 2**31 - 1),
    state=st.sampled_from(State),
    score=st.none() | st.floats(0, 1, width=32),
    distance=st.none() | st.floats(0, width=32),
    valid_area=numbers,
    pixels=st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)),
    area=st.tuples(numbers, numbers),
    reason=st.text(st.characters(codec="utf-8")),
) | st.builds(TileRecord, row=st.just(1), col=st.just(2), state=st.sampled_from(State))


@given(st.lists(tiles, max_size=8).map(tuple))
def test_rows_come_back_to_the_bit(records: tuple[TileRecord, ...]) -> None:
    assert records_of(table_of(records, CLASSES), CLASSES) == records


@pytest.mark.parametrize("record", [GATE, SEGMENT], ids=["gate", "segment"])
def test_a_part_comes_back_as_it_was_written(record: BatchRecord, tmp_path: Path) -> None:
    write_part(LocalFolder(tmp_path), record, CLASSES, "print")
    assert read_parts(LocalFolder(tmp_path), record.stage, CLASSES, "print") == [record]


def test_a_part_is_a_table_anyone_can_read(tmp_path: Path) -> None:
    write_part(LocalFolder(tmp_path), SEGMENT, CLASSES, "print")
    rows = pq.read_table(tmp_path / "ledger" / "segment" / "r0000c0007.parquet").to_pylist()
    assert [row["pixels:water"] for row in rows] == [2**40, 0, None]
    assert [row["state"] for row in rows] == ["segmented", "audited", "failed"]


def test_tables_of_before_there_were_distances_are_read_without() -> None:
    table = table_of(GATE.tiles, ()).drop_columns("distance")
    assert records_of(table, ()) == tuple(replace(tile, distance=None) for tile in GATE.tiles)
    assert records_of(table.slice(0, 0), ()) == ()


def test_parts_of_another_plan_do_not_count(tmp_path: Path) -> None:
    write_part(LocalFolder(tmp_path), GATE, CLASSES, "print")
    other = BatchRecord(stage="gate", row=0, col=0, tiles=GATE.tiles, shards={}, seconds=1.0)
    write_part(LocalFolder(tmp_path), other, ("other", "classes"), "another print")
    assert read_parts(LocalFolder(tmp_path), "gate", CLASSES, "print") == [GATE]


def test_a_batch_done_twice_counts_once_and_the_last_word_holds(tmp_path: Path) -> None:
    again = BatchRecord(stage="gate", row=3, col=12, tiles=GATE.tiles[:1], shards={}, seconds=9.0)
    write_part(LocalFolder(tmp_path), GATE, CLASSES, "print")
    write_part(LocalFolder(tmp_path), again, CLASSES, "print")
    assert read_parts(LocalFolder(tmp_path), "gate", CLASSES, "print") == [again]


def test_parts_come_in_the_order_of_the_grid(tmp_path: Path) -> None:
    keys = [(row, col) for row in (0, 2, 11) for col in (0, 3, 10)]
    shuffled = random.Random(1).sample(keys, len(keys))
    for row, col in shuffled:
        record = BatchRecord(stage="gate", row=row, col=col, tiles=(), shards={}, seconds=0.0)
        write_part(LocalFolder(tmp_path), record, CLASSES, "print")
    assert [(r.row, r.col) for r in read_parts(LocalFolder(tmp_path), "gate", CLASSES, "print")] == keys


def test_what_a_crash_leaves_is_not_a_part(tmp_path: Path) -> None:
    assert read_parts(LocalFolder(tmp_path / "nowhere"), "gate", CLASSES, "print") == []
    write_part(LocalFolder(tmp_path), GATE, CLASSES, "print")
    (tmp_path / "ledger" / "gate" / ".r0000c0000.parquet.1234abcd.tmp").write_bytes(b"PAR1 half a fi")
    assert read_parts(LocalFolder(tmp_path), "gate", CLASSES, "print") == [GATE]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "renamed column"])
def test_a_damaged_part_is_a_batch_to_do_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    write_part(LocalFolder(tmp_path), SEGMENT, CLASSES, "print")
    write_part(LocalFolder(tmp_path), replace(SEGMENT, row=1), CLASSES, "print")
    path = tmp_path / "ledger" / "segment" / "r0000c0007.parquet"
    whole = path.read_bytes()
    column = whole.index(b"valid_area")
    path.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "flipped": whole[:40] + bytes([whole[40] ^ 4]) + whole[41:],  # in the first page: its checksum tells
            "empty": b"",
            "renamed column": whole.replace(whole[column : column + 10], b"valid_arex"),
        }[damage]
    )
    assert read_parts(LocalFolder(tmp_path), "segment", CLASSES, "print") == [replace(SEGMENT, row=1)]
    assert "r0000c0007.parquet is damaged" in caplog.text
