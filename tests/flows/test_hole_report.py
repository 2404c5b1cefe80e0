"""Every hole is told: with its reason, where it is and how much it holds; and the tiles always sum to the grid."""

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from downstream.summary import merge_stages
from flows.holes import MOST_LETTERS, MOST_LINES, MOST_ROWS, hole_lines, hole_rows, holes_of, merged, shared_reason
from flows.recipe import load_recipe
from flows.results import summarise
from tiling.pixel_area import pixel_areas
from tiling.record import TileRecord
from tiling.state import State

SUMMARY = {"area": {"unit": "m2", "display_unit": "ha"}}
GATED = (State.EMPTY, State.NEGATIVE, State.POSITIVE, State.UNREADABLE, State.FAILED)
HOLES = (State.UNREADABLE, State.FAILED)
REASONS = ("a.tif rows 0-4 columns 7-9: broken", "a.tif rows 11-42 columns 700-9: broken", "gate: MemoryError: no", "")


@st.composite
def fates(draw, tiles=20):
    """(gate states, segment states or None) of every tile of a small grid, with a reason for each hole."""
    gate = draw(st.lists(st.sampled_from(GATED), min_size=tiles, max_size=tiles))
    later = {State.POSITIVE: (State.SEGMENTED, *HOLES), State.NEGATIVE: (None, State.AUDITED, *HOLES)}
    segment = [draw(st.sampled_from(later.get(state, (None,)))) for state in gate]
    reasons = draw(st.lists(st.sampled_from(REASONS), min_size=tiles, max_size=tiles))
    return gate, segment, reasons


def counted(state):
    """Of both classes of the plan, where a segmenter looked."""
    return {"pixels": (1, 2), "area": (100.0, 200.0)} if state in (State.SEGMENTED, State.AUDITED) else {}


def records(states, reasons, cols=5):
    return [
        TileRecord(row=i // cols, col=i % cols, state=state, reason=reason if state in HOLES else "", **counted(state))
        for i, (state, reason) in enumerate(zip(states, reasons, strict=True))
        if state is not None
    ]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fate=fates())
def test_the_tiles_sum_to_the_grid_and_the_holes_to_what_is_missing(tiny_plan, fate):
    plan, recipe = tiny_plan(), load_recipe("water")
    gate, segment, reasons = fate
    tiles = merge_stages(records(gate, reasons), records(segment, reasons))
    summary = summarise(plan, recipe, tiles, pixel_areas(plan.image, plan.fine), {})
    counts, holes = summary["tiles"], holes_of(plan, tiles)
    assert sum(counts[name] for name in ("empty", "negative", "positive", "unreadable", "failed")) == 20
    assert counts["total"] == len(plan.grid) == 20

    lost = {i for i, states in enumerate(zip(gate, segment, strict=True)) if set(states) & set(HOLES)}
    assert (summary["status"] == "partial") == bool(lost)
    assert sum(hole["tiles"] for hole in holes) == len(lost) == counts["unreadable"] + counts["failed"]
    assert math.fsum(hole["area"] for hole in holes) == pytest.approx(summary["area"]["not_observed"])
    seen = np.ones((50, 70), int)
    for y, x, height, width in (window for hole in holes for window in hole["windows"]):
        seen[y : y + height, x : x + width] -= 1
    assert seen.min() >= 0
    truth = np.ones((4, 5), int)
    truth.flat[list(lost)] = 0
    assert np.array_equal(seen, np.kron(truth, np.ones((16, 16), int))[:50, :70])
    assert len(holes) <= 2 * 3  # of four reasons two differ in numbers only


def test_reasons_share_what_they_have_in_common():
    reasons = [f"scene_2021.tif level 2 rows {y}-{y + 32} at 0x7f{y}a cannot be read" for y in (0, 32, 64)]
    assert shared_reason(reasons) == "scene_2021.tif level 2 rows …-… at … cannot be read"
    assert shared_reason(reasons[:1]) == reasons[0]
    assert shared_reason([""]) == ""


@given(
    cells=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))),
    side=st.integers(1, 9),
)
def test_windows_are_merged_without_losing_or_doubling_a_pixel(cells, side):
    windows = [[row * side, col * side, side, side] for row, col in cells]
    painted = np.zeros((6 * side, 6 * side), int)
    for window in merged(windows):
        rows, cols = window.slices
        painted[rows, cols] += 1
    truth = np.zeros((6, 6), int)
    for cell in cells:
        truth[cell] = 1
    assert np.array_equal(painted, np.kron(truth, np.ones((side, side), int)))
    assert len(merged(windows)) <= len(windows)


def test_a_block_of_tiles_is_one_window():
    windows = [[y, x, 32, 32] for y in (64, 96) for x in (128, 160)] + [[64, 224, 32, 32]]
    assert [(w.y, w.y_stop, w.x, w.x_stop) for w in merged(windows)] == [(64, 128, 128, 192), (64, 96, 224, 256)]


def hole(number, tiles=1, reason=None):
    windows = [[64 * i, 100 * number, 32, 32] for i in range(tiles)]
    reason = f"reason {'x' * number}" if reason is None else reason
    return {"state": "failed", "reason": reason, "tiles": tiles, "area": 1e4 * tiles, "windows": windows}


def test_tables_stay_short_and_say_what_they_leave_out():
    """A thousand reasons of a hundred windows each: far below the 1.5 MB that Prefect's server takes."""
    holes = [hole(number, tiles=100, reason=f"{chr(945 + number % 24)} " * 9999) for number in range(1000)]
    rows = hole_rows(holes, SUMMARY)
    assert len(rows) == MOST_ROWS + 1
    assert rows[-1]["reason"] == "and 800 more reasons: see tiles.parquet"
    assert (rows[-1]["tiles"], rows[-1]["area"]) == ("80,000", "80,000.0 ha")
    assert rows[0]["where"].endswith("; and 92 more: see tiles.parquet")
    assert max(len(row["reason"]) for row in rows) <= MOST_LETTERS + 1
    assert len(json.dumps(rows)) < 1_000_000
    lines = hole_lines(holes, SUMMARY)
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == "  98,000 (98,000.0 ha) and 980 more reasons: see tiles.parquet"


def test_few_holes_are_told_in_full():
    assert hole_lines([hole(1, tiles=2)], SUMMARY) == [
        "  2 x failed (2 ha): reason x [rows 0-32 columns 100-132; rows 64-96 columns 100-132]"
    ]
    assert hole_lines([], SUMMARY) == []
