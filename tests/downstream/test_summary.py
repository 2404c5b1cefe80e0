"""From the records of twelve tiles to the numbers on the page, by hand."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downstream.audit import Audit, Rejected, draw_audit
from downstream.summary import class_areas, funnel, merge_stages, observed_area
from tiling.record import TileRecord
from tiling.state import State


def tile(col: int, state: State, *areas: float, valid: float = 10.0, score: float | None = None) -> TileRecord:
    """A tile of row 0; its pixels are a hundredth of its areas."""
    pixels = tuple(round(area * 100) for area in areas)
    return TileRecord(row=0, col=col, state=state, score=score, valid_area=valid, pixels=pixels, area=areas)


TILES = [
    tile(0, State.EMPTY, valid=0.5),
    tile(1, State.EMPTY, valid=0.0),
    tile(2, State.SEGMENTED, 4.0, 1.0),
    tile(3, State.SEGMENTED, 0.25, 0.0, valid=9.0),
    tile(4, State.AUDITED, 0.5, 0.0),
    tile(5, State.AUDITED, 0.0, 0.0),
    tile(6, State.NEGATIVE),
    tile(7, State.NEGATIVE),
    tile(8, State.NEGATIVE),
    tile(9, State.UNREADABLE, valid=7.0),
    tile(10, State.FAILED, valid=7.0),
]


def audit_of(tiles: list[TileRecord]) -> Audit:
    """A draw of two of five negatives of 10 m2 that took those which are audited."""
    negative = [t for t in tiles if t.state in (State.NEGATIVE, State.AUDITED)]
    drawn = {(t.row, t.col) for t in tiles if t.state is State.AUDITED}
    rejected = [Rejected(key=(t.row, t.col), score=0.1, area=10.0) for t in negative]
    seeds = (draw_audit(rejected, len(drawn), str(seed)) for seed in itertools.count())
    return next(audit for audit in seeds if {draw.key for draw in audit.draws} == drawn)


def test_the_funnel_by_hand() -> None:
    counts = funnel(TILES)
    assert counts == {
        "total": 11,
        "empty": 2,
        "negative": 5,
        "positive": 2,
        "audited": 2,
        "unreadable": 1,
        "failed": 1,
    }
    assert funnel([*TILES, tile(11, State.PLANNED)])["planned"] == 1
    assert funnel([*TILES, tile(11, State.POSITIVE)])["positive"] == 3


@given(st.lists(st.sampled_from(list(State)), max_size=40))
def test_every_tile_has_one_fate(states: list[State]) -> None:
    counts = funnel([tile(col, state) for col, state in enumerate(states)])
    fates = sum(counts.get(fate, 0) for fate in ("empty", "negative", "positive", "unreadable", "failed", "planned"))
    assert fates == counts["total"] == len(states)
    assert counts["audited"] <= counts["negative"]


def test_what_nobody_saw_is_not_observed() -> None:
    assert observed_area(TILES) == 0.5 + 10 + 9 + 10 + 10 + 3 * 10
    assert observed_area([tile(0, State.PLANNED), tile(1, State.UNREADABLE), tile(2, State.FAILED)]) == 0


def test_classes_are_mapped_where_segmented_and_estimated_elsewhere() -> None:
    first, second = class_areas(TILES, ("water", "ice"), "m2", audit_of(TILES))
    assert (first.name, first.mapped.area, first.mapped.pixels) == ("water", 4.75, 475)
    assert (second.name, second.mapped.area, second.mapped.pixels) == ("ice", 1.0, 100)
    assert first.missed is not None
    assert second.missed is not None
    # Des Raj of the draw (5, 4) or (4, 5), less the 0.5 found: (0 + 0.5 * 4) / 2 or (0.5 * 5 + 0.5) / 2
    assert first.missed.estimate in (pytest.approx(1.0 - 0.5), pytest.approx(1.5 - 0.5))
    assert second.missed.estimate == 0.0
    assert second.missed.high > 20.0  # two tiles can promise little: of the three left nearly all may be full


def test_no_audit_no_estimate_and_no_negatives_no_doubt() -> None:
    kept = [record for record in TILES if record.state is not State.AUDITED]
    assert all(found.missed is None for found in class_areas(kept, ("water", "ice"), "m2", audit_of(kept)))
    only = [record for record in TILES if record.state is State.SEGMENTED]
    (water, _) = class_areas(only, ("water", "ice"), "m2", audit_of(only))
    assert water.missed is not None
    assert (water.missed.estimate, water.missed.high) == (0.0, 0.0)


def test_order_changes_no_bit() -> None:
    areas = itertools.cycle((0.1, 1e9 / 3, 7e-9))
    tiles = [tile(col, State.SEGMENTED, next(areas), valid=0.1 * col) for col in range(60)]
    straight = class_areas(tiles, ("water",), "m2", audit_of(tiles)), observed_area(tiles)
    for seed in range(5):
        random.Random(seed).shuffle(tiles)
        assert (class_areas(tiles, ("water",), "m2", audit_of(tiles)), observed_area(tiles)) == straight


def test_the_segmenters_record_replaces_the_gates_but_for_score_and_distance() -> None:
    gate = [tile(0, State.POSITIVE, score=0.75), tile(1, State.NEGATIVE, score=0.25), tile(2, State.EMPTY)]
    segment = [tile(1, State.AUDITED, 2.0, valid=8.0), tile(0, State.SEGMENTED, 3.0)]
    gate[0] = replace(gate[0], distance=1.5)
    merged = merge_stages(gate, segment)
    assert [(t.col, t.state, t.score, t.area) for t in merged] == [
        (0, State.SEGMENTED, 0.75, (3.0,)),
        (1, State.AUDITED, 0.25, (2.0,)),
        (2, State.EMPTY, None, ()),
    ]
    assert [t.distance for t in merged] == [1.5, None, None]
    assert merged[1].valid_area == 8.0
