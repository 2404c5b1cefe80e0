"""Spans: runs of batches handed to one task, and the only thing a task returns. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.ledger import BatchRecord

BatchKey = tuple[int, int]
"""(row, col) of a batch."""
TileKey = tuple[int, int]
"""(row, col) of a tile."""

MAX_SPANS = 800
"""Prefect's server drops history past some thousand task runs per flow run."""
GATE_TILES_PER_SPAN = 4096
"""About a second of gating on a coarse plane: a task run should cost more than its bookkeeping."""
SEGMENT_TILES_PER_SPAN = 64
"""About two seconds of segmenting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentBatch:
    """The tiles of one batch that the expensive step will see."""

    row: int
    """Batch row."""
    col: int
    """Batch column."""
    positive: tuple[TileKey, ...]
    """Let through by the gate, rings included."""
    audited: tuple[TileKey, ...]
    """Drawn for the audit."""

    @property
    def tiles(self) -> tuple[TileKey, ...]:
        """All of them, in grid order."""
        return tuple(sorted((*self.positive, *self.audited)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanReport:
    """What a task did: small and plain."""

    batches: int
    """Batches committed."""
    tiles: int
    """Tiles looked at."""
    seconds: float
    """Time the task took."""
    states: dict[str, int] = field(default_factory=dict)
    """Tiles per state."""


def report_span(records: Sequence[BatchRecord], seconds: float) -> SpanReport:
    """Sum up the batches of a span."""
    states = Counter(tile.state.value for record in records for tile in record.tiles)
    return SpanReport(batches=len(records), tiles=states.total(), seconds=seconds, states=dict(states))


def cut_spans(weights: Sequence[int], per_span: int, workers: int) -> list[slice]:
    """Cut a row of batches into runs of about equal weight (tiles): at most MAX_SPANS, one per worker if it can be."""
    total = sum(weights)
    wanted = max(min(-(-total // per_span), MAX_SPANS), min(workers, len(weights)), 1)
    spans: list[slice] = []
    start, done = 0, 0
    for i, weight in enumerate(weights):
        done += weight
        left_batches, left_spans = len(weights) - i - 1, wanted - len(spans) - 1
        if done * wanted >= total * (len(spans) + 1) or left_batches <= left_spans:
            spans.append(slice(start, i + 1))
            start = i + 1
    if start < len(weights):
        spans.append(slice(start, len(weights)))
    return spans
