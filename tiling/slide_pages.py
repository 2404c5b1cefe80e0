"""What the pages of a TIFF are made of, read once for all who ask before OpenSlide opens the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from tiling.slide_limits import require_possible
from tiling.source import SourceSpec

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiledPage:
    """One page that is stored in tiles."""

    is_level: bool
    """True for the first page of the file and for those that say of themselves that they are smaller versions."""
    shape_px: tuple[int, int]
    """(height, width), px."""
    tile_px: tuple[int, int]
    """(height, width) of a tile, px."""
    compression: int
    """As TIFF numbers it: 7 = JPEG."""
    photometric: int
    """As TIFF numbers it: 2 = RGB, 6 = YCbCr."""
    is_rgb8: bool
    """True for three bytes per pixel that lie together, most significant bit first."""
    jpeg_tables: bytes
    """A JPEG stream of tables that all tiles share; empty when each has its own."""
    starts: NDArray[np.int64]
    """First byte of each tile in the file, row by row."""
    sizes_bytes: NDArray[np.int64]
    """Bytes of each tile; 0 = not stored."""

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.shape_px[1] // self.tile_px[1])


@contextmanager
def tiff_of(uri: str) -> Iterator[TiffFile | None]:
    """The file as tifffile sees it, or None when it is no TIFF."""
    with Path(uri).open("rb") as file:
        is_tiff = file.read(4) in _TIFF
    if not is_tiff:
        yield None
        return
    with TiffFile(uri) as tiff:
        yield tiff


def pages_of(uri: str) -> tuple[TiledPage, ...]:
    """The tiled pages of a file; none when it is no TIFF. Raises BadInput for one that cannot be true."""
    with tiff_of(uri) as tiff:
        return tiled_pages(uri, tiff)


def tiled_pages(uri: str, tiff: TiffFile | None) -> tuple[TiledPage, ...]:
    """The tiled pages, in the file's order. Raises BadInput for one that cannot be true."""
    size_bytes = Path(uri).stat().st_size
    found = []
    for number, page in enumerate(tiff.pages if tiff else ()):
        if isinstance(page, TiffPage) and page.is_tiled:  # NDPI keeps a level in one strip, and is read in parts
            require_possible(page, f"{uri} page {number}", size_bytes)
            found.append(_tiled_page(page, is_level=number == 0 or bool(page.is_reduced)))
    return tuple(found)


def _tiled_page(page: TiffPage, *, is_level: bool) -> TiledPage:
    layout = (page.samplesperpixel, page.bitspersample, page.planarconfig, page.fillorder, page.imagedepth)
    return TiledPage(
        is_level=is_level,
        shape_px=(page.imagelength, page.imagewidth),
        tile_px=(page.tilelength, page.tilewidth),
        compression=int(page.compression),
        photometric=int(page.photometric),
        is_rgb8=layout == (3, 8, 1, 1, 1),
        jpeg_tables=page.jpegtables or b"",
        starts=np.array(page.dataoffsets, np.int64),
        sizes_bytes=np.array(page.databytecounts, np.int64),
    )


def is_plain_slide(spec: SourceSpec, tiff: TiffFile | None) -> bool:
    """True when a tiled TIFF is meant for glass: OpenSlide takes any and makes 8-bit colours of what it finds.

    It is a raster when its first page carries GeoTIFF keys, a model transform or ground control points, when its pixels
    are no 8-bit grey or colour, or when a pixel size in metres is given.
    """
    if tiff is None:
        return False
    page = tiff.pages.first
    geo_tags = {33550, 33922, 34264, 34735}  # pixel scale, tie points, transformation, geo keys
    has_place = bool(geo_tags & {tag.code for tag in page.tags})
    is_photo = page.dtype == "uint8" and page.samplesperpixel in {1, 3, 4}
    in_metres = spec.pixel_size is not None and spec.pixel_size.unit == "m"
    return is_photo and not has_place and not in_metres
