"""Damage that OpenSlide does not see: it reports what libjpeg warns of, but stored zeros decode to grey or black."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tifffile import TiffFile, TiffPage

from tiling.errors import BadData

_END_BYTES = {8: 4, 32946: 4, 33003: 16, 33005: 16, 34712: 16}
"""TIFF compression -> bytes at the end of a tile that are never all zero: Deflate's checksum, JPEG 2000's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTiles:
    """Where the tiles of one level lie in the file."""

    path: Path
    """The file."""
    tile_px: tuple[int, int]
    """(height, width) of a tile, px."""
    columns: int
    """Tiles in a row."""
    starts: Sequence[int]
    """First byte of each tile, row by row."""
    sizes_bytes: Sequence[int]
    """Bytes of each tile; 0 = not stored, which OpenSlide shows as transparent."""
    end_bytes: int
    """How many bytes at the end cannot all be zero."""

    def require_ends(self, y: float, x: float, shape_px: tuple[int, int]) -> None:
        """Raise BadData when a tile under the window (px of the level) ends in zeros that no codec writes."""
        height, width = self.tile_px
        rows = range(max(0, math.floor(y / height)), math.ceil((y + shape_px[0]) / height))
        cols = range(max(0, math.floor(x / width)), min(self.columns, math.ceil((x + shape_px[1]) / width)))
        with self.path.open("rb", buffering=0) as file:
            for number in (row * self.columns + col for row in rows for col in cols):
                if number < len(self.starts) and self.sizes_bytes[number] >= self.end_bytes:
                    end = self.starts[number] + self.sizes_bytes[number]
                    if not any(os.pread(file.fileno(), self.end_bytes, end - self.end_bytes)):
                        raise BadData(f"tile {number} ends in zeros at byte {end}: was a download cut off there?")


def stored_tiles(uri: str, vendor: str | None, sizes_wh: Sequence[tuple[int, int]]) -> dict[int, StoredTiles]:
    """Level -> its tiles, for those levels of a TIFF that no JPEG decoder checks. sizes_wh: of the levels."""
    if vendor not in {"aperio", "generic-tiff"}:
        return {}
    with TiffFile(uri) as tiff:
        pages = {
            (page.imagewidth, page.imagelength): page for page in reversed(tiff.pages) if isinstance(page, TiffPage)
        }
        return {
            level: _tiles_of(pages[size], Path(uri))
            for level, size in enumerate(sizes_wh)
            if size in pages and int(pages[size].compression) in _END_BYTES
        }


def _tiles_of(page: TiffPage, path: Path) -> StoredTiles:
    return StoredTiles(
        path=path,
        tile_px=(page.tilelength, page.tilewidth),
        columns=-(-page.imagewidth // page.tilewidth),
        starts=page.dataoffsets,
        sizes_bytes=page.databytecounts,
        end_bytes=_END_BYTES[int(page.compression)],
    )
