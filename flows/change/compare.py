"""Two runs laid on one grid and compared, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from downstream.change import Cells, Change, count_change, join_classes, sum_cells
from flows.change.board import Board
from flows.change.reading import Seen, looked_up
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.placement import Match, match
from tiling.window import Window

WINDOW_PX = 2048
"""Side of what is compared at once, px; one tile where tiles are larger."""
SAME_SIZE = 0.01
"""Grids whose pixels differ by less than this share are of one pixel size: then A's grid is used."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """What came out of it."""

    change: Change
    """The counts."""
    grid: Literal["a", "b"]
    """Whose grid they are on."""
    match: Match
    """How the other was laid on it."""
    board: Board
    """For the picture."""


def compare(a: Seen, b: Seen, longest_px: int) -> Compared:
    """Count every pixel of the finer grid. longest_px: of the picture. Raises BadInput where the places do not meet."""
    require_one_unit(a, b)
    on_b = b.placement.pixel_size.mean < a.placement.pixel_size.mean * (1 - SAME_SIZE)
    base, other = (b, a) if on_b else (a, b)
    how = match(base.placement, other.placement)
    joined = join_classes(a.plan.classes, b.plan.classes)
    both = [i for i, name in enumerate(joined) if name in a.plan.classes and name in b.plan.classes]
    board = Board(base.placement.shape_px, both, longest_px)
    cells: Cells = {}
    meet_px = 0
    for window in windows(base.plan.grid):
        here = base.codes(window, joined)
        there, inside_px = looked_up(other, how, window, joined)
        dates = (there, here) if on_b else (here, there)
        board.add(window, *dates)
        cells = sum_cells((cells, count_change(*dates, base.areas, window)), base.areas.unit)
        meet_px += inside_px
    require_meeting(a, b, meet_px)
    change = Change(classes=joined, cells=cells, unit=base.areas.unit)
    return Compared(change=change, grid="b" if on_b else "a", match=how, board=board)


def windows(grid: TileGrid) -> Iterator[Window]:
    """The plane in pieces of whole tiles."""
    pieces = TileGrid(
        shape_px=grid.shape_px,
        tile_px=grid.tile_px,
        batch_tiles=max(1, min(grid.batch_tiles, WINDOW_PX // grid.tile_px)),
    )
    return (batch.core for batch in pieces.batches())


def require_one_unit(a: Seen, b: Seen) -> None:
    """Raise BadInput for ground against glass."""
    if a.areas.unit != b.areas.unit:
        raise BadInput(
            f"{a.run.uri} measures {a.areas.unit} ({a.placement.extent}), {b.run.uri} {b.areas.unit} "
            f"({b.placement.extent}): ground and glass have no place in common"
        )


def require_meeting(a: Seen, b: Seen, meet_px: int) -> None:
    """Raise BadInput, with both extents, unless some pixel of one lies on the other."""
    if not meet_px:
        raise BadInput(
            f"{a.run.uri} and {b.run.uri} show different places, no pixel of one lies on the other: "
            f"{a.placement.extent} against {b.placement.extent}"
        )
