"""Windows cut from whole blocks on the file's own grid, each block decoded once while it is remembered."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tiling.source import Pixels
from tiling.window import Window

CACHE_BYTES = 64 * 2**20
"""Of decoded blocks per source: what eight tiles of 1024 px with a halo of 128 in a row share with the row below."""


class Place(NamedTuple):
    """Where a block lies on its grid."""

    row: int
    """Row of blocks."""
    col: int
    """Column of blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockGrid:
    """The blocks that one level of a file is stored in."""

    shape_px: tuple[int, int]
    """(height, width) of the level, px."""
    block_px: tuple[int, int]
    """(height, width) of a block, px; the last ones are cut at the level's end."""

    def places(self, part: Window) -> list[Place]:
        """Every block that `part` touches, row by row."""
        height, width = self.block_px
        rows = range(part.y // height, (part.y_stop - 1) // height + 1)
        cols = range(part.x // width, (part.x_stop - 1) // width + 1)
        return [Place(row, col) for row in rows for col in cols]

    def is_whole(self, part: Window) -> bool:
        """True when `part` cuts no block in two."""
        return all(
            start % block == 0 and (stop % block == 0 or stop == end)
            for start, stop, block, end in (
                (part.y, part.y_stop, self.block_px[0], self.shape_px[0]),
                (part.x, part.x_stop, self.block_px[1], self.shape_px[1]),
            )
        )

    def corner(self, place: Place) -> tuple[int, int]:
        """(y, x) of a block's first pixel, px."""
        return place.row * self.block_px[0], place.col * self.block_px[1]

    def shape_of(self, place: Place) -> tuple[int, int]:
        """(height, width) of a block, px, as far as it lies inside the level."""
        y, x = self.corner(place)
        return min(self.block_px[0], self.shape_px[0] - y), min(self.block_px[1], self.shape_px[1] - x)


class BlockCache:
    """Decoded blocks of one source, the one not used for longest forgotten first. Not thread-safe."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        """limit_bytes: of pixels and masks together."""
        self._limit_bytes, self._size_bytes = limit_bytes, 0
        self._blocks: OrderedDict[tuple[int, Place], Pixels] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """Held now."""
        return self._size_bytes

    def get(self, level: int, place: Place) -> Pixels | None:
        """A block of a level, or None."""
        block = self._blocks.get((level, place))
        if block is not None:
            self._blocks.move_to_end((level, place))
        return block

    def put(self, level: int, place: Place, block: Pixels) -> Pixels:
        """Remember a copy of a block that is not there yet; returns the copy."""
        is_whole = _is_constant(block.valid) or block.valid.all()
        valid = all_valid(*block.valid.shape) if is_whole else block.valid.copy()
        copy = Pixels(block.data.copy(order="C"), valid)
        self._blocks[level, place] = copy
        self._size_bytes += _bytes_of(copy)
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= _bytes_of(self._blocks.popitem(last=False)[1])
        return copy


@lru_cache(64)
def all_valid(height: int, width: int) -> NDArray[np.bool_]:
    """(h, w) True, not to be written to, of one byte."""
    return np.broadcast_to(np.True_, (height, width))


def _bytes_of(block: Pixels) -> int:
    return block.data.nbytes + (0 if _is_constant(block.valid) else block.valid.nbytes)


def _is_constant(valid: NDArray[np.bool_]) -> bool:
    """True for what `all_valid` made."""
    return valid.strides == (0, 0)


class LoadBlock(Protocol):
    """Decodes blocks of one level."""

    def __call__(self, place: Place, /) -> Pixels:
        """The block; its arrays may be used again for the next one. Raises BadData when it cannot be decoded."""


def cut_window(
    part: Window, grid: BlockGrid, out: tuple[int, DTypeLike], load: LoadBlock, remember: tuple[BlockCache, int]
) -> Pixels:
    """The pixels of `part`, a window inside the level: remembered blocks as they are, the others through `load`.

    out: (bands, dtype). remember: (cache, level). A window of nothing but whole blocks is not remembered: its neighbours
    share none with it. Returns fresh, contiguous arrays. Raises what `load` raises; blocks before that one are kept.
    """
    kept, level = remember
    once = grid.is_whole(part)
    pixels = Pixels(np.empty((out[0], *part.shape_px), out[1]), np.empty(part.shape_px, bool))
    for place in grid.places(part):
        block = kept.get(level, place)
        if block is None:
            fresh = load(place)
            block = fresh if once else kept.put(level, place, fresh)
        _paste(pixels, part, block, grid.corner(place))
    return pixels


def _paste(out: Pixels, part: Window, block: Pixels, corner: tuple[int, int]) -> None:
    """Copy what `out`, the pixels of `part`, shares with a block whose first pixel is `corner`, (y, x)."""
    height, width = block.valid.shape
    rows, of_rows = _shared(part.y, part.height, corner[0], height)
    cols, of_cols = _shared(part.x, part.width, corner[1], width)
    out.data[:, rows, cols] = block.data[:, of_rows, of_cols]
    out.valid[rows, cols] = block.valid[of_rows, of_cols]


def _shared(start: int, size: int, other: int, other_size: int) -> tuple[slice, slice]:
    """What two runs of pixels share, counted from the start of each."""
    first, stop = max(start, other), min(start + size, other + other_size)
    return slice(first - start, stop - start), slice(first - other, stop - other)
