"""Reading many tiles at once, and one by one where that fails: a hole in a file costs its own tiles only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiling.errors import BadData
from tiling.grid import Batch, Tile
from tiling.info import Plane
from tiling.source import Source
from tiling.stack import TileStack, cut_stack, read_stack
from tiling.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The tiles that could be read, and why the others could not."""

    stack: TileStack | None
    """None when no tile could be read."""
    unreadable: tuple[tuple[Tile, str], ...]
    """(tile, reason)."""


def read_batch(source: Source, batch: Batch, plane: Plane) -> Readings:
    """All tiles of a batch without halo, in one read of the plane."""
    last = batch.tiles[-1].read
    first = batch.tiles[0].read
    window = Window(y=first.y, x=first.x, height=last.y_stop - first.y, width=last.x_stop - first.x)
    try:
        return Readings(stack=cut_stack(source.read(window, plane), batch.tiles, window), unreadable=())
    except BadData:
        return read_tiles(source, batch.tiles, plane)


def read_tiles(source: Source, tiles: Sequence[Tile], plane: Plane) -> Readings:
    """Each tile with its halo, on its own."""
    stacks: list[TileStack] = []
    unreadable: list[tuple[Tile, str]] = []
    for tile in tiles:
        try:
            stacks.append(read_stack(source, [tile], plane))
        except BadData as error:
            unreadable.append((tile, str(error)))
    return Readings(stack=_join(stacks), unreadable=tuple(unreadable))


def _join(stacks: Sequence[TileStack]) -> TileStack | None:
    if not stacks:
        return None
    return TileStack(
        tiles=tuple(tile for stack in stacks for tile in stack.tiles),
        pixels=np.concatenate([stack.pixels for stack in stacks]),
        valid=np.concatenate([stack.valid for stack in stacks]),
    )
