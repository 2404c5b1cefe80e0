"""What a TIFF claims is looked at before OpenSlide believes it: GLib ends the whole process where memory runs out."""

from __future__ import annotations

from tifffile import TiffPage

from tiling.errors import BadInput
from tiling.source import MAX_BLOCK_BYTES

_TILE_OFFSETS = 324
_OFFSET_BYTES = 4
"""Least room that one tile takes in the file, even where it is not stored."""


def require_possible(page: TiffPage, where: str, size_bytes: int) -> None:
    """Raise BadInput for tiles too large to hold, or fewer than the page's pixels need. size_bytes: of the file."""
    height, width = page.tilelength, page.tilewidth
    block_bytes = 4 * height * width
    if min(page.imagelength, page.imagewidth) < 1 or block_bytes > MAX_BLOCK_BYTES:
        raise BadInput(
            f"{where} has {page.imagelength:,} x {page.imagewidth:,} px in tiles of {height:,} x {width:,} px, "
            f"{block_bytes / 2**30:.3g} GiB each as colours; at most {MAX_BLOCK_BYTES / 2**30:g} GiB are taken. "
            "If the file is to be trusted, store it in smaller tiles: vips tiffsave IN OUT --tile --pyramid"
        )
    largest = max(page.databytecounts, default=0)
    if largest > size_bytes:
        raise BadInput(f"{where} claims a tile of {largest:,} bytes in a file of {size_bytes:,}: it is damaged")
    needed = -(-page.imagelength // height) * -(-page.imagewidth // width)
    offsets = page.tags.get(_TILE_OFFSETS)
    found = min(offsets.count if offsets else 0, size_bytes // _OFFSET_BYTES)
    if found < needed:
        raise BadInput(
            f"{where} declares {page.imagelength:,} x {page.imagewidth:,} px, {needed:,} tiles, and holds at most "
            f"{found:,}: it is damaged, or made to look larger than it is"
        )
