"""The audit of a run: drawn from what the gate said, and drawn again from the records whenever it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from classifiers.gate import grow_rings, let_through
from downstream.audit import CONFIDENCE, DESIGN, Audit, Rejected, draw_audit
from downstream.zones_aoi import Aoi
from flows.plan_areas import plan_areas
from flows.recipe import Recipe
from flows.span import TileKey
from flows.zones.aoi import aoi_of
from storage.plan import RunPlan
from tiling.grid import TileGrid
from tiling.pixel_area import PixelAreas, window_area
from tiling.record import TileRecord
from tiling.state import State
from tiling.window import Window


def audit_of(plan: RunPlan, recipe: Recipe, tiles: Sequence[TileRecord]) -> Audit:
    """The draw of a run. tiles: of stage 1, or of both: scores and fingerprint are all it takes.

    Empty tiles, those without pixels for the gate (unreadable, failed) and those of rings are not drawn: they are
    counted, not observed, or segmented.
    """
    return draw_audit(rejected_of(plan, recipe, tiles), recipe.audit.tiles, plan.fingerprint)


def rejected_of(plan: RunPlan, recipe: Recipe, tiles: Sequence[TileRecord]) -> list[Rejected]:
    """What an audit is drawn from. A tile at the border of an area of interest is as large as what of it is inside."""
    gated = as_gated(tiles, recipe)
    passed = let_through_with_rings(plan, recipe, gated)
    rejected = [tile for tile in gated if tile.state is State.NEGATIVE and (tile.row, tile.col) not in passed]
    sizes = TileAreas(plan.grid, plan_areas(plan), aoi_of(plan))
    return [Rejected(key=(t.row, t.col), score=t.score, area=sizes.of(t.row, t.col)) for t in rejected]


def as_gated(tiles: Sequence[TileRecord], recipe: Recipe) -> list[TileRecord]:
    """The tiles in the state that the gate left them in: scores tell, also of tiles that failed when segmented."""
    states = (_gate_state(tile, recipe) for tile in tiles)
    return [t if t.state is state else replace(t, state=state) for t, state in zip(tiles, states, strict=True)]


def _gate_state(tile: TileRecord, recipe: Recipe) -> State:
    if tile.state in (State.EMPTY, State.NEGATIVE, State.AUDITED):
        return State.EMPTY if tile.state is State.EMPTY else State.NEGATIVE
    if tile.score is None:
        return State.POSITIVE if tile.state is State.SEGMENTED else tile.state
    assert recipe.gate.threshold is not None  # filled in when the run was planned
    return State.POSITIVE if let_through(tile.score, recipe.gate.threshold) else State.NEGATIVE


def let_through_with_rings(plan: RunPlan, recipe: Recipe, gated: Sequence[TileRecord]) -> set[TileKey]:
    """Positives, and the negatives within `gate.ring` tiles of one."""
    passed, eligible = (np.zeros(plan.grid.shape_tiles, bool) for _ in range(2))
    for tile in gated:
        passed[tile.row, tile.col] = tile.state is State.POSITIVE
        eligible[tile.row, tile.col] = tile.state is State.NEGATIVE
    grown = grow_rings(passed, eligible, recipe.gate.ring)
    return {(int(row), int(col)) for row, col in np.argwhere(grown)}


def audit_block(audit: Audit, tiles: Sequence[TileRecord]) -> dict[str, Any]:
    """area.audit of summary.json; None in it where nothing was drawn."""
    done = sum(tile.state is State.AUDITED for tile in tiles)
    chances = [draw.chance for draw in audit.draws]
    return {
        "design": DESIGN,
        "bound": "betting",
        "confidence": CONFIDENCE,
        "rejected_tiles": audit.tiles,
        "rejected": audit.area,
        "drawn": len(audit.draws),
        "tiles": done,
        "not_segmented": len(audit.draws) - done,
        "chance": [min(chances), max(chances)] if chances else None,
    }


class TileAreas:
    """Area of the cores of a grid; where pixels of a row are alike, so are its tiles, and each is summed once."""

    def __init__(self, grid: TileGrid, areas: PixelAreas, aoi: Aoi | None = None) -> None:
        """areas: of the plane that the grid lies on; aoi: tiles that its border cuts count as far as they are inside."""
        self._grid, self._areas, self._aoi = grid, areas, aoi
        self._alike = areas.of(Window(y=0, x=0, height=1, width=2)).shape[1] == 1
        self._known = dict[tuple[int, int], float]()

    def of(self, row: int, col: int) -> float:
        """In the unit of the areas."""
        if self._aoi is not None and self._aoi.cut[row, col]:
            return self._aoi.tile_area(row, col, self._areas)
        side = self._grid.tile_px
        width = min(side, self._grid.shape_px[1] - col * side)
        known = self._known.get((row, width))
        if known is not None:
            return known
        core = self._grid.tile(row, col).core
        area = window_area(self._areas, core)
        if self._alike:
            self._known[row, width] = area
        return area
