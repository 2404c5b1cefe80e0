"""What the expensive step will see: positives, their rings and the audit. A pure function of stage 1."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from flows.audited import audit_of, let_through_with_rings
from flows.recipe import Recipe
from flows.span import SegmentBatch, TileKey
from storage.ledger import BatchRecord
from storage.plan import RunPlan
from tiling.record import TileRecord
from tiling.state import State


def select(plan: RunPlan, recipe: Recipe, gated: Sequence[TileRecord]) -> list[SegmentBatch]:
    """Batches with something to segment, in grid order. gated: every tile of the grid after stage 1."""
    positive = let_through_with_rings(plan, recipe, gated)
    audited = sorted(draw.key for draw in audit_of(plan, recipe, gated).draws)
    chosen: dict[tuple[int, int], tuple[list[TileKey], list[TileKey]]] = defaultdict(lambda: ([], []))
    for which, keys in enumerate((sorted(positive), audited)):
        for key in keys:
            chosen[plan.grid.batch_of(*key)][which].append(key)
    return [
        SegmentBatch(row=row, col=col, positive=tuple(passed), audited=tuple(drawn))
        for (row, col), (passed, drawn) in sorted(chosen.items())
    ]


def still_to_segment(chosen: Sequence[SegmentBatch], done: Sequence[BatchRecord]) -> list[SegmentBatch]:
    """Batches whose commit record does not say exactly what is chosen now, or has a hole; in grid order.

    A tile that the gate could not see at first changes the audit when it is mended: batches that were segmented for
    the old draw alone are done again with no tile in them, which clears their shards.
    """
    wanted = {(batch.row, batch.col): batch for batch in chosen}
    finished = {(record.row, record.col): as_chosen(record) for record in done if not has_holes(record)}
    left = [batch for key, batch in wanted.items() if finished.get(key) != batch]
    stale = [(record.row, record.col) for record in done if record.tiles]
    left += [SegmentBatch(row=row, col=col, positive=(), audited=()) for row, col in stale if (row, col) not in wanted]
    return sorted(left, key=lambda batch: (batch.row, batch.col))


def as_chosen(record: BatchRecord) -> SegmentBatch:
    """The choice that a commit record without holes is the answer to."""
    positive, audited = (tuple(_keys(record.tiles, state)) for state in (State.SEGMENTED, State.AUDITED))
    return SegmentBatch(row=record.row, col=record.col, positive=positive, audited=audited)


def has_holes(record: BatchRecord) -> bool:
    """True when a tile of the batch was unreadable or failed: worth another try when the run is resumed."""
    return any(tile.state in (State.UNREADABLE, State.FAILED) for tile in record.tiles)


def _keys(tiles: Sequence[TileRecord], state: State) -> list[TileKey]:
    return [(tile.row, tile.col) for tile in tiles if tile.state is state]
