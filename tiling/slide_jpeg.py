"""JPEG tiles of a slide decoded without OpenSlide, which takes several times as long for the very same pixels."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiling.blocks import BlockCache, BlockGrid, Place, all_valid, cut_window
from tiling.errors import BadData
from tiling.slide_pages import TiledPage
from tiling.source import Pixels
from tiling.window import Window

_JPEG, _RGB, _YCBCR = 7, 2, 6
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Adobe's marker but for its last byte, which names the colour space: TIFF says it in a tag, JPEG only here."""
_SPACES = {_RGB: b"\0", _YCBCR: b"\1"}
_COMMENT, _SCAN = 0xFE, 0xDA
_COLOUR_MARKERS = frozenset({0xE0, 0xEE})
"""JFIF's and Adobe's: what a tile says of its colours itself counts for nothing in a TIFF."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegLevel:
    """One level of a slide, in tiles that are JPEG streams."""

    page: TiledPage
    """Where they lie."""
    grid: BlockGrid
    """Its tiles are the blocks."""
    head: bytes
    """What every stream has to begin with: the colour space, and the tables all tiles share."""


def direct_levels(
    pages: Sequence[TiledPage], vendor: str | None, sizes_wh: Sequence[tuple[int, int]]
) -> dict[int, JpegLevel]:
    """Level -> its tiles, for the levels (sizes_wh, by OpenSlide) that can be read without OpenSlide.

    Aperio and plain tiled TIFF, three colours of 8 bits in JPEG, RGB or YCbCr. A level must be the only tiled page of
    its size. Where Aperio stores no tile, OpenSlide paints it from the level below: such a level is left to it.
    """
    levels = {}
    for level, (width, height) in enumerate(sizes_wh):
        same = [page for page in pages if page.shape_px == (height, width)]
        if len(same) == 1 and _is_direct(same[0], vendor):
            grid = BlockGrid(shape_px=same[0].shape_px, block_px=same[0].tile_px)
            levels[level] = JpegLevel(page=same[0], grid=grid, head=_head(same[0]))
    return levels


def _is_direct(page: TiledPage, vendor: str | None) -> bool:
    tiles = page.columns * -(-page.shape_px[0] // page.tile_px[0])
    is_rgb_jpeg = page.compression == _JPEG and page.photometric in _SPACES and page.is_rgb8
    is_whole = min(len(page.starts), len(page.sizes_bytes)) >= tiles and _are_tables(page.jpeg_tables)
    ours = (vendor == "generic-tiff" and page.is_level) or (vendor == "aperio" and bool(page.sizes_bytes.all()))
    return is_rgb_jpeg and is_whole and ours


def _are_tables(stream: bytes) -> bool:
    return not stream or (stream.startswith(b"\xff\xd8") and stream.endswith(b"\xff\xd9"))


def _head(page: TiledPage) -> bytes:
    tables = bytearray(page.jpeg_tables)
    _mute_colours(tables)
    return b"\xff\xd8" + _ADOBE + _SPACES[page.photometric] + bytes(tables[2:-2])


class JpegTiles:
    """The levels of one file that are read directly. Not thread-safe."""

    def __init__(self, path: Path, levels: dict[int, JpegLevel]) -> None:
        """Open the file. Raises OSError."""
        self._levels, self._cache = levels, BlockCache()
        self._buffers = {one.page.tile_px: _beside_alignment(one.page.tile_px) for one in levels.values()}
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __contains__(self, level: int) -> bool:
        return level in self._levels

    def __len__(self) -> int:
        return len(self._levels)

    def read(self, part: Window, level: int) -> Pixels:
        """part: px of the level, may reach over its end: white there, and where no tile is stored, and not valid.

        Raises BadData that names tile, bytes and reason.
        """
        jpeg = self._levels[level]
        inner = part.clip(jpeg.grid.shape_px)
        if inner is None:
            return _glass(part.shape_px)
        load = _Loading(file=self._file, jpeg=jpeg, rgb=self._buffers[jpeg.page.tile_px])
        pixels = cut_window(inner, jpeg.grid, (3, np.uint8), load, (self._cache, level))
        if inner == part:
            return pixels
        whole, place = _glass(part.shape_px), inner.relative_to(part).slices
        whole.data[:, *place], whole.valid[place] = pixels
        return whole

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _beside_alignment(shape_px: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, 3) that starts 16 bytes behind a multiple of 64.

    Into rows at multiples of 32 libjpeg-turbo writes past the processor's caches; reading them back takes half as long
    as decoding did.
    """
    size = shape_px[0] * shape_px[1] * 3
    room = np.empty(size + 80, np.uint8)
    start = 16 - room.ctypes.data % 64 + 64
    return room[start % 64 :][:size].reshape(*shape_px, 3)


def _glass(shape_px: tuple[int, int]) -> Pixels:
    return Pixels(np.full((3, *shape_px), WHITE, np.uint8), np.zeros(shape_px, bool))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Loading:
    """Decodes tiles of one level."""

    file: int
    """Its descriptor."""
    jpeg: JpegLevel
    """The level."""
    rgb: NDArray[np.uint8]
    """(h, w, 3): one tile after the other is decoded into it."""

    def __call__(self, place: Place, /) -> Pixels:
        """See LoadBlock."""
        page = self.jpeg.page
        number = place.row * page.columns + place.col
        start, size = int(page.starts[number]), int(page.sizes_bytes[number])
        height, width = self.jpeg.grid.shape_of(place)
        if size == 0:
            return _glass((height, width))
        try:
            stream = os.pread(self.file, size, start)
            if len(stream) < size:
                raise BadData(f"the file ends after {len(stream)} of them: was its download cut off?")
            decode(stream, self.jpeg.head, self.rgb)
        except (OSError, ValueError) as error:
            raise BadData(f"tile {number} at bytes {start}-{start + size}: {error}") from error
        return Pixels(self.rgb[:height, :width].transpose(2, 0, 1), all_valid(height, width))


def decode(stream: bytes, head: bytes, rgb: NDArray[np.uint8]) -> None:
    """Fill `rgb`, (h, w, 3), from one tile as it is stored; arrays that are new each time cost a third more.

    head: see JpegLevel. Raises ValueError where the tile has another shape, and for all that libjpeg only warns of.
    """
    import simplejpeg

    body = bytearray(stream)
    if body[:2] != b"\xff\xd8":
        raise ValueError("it does not start as a JPEG does")
    frame = _mute_colours(body)
    if frame != rgb.shape:
        raise ValueError(f"it is a JPEG of {frame} (height, width, colours), not {rgb.shape}")
    simplejpeg.decode_jpeg(b"".join((head, memoryview(body)[2:])), "RGB", strict=True, buffer=rgb)


def _mute_colours(stream: bytearray) -> tuple[int, int, int] | None:
    """Make comments of the markers that name a colour space, in place; (height, width, colours) of the frame."""
    frame, at = None, 2
    while at + 10 <= len(stream) and stream[at] == 0xFF and stream[at + 1] != _SCAN:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xFF:  # markers may be padded
            at += 1
            continue
        if marker in _COLOUR_MARKERS:
            stream[at + 1] = _COMMENT
        elif marker in _FRAMES:
            frame = struct.unpack_from(">HHB", stream, at + 5)
        at += 2 + length
    return frame
