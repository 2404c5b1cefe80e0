"""What the gate says of the tiles of a batch: screened, scored, and told with the area of their data and tissue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from classifiers.gate import gate_scores, let_through
from classifiers.rules import RULES
from downstream.area import count_pixels
from flows.domain import distances
from flows.job import Job
from flows.reading import Readings, failed, hole, kind_of
from flows.stopping import checkpoint
from storage.plan import RunPlan
from tiling.grid import Tile
from tiling.pixel_area import window_area
from tiling.record import TileRecord
from tiling.stack import TileStack, crop_to_core
from tiling.state import State


def gate_tiles(job: Job, readings: Readings) -> tuple[TileRecord, ...]:
    """The fate of every tile of a batch, in grid order."""
    scored = [] if readings.stack is None else score_or_halve(job, readings.stack)
    return tuple(sorted((*readings.holes, *scored), key=lambda record: (record.row, record.col)))


def score_or_halve(job: Job, stack: TileStack) -> list[TileRecord]:
    """Screen and score a stack; when that fails, each half alone, down to the tile that fails: it is counted as such.

    One bad tile in 64 costs 12 more calls, and a stack too large for the memory is scored in pieces that fit.
    """
    checkpoint()
    scored = try_stack(job, stack)
    if scored is not None:  # what the failed try held in memory is free again from here on
        return scored
    half = len(stack) // 2
    return score_or_halve(job, part_of(stack, slice(half))) + score_or_halve(job, part_of(stack, slice(half, None)))


def try_stack(job: Job, stack: TileStack) -> list[TileRecord] | None:
    """Records of the stack; None when it failed and can be halved."""
    try:
        return screen_and_score(job, stack)
    except Exception as error:  # a model may fail in any way; the tile is counted, nothing is swallowed
        return [failed(stack.tiles[0], "gate", error)] if len(stack) == 1 else None


def part_of(stack: TileStack, part: slice) -> TileStack:
    """Some neighbours in the stack; nothing is copied."""
    return TileStack(tiles=stack.tiles[part], pixels=stack.pixels[part], valid=stack.valid[part])


def screen_and_score(job: Job, stack: TileStack) -> list[TileRecord]:
    """Tiles with too little data and bare glass are found without the model; the rest is scored."""
    share = np.array([crop_to_core(v, t).mean() for v, t in zip(stack.valid, stack.tiles, strict=True)])
    thin = 1 - share >= job.recipe.screen.max_nodata
    bare = ~thin & lacks_tissue(job, stack)
    records = [_thin(job, stack.tiles[i], float(share[i])) for i in np.flatnonzero(thin)]
    records += [_record(job, stack.tiles[i], State.EMPTY, float(share[i])) for i in np.flatnonzero(bare)]
    chosen = np.flatnonzero(~(thin | bare)).tolist()
    if chosen:
        records += score_tiles(job, job.shown(job.gate, stack, chosen), share[chosen])
    return with_tissue(job, stack, records)


def score_tiles(job: Job, stack: TileStack, share: NDArray[np.float64]) -> list[TileRecord]:
    """What the gate decides. share: (n,) of each tile that holds data. Raises whatever the gate raises."""
    scores = require_scores(job, stack)
    passes = [let_through(float(score), job.threshold) for score in scores]
    decided = [
        _record(job, tile, State.POSITIVE if through else State.NEGATIVE, float(part), float(score))
        for tile, through, part, score in zip(stack.tiles, passes, share, scores, strict=True)
    ]
    far = distances(stack, job.domain)
    return [replace(record, distance=one) for record, one in zip(decided, far, strict=True)]


def require_scores(job: Job, stack: TileStack) -> NDArray[np.float32]:
    """(n,) scores. Raises TypeError or ValueError when the model gives no array of them, or no probabilities."""
    name, wanted = job.gate.model.name, (len(stack), len(job.gate.classes))
    probability: object = job.gate.score(stack)
    if not isinstance(probability, np.ndarray) or probability.dtype.kind != "f":
        raise TypeError(f"gate {name} gave {kind_of(probability)} where an array of floats {wanted} was due")
    if probability.shape != wanted:
        raise ValueError(f"gate {name} gave scores {probability.shape} where {wanted} were due")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError(f"gate {name} gave scores outside 0 to 1, or no numbers")
    return gate_scores(probability, job.columns)


def with_tissue(job: Job, stack: TileStack, records: list[TileRecord]) -> list[TileRecord]:
    """The records with the area of tissue in their cores, as the gate plane shows it; unchanged where nothing is cut."""
    tissue = tissue_of(job, stack)
    if tissue is None:
        return records
    shares = {(t.row, t.col): float(crop_to_core(one, t).mean()) for one, t in zip(tissue, stack.tiles, strict=True)}
    return [
        replace(r, tissue_area=job.areas.total(job.plan.grid.tile(r.row, r.col).core) * shares[r.row, r.col])
        for r in records
    ]


def tissue_of(job: Job, stack: TileStack) -> NDArray[np.bool_] | None:
    """(n, h, w), True on tissue; None for images that are no slides, or not in colour."""
    cut, bands = job.recipe.screen.tissue_cut, job.plan.image.bands
    if cut is None or any(name not in bands for name in RULES["tissue"].bands):
        return None
    colours = stack.pixels[:, [bands.index(name) for name in RULES["tissue"].bands]]
    return np.asarray((RULES["tissue"].amount(colours) > cut) & stack.valid)


def lacks_tissue(job: Job, stack: TileStack) -> NDArray[np.bool_]:
    """(n,), True where a slide's tile holds less tissue than the recipe wants to see."""
    tissue = tissue_of(job, stack) if job.recipe.screen.min_tissue > 0 else None
    if tissue is None:
        return np.zeros(len(stack), bool)
    return np.asarray(tissue.mean((1, 2)) < job.recipe.screen.min_tissue)


def _thin(job: Job, tile: Tile, share: float) -> TileRecord:
    """Empty, and what little data there is counts as not observed: nobody looks at it.

    A tile without any data on the gate plane passes if the fine plane holds a sliver that coarse pixels lost.
    """
    if share == 0 and job.plan.image.may_hide_data:
        try:
            if _fine_valid(job, tile).any():
                return TileRecord(row=tile.row, col=tile.col, state=State.POSITIVE)
        except Exception as error:
            return hole(tile, error)
    return TileRecord(row=tile.row, col=tile.col, state=State.EMPTY)


def _record(job: Job, tile: Tile, state: State, share: float, score: float | None = None) -> TileRecord:
    """share: of the tile that holds data, seen on the gate plane; counted on the fine plane where it is not all."""
    core = job.plan.grid.tile(tile.row, tile.col).core
    area = window_area(job.areas, core) * share
    if share < 1 and state is not State.POSITIVE and job.plan.image.may_hide_data:
        try:
            area = count_pixels(_fine_valid(job, tile), job.areas, core).area
        except Exception as error:
            return hole(tile, error)
    claimed = area if share == 1 and state is not State.POSITIVE and may_claim_too_much(job.plan) else None
    return TileRecord(row=tile.row, col=tile.col, state=state, score=score, valid_area=area, claimed_area=claimed)


def may_claim_too_much(plan: RunPlan) -> bool:
    """Whether a coarse pixel with data may stand for fine ones without: overviews average what is there."""
    return plan.image.may_lack_pixels and not plan.one_plane


def _fine_valid(job: Job, tile: Tile) -> NDArray[np.bool_]:
    """(h, w) of the tile's core on the fine plane."""
    return job.source.read(job.plan.grid.tile(tile.row, tile.col).core, job.plan.fine).valid
