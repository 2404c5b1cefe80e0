"""Reading many tiles at once, and one by one where that fails: a hole in a file costs its own tiles only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiling.address import redacted
from tiling.errors import BadData, BadInput
from tiling.grid import Batch, Tile
from tiling.info import Plane
from tiling.record import TileRecord
from tiling.source import Source
from tiling.stack import TileStack, cut_stack, read_stack
from tiling.state import State
from tiling.window import Window

log = logging.getLogger("tilegate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The tiles that could be read, and why the others could not."""

    stack: TileStack | None
    """None when no tile could be read."""
    holes: tuple[TileRecord, ...]
    """Unreadable or failed tiles, with the reason; and those nobody asked for."""


def read_batch(source: Source, batch: Batch, plane: Plane) -> Readings:
    """All tiles of a batch without halo, in one read of the plane."""
    last = batch.tiles[-1].read
    first = batch.tiles[0].read
    window = Window(y=first.y, x=first.x, height=last.y_stop - first.y, width=last.x_stop - first.x)
    try:
        return Readings(stack=cut_stack(source.read(window, plane), batch.tiles, window), holes=())
    except BadInput:
        raise
    except Exception:  # whatever it was: the tiles are asked one by one, and each answers for itself
        log.debug("%s could not be read at once", batch.core, exc_info=True)
    return read_tiles(source, batch.tiles, plane)


def read_tiles(source: Source, tiles: Sequence[Tile], plane: Plane) -> Readings:
    """Each tile with its halo, on its own."""
    stacks: list[TileStack] = []
    holes: list[TileRecord] = []
    for tile in tiles:
        try:
            stacks.append(read_stack(source, [tile], plane))
        except Exception as error:
            holes.append(hole(tile, error))
    try:
        return Readings(stack=_join(stacks), holes=tuple(holes))
    except MemoryError as error:
        read = [tile for stack in stacks for tile in stack.tiles]
        return Readings(stack=None, holes=(*holes, *(hole(tile, error) for tile in read)))


def hole(tile: Tile, error: Exception) -> TileRecord:
    """What becomes of a tile whose read raised: unreadable by the fault of disk or network, else failed.

    Bad input is nobody's hole: it is raised again.
    """
    if isinstance(error, BadInput):
        raise error
    if isinstance(error, OSError):
        reason = str(error) if isinstance(error, BadData) else f"reading: {type(error).__name__}: {error}"
        return TileRecord(row=tile.row, col=tile.col, state=State.UNREADABLE, reason=redacted(reason))
    return failed(tile, "reading", error)


def failed(tile: Tile, where: str, error: Exception) -> TileRecord:
    """A tile on which code or machine failed: told once in one line, and counted. where: gate, segmenter, reading."""
    reason = redacted(f"{where}: {type(error).__name__}: {error}")
    log.warning("tile %s failed: %s", tile.id, reason)
    log.debug("where it failed", exc_info=error)
    return TileRecord(row=tile.row, col=tile.col, state=State.FAILED, reason=reason)


def kind_of(given: object) -> str:
    """What a model gave, for the reason that people read: "an array of int64", "a list", "NoneType"."""
    return f"an array of {given.dtype}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"


def _join(stacks: Sequence[TileStack]) -> TileStack | None:
    if len(stacks) < 2:
        return stacks[0] if stacks else None
    return TileStack(
        tiles=tuple(tile for stack in stacks for tile in stack.tiles),
        pixels=np.concatenate([stack.pixels for stack in stacks]),
        valid=np.concatenate([stack.valid for stack in stacks]),
    )
