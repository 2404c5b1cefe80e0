"""Cutting work into spans, and choosing what the expensive step sees."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from flows.planning import make_plan
from flows.recipe import load_recipe
from flows.selection import select
from flows.span import MAX_SPANS, cut_spans
from tiling.record import TileRecord
from tiling.source import SourceSpec
from tiling.state import State


@given(
    weights=st.lists(st.integers(1, 64), max_size=300),
    per_span=st.integers(1, 2000),
    workers=st.integers(1, 8),
)
def test_spans_partition_the_batches_in_order(weights, per_span, workers):
    spans = cut_spans(weights, per_span, workers)
    assert [i for span in spans for i in range(len(weights))[span]] == list(range(len(weights)))
    assert all(weights[span] for span in spans)
    assert len(spans) <= max(MAX_SPANS, workers)
    assert len(spans) >= min(workers, len(weights))


@given(weights=st.lists(st.integers(1, 64), min_size=20, max_size=300), workers=st.integers(1, 4))
def test_spans_weigh_about_the_same(weights, workers):
    """No span is heavier than its fair share by more than one batch."""
    spans = cut_spans(weights, 100, workers)
    fair = sum(weights) / len(spans)
    assert max(sum(weights[span]) for span in spans) <= fair + max(weights)


def test_a_million_tiles_make_few_task_runs():
    batches = [64] * (1_000_000 // 64)
    assert len(cut_spans(batches, 1024, 2)) <= MAX_SPANS


def test_rings_and_audit(make_scene):
    scene = make_scene()
    changes = ("tile.size_px=32", "tile.batch=2", "gate.ring=1", "audit.tiles=10")
    recipe = load_recipe("water", changes)
    plan = make_plan(SourceSpec(uris=(str(scene.path),)), recipe)
    rows, cols = plan.grid.shape_tiles
    passed = np.zeros((rows, cols), bool)
    passed[0, 0] = passed[5, 4] = True
    empty = np.zeros((rows, cols), bool)
    empty[4:6, 3] = True
    gated = [
        TileRecord(row=r, col=c, state=State.POSITIVE if passed[r, c] else State.EMPTY if empty[r, c] else State.NEGATIVE)
        for r in range(rows)
        for c in range(cols)
    ]  # fmt: skip
    chosen = select(plan, recipe, gated)
    positive = {tile for batch in chosen for tile in batch.positive}
    audited = [tile for batch in chosen for tile in batch.audited]
    ring = binary_dilation(passed, np.ones((3, 3))) & ~empty
    assert positive == {(r, c) for r, c in np.argwhere(ring).tolist()}
    assert len(audited) == len(set(audited)) == 10
    assert not positive & set(audited)
    assert not any(empty[tile] for tile in audited)
    assert all((r // 2, c // 2) == (batch.row, batch.col) for batch in chosen for r, c in batch.tiles)
    assert select(plan, recipe, gated) == chosen  # the same run draws the same audit
