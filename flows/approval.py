"""Waiting for an operator: asked once, between the stages, when more tiles would be segmented than was agreed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flows.recipe import Recipe
from flows.span import SegmentBatch
from storage.run import Run
from tiling.errors import NeedsApproval
from tiling.record import TileRecord

log = logging.getLogger("tilegate")

APPROVED = "approved.json"
"""In the folder of a run: what an operator has agreed to since. Of no result, so of no fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the expensive step would take."""

    run_uri: str
    """The run that waits."""
    tiles: int
    """To be segmented in all, audited ones included."""
    audited: int
    """Of these, drawn for the audit."""
    agreed: int
    """segment.approve_above: as many may be segmented without asking."""
    seconds: float | None
    """About how long, by a few tiles of this image; None where those could not be segmented."""

    @property
    def text(self) -> str:
        """What an operator decides on."""
        passed = f"{self.tiles - self.audited:,} let through with their rings, {self.audited:,} for the audit"
        return (
            f"{self.run_uri}: {self.tiles:,} tiles are to be segmented ({passed}), more than the {self.agreed:,} agreed "
            f"(segment.approve_above): {_duration(self.seconds)}. Nothing was segmented; what the gate did is kept."
        )


Approve = Callable[[Cost], None]
"""Returns when an operator agrees; else raises, and the run can be gone on with."""


def ask_at_the_desk(cost: Cost) -> None:
    """Raise NeedsApproval with the command that goes on."""
    raise NeedsApproval(
        f"{cost.text} To go on: tilegate resume {cost.run_uri} --approve, or the same command with "
        f"--set segment.approve_above={cost.tiles}."
    )


def approved(_: Cost) -> None:
    """Agree to anything: somebody has said so."""


def require_approval(
    run: Run,
    recipe: Recipe,
    gated: Sequence[TileRecord],
    chosen: Sequence[SegmentBatch],
    workers: int,
    approve: Approve,
) -> None:
    """Return where the cost is agreed, now or before; what is agreed now is kept in the run. Raises as `approve` does."""
    agreed, tiles = recipe.segment.approve_above, sum(len(batch.tiles) for batch in chosen)
    if agreed is None or tiles <= max(agreed, _approved_before(run)):
        return
    audited = sum(len(batch.audited) for batch in chosen)
    tile_s = _seconds_per_tile(run, gated)
    seconds = None if tile_s is None else tiles * tile_s / workers
    approve(Cost(run_uri=run.uri, tiles=tiles, audited=audited, agreed=agreed, seconds=seconds))
    run.write(APPROVED, (json.dumps({"tiles": tiles, "agreed_before": agreed}) + "\n").encode())


def _approved_before(run: Run) -> int:
    """Tiles; 0 where nobody was asked. What cannot be read agrees to nothing: it is asked again."""
    try:
        return int(json.loads(run.read(APPROVED) or b"{}").get("tiles", 0))
    except (ValueError, TypeError, AttributeError):
        return 0


def _seconds_per_tile(run: Run, gated: Sequence[TileRecord]) -> float | None:
    """By a few tiles, as `tilegate plan` does; None where they fail: then stage 2 tells of each why."""
    from flows.estimate import segment_seconds
    from flows.job import open_job

    with open_job(run.plan) as job:
        try:
            return segment_seconds(job, gated)
        except Exception:  # a model may fail in any way; the duration is a courtesy, and told as not known
            log.debug("the segmenter failed on the tiles that were tried", exc_info=True)
            return None


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "how long that takes is not known, as the tiles that were tried failed"
    if seconds < 60:
        return "less than a minute"
    return f"about {seconds / 3600:.2g} hours" if seconds >= 5400 else f"about {seconds / 60:.0f} minutes"
