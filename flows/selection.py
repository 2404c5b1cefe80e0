"""What the expensive step will see: positives, their rings and the audit. A pure function of stage 1."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from classifiers.gate import grow_rings
from downstream.audit import draw_audit
from flows.recipe import Recipe
from flows.span import SegmentBatch, TileKey
from storage.ledger import BatchRecord
from storage.plan import RunPlan
from tiling.record import TileRecord
from tiling.state import State


def select(plan: RunPlan, recipe: Recipe, gated: Sequence[TileRecord]) -> list[SegmentBatch]:
    """Batches with something to segment, in grid order. gated: every tile of the grid after stage 1."""
    positive = let_through_with_rings(plan, recipe, gated)
    negative = [key for key in _keys(gated, State.NEGATIVE) if key not in positive]
    audited = draw_audit(negative, recipe.audit.tiles, plan.fingerprint)
    chosen: dict[tuple[int, int], tuple[list[TileKey], list[TileKey]]] = defaultdict(lambda: ([], []))
    for which, keys in enumerate((sorted(positive), audited)):
        for key in keys:
            chosen[plan.grid.batch_of(*key)][which].append(key)
    return [
        SegmentBatch(row=row, col=col, positive=tuple(passed), audited=tuple(drawn))
        for (row, col), (passed, drawn) in sorted(chosen.items())
    ]


def let_through_with_rings(plan: RunPlan, recipe: Recipe, gated: Sequence[TileRecord]) -> set[TileKey]:
    """Positives, and the negatives within `gate.ring` tiles of one."""
    passed, eligible = (np.zeros(plan.grid.shape_tiles, bool) for _ in range(2))
    for state, where in ((State.POSITIVE, passed), (State.NEGATIVE, eligible)):
        for key in _keys(gated, state):
            where[key] = True
    grown = grow_rings(passed, eligible, recipe.gate.ring)
    return {(int(row), int(col)) for row, col in np.argwhere(grown)}


def still_to_segment(chosen: Sequence[SegmentBatch], done: Sequence[BatchRecord]) -> list[SegmentBatch]:
    """Batches without a commit record that speaks of exactly their tiles, and those in which a tile failed."""
    finished = {(r.row, r.col): tuple(sorted((t.row, t.col) for t in r.tiles)) for r in done if not has_holes(r)}
    return [batch for batch in chosen if finished.get((batch.row, batch.col)) != batch.tiles]


def has_holes(record: BatchRecord) -> bool:
    """True when a tile of the batch was unreadable or failed: worth another try when the run is resumed."""
    return any(tile.state in (State.UNREADABLE, State.FAILED) for tile in record.tiles)


def _keys(tiles: Sequence[TileRecord], state: State) -> list[TileKey]:
    return [(tile.row, tile.col) for tile in tiles if tile.state is state]
