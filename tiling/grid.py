"""The grid of tiles and batches over one plane. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tiling.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One cell of the grid: it owns `core` (counted, written) and reads `read` (core + halo)."""

    row: int
    """Row in the grid of tiles."""
    col: int
    """Column in the grid of tiles."""
    core: Window
    """The pixels this tile owns, clipped to the plane: the cores of a grid partition it."""
    read: Window
    """Unclipped full tile plus halo, the same size for every tile; what lies outside the plane is not valid."""

    @property
    def id(self) -> str:
        """Readable identity, such as r0012c0034."""
        return f"r{self.row:04d}c{self.col:04d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """k x k tiles: one shard of every array, written by one writer, once."""

    row: int
    """Row in the grid of batches."""
    col: int
    """Column in the grid of batches."""
    tiles: tuple[Tile, ...]
    """Its tiles, row by row."""
    core: Window
    """The union of its tiles' cores."""

    @property
    def id(self) -> str:
        """Readable identity, such as r0003c0007."""
        return f"r{self.row:04d}c{self.col:04d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """A regular grid that starts at the plane's top left corner.

    Cores are clipped to the plane, reads are not (`.` is read but outside, never valid)::

        0        tile_px    2*tile_px   shape_px
        |  core 0  |  core 1  | core 2 |
        |          |          |        |...|     a full tile is read, padded
              |halo|  core 1  |halo|             and the halo reaches into the neighbours
    """

    shape_px: tuple[int, int]
    """(height, width) of the plane, px."""
    tile_px: int
    """Side of a tile's core, px."""
    halo_px: int = 0
    """Context read around the core on each side, px."""
    batch_tiles: int = 8
    """Tiles along one side of a batch."""

    def __post_init__(self) -> None:
        if min(self.shape_px) < 1 or self.tile_px < 1 or self.halo_px < 0 or self.batch_tiles < 1:
            raise ValueError(f"not a grid: {self}")

    @property
    def shape_tiles(self) -> tuple[int, int]:
        """(rows, columns) of tiles."""
        return -(-self.shape_px[0] // self.tile_px), -(-self.shape_px[1] // self.tile_px)

    @property
    def shape_batches(self) -> tuple[int, int]:
        """(rows, columns) of batches."""
        rows, cols = self.shape_tiles
        return -(-rows // self.batch_tiles), -(-cols // self.batch_tiles)

    @property
    def batch_px(self) -> int:
        """Side of a full batch, px: the side of a shard."""
        return self.tile_px * self.batch_tiles

    def __len__(self) -> int:
        rows, cols = self.shape_tiles
        return rows * cols

    def tile(self, row: int, col: int) -> Tile:
        """The tile in grid row `row`, column `col`; IndexError outside the grid."""
        rows, cols = self.shape_tiles
        if not (0 <= row < rows and 0 <= col < cols):
            raise IndexError(f"tile ({row}, {col}) is outside a grid of {rows} x {cols} tiles")
        side = self.tile_px
        full = Window(y=row * side, x=col * side, height=side, width=side)
        core = full.clip(self.shape_px)
        assert core is not None
        return Tile(row=row, col=col, core=core, read=full.pad(self.halo_px))

    def batch(self, row: int, col: int) -> Batch:
        """The batch in batch row `row`, column `col`; IndexError outside the grid."""
        k, (rows, cols) = self.batch_tiles, self.shape_tiles
        inside = [
            self.tile(r, c)
            for r in range(row * k, min((row + 1) * k, rows))
            for c in range(col * k, min((col + 1) * k, cols))
        ]
        if row < 0 or col < 0 or not inside:
            raise IndexError(f"batch ({row}, {col}) is outside a grid of {self.shape_batches} batches")
        side = self.batch_px
        core = Window(y=row * side, x=col * side, height=side, width=side).clip(self.shape_px)
        assert core is not None
        return Batch(row=row, col=col, tiles=tuple(inside), core=core)

    def batches(self) -> Iterator[Batch]:
        """Every batch, row by row."""
        rows, cols = self.shape_batches
        return (self.batch(row, col) for row in range(rows) for col in range(cols))

    def batch_of(self, row: int, col: int) -> tuple[int, int]:
        """(row, column) of the batch that holds tile (row, col)."""
        return row // self.batch_tiles, col // self.batch_tiles

    def at(self, tile_px: int) -> TileGrid:
        """The same tiles on a coarser plane, where a tile is `tile_px` pixels a side and reads no halo."""
        shape = tuple(-(-side * tile_px // self.tile_px) for side in self.shape_px)
        return TileGrid(shape_px=(shape[0], shape[1]), tile_px=tile_px, halo_px=0, batch_tiles=self.batch_tiles)
