"""Damage that OpenSlide does not see: it reports what libjpeg warns of, but stored zeros decode to grey or black."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tiling.errors import BadData
from tiling.slide_pages import TiledPage

_END_BYTES = {8: 4, 32946: 4, 33003: 16, 33005: 16, 34712: 16}
"""TIFF compression -> bytes at the end of a tile that are never all zero: Deflate's checksum, JPEG 2000's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTiles:
    """Where the tiles of one level lie in the file."""

    path: Path
    """The file."""
    page: TiledPage
    """The level's page."""
    end_bytes: int
    """How many bytes at the end cannot all be zero."""

    def require_ends(self, y: float, x: float, shape_px: tuple[int, int]) -> None:
        """Raise BadData when a tile under the window (px of the level) ends in zeros that no codec writes."""
        (height, width), columns, sizes = self.page.tile_px, self.page.columns, self.page.sizes_bytes
        rows = range(max(0, math.floor(y / height)), math.ceil((y + shape_px[0]) / height))
        cols = range(max(0, math.floor(x / width)), min(columns, math.ceil((x + shape_px[1]) / width)))
        with self.path.open("rb", buffering=0) as file:
            for number in (row * columns + col for row in rows for col in cols):
                if number < len(sizes) and sizes[number] >= self.end_bytes:
                    end = int(self.page.starts[number] + sizes[number])
                    if not any(os.pread(file.fileno(), self.end_bytes, end - self.end_bytes)):
                        raise BadData(f"tile {number} ends in zeros at byte {end}: was a download cut off there?")


def stored_tiles(
    path: Path, pages: Sequence[TiledPage], vendor: str | None, sizes_wh: Sequence[tuple[int, int]]
) -> dict[int, StoredTiles]:
    """Level -> its tiles, for those levels of a TIFF that no JPEG decoder checks. sizes_wh: of the levels."""
    if vendor not in {"aperio", "generic-tiff"}:
        return {}
    by_size = {page.shape_px: page for page in reversed(pages)}
    found = [(level, by_size.get((height, width))) for level, (width, height) in enumerate(sizes_wh)]
    return {
        level: StoredTiles(path=path, page=page, end_bytes=_END_BYTES[page.compression])
        for level, page in found
        if page is not None and page.compression in _END_BYTES
    }
