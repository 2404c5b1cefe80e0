"""When a picture was taken, if its file says so."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from tiling.info import ImageInfo
from tiling.source import SourceSpec

FORMAT = "%Y:%m:%d %H:%M:%S"
"""Of DateTime (306) in TIFF 6.0, which knows no time zone."""


def acquired(spec: SourceSpec, image: ImageInfo) -> dt.datetime | None:
    """DateTime of the image's files, taken as UTC; None when one of them has none or is gone, or when they differ."""
    read = _of_raster if image.kind == "raster" else _of_slide
    found = {_parsed(read(uri)) for uri in spec.uris}
    return found.pop() if len(found) == 1 else None


def _of_raster(uri: str) -> str:
    from rasterio.errors import RasterioIOError

    from tiling.raster_gdal import open_image

    try:
        with open_image(uri) as file:
            return str(file.tags().get("TIFFTAG_DATETIME", ""))
    except RasterioIOError:  # moved since: the run is still worth a catalogue entry
        return ""


def _of_slide(uri: str) -> str:
    from tifffile import TiffFile, TiffFileError

    if not Path(uri).is_file():
        return ""
    try:
        with TiffFile(uri) as file:
            tag = file.pages.first.tags.get("DateTime")
            return "" if tag is None else str(tag.value)
    except TiffFileError:  # another format
        return ""


def _parsed(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text.strip("\0 "), FORMAT).replace(tzinfo=dt.UTC)
    except ValueError:  # none, or written as nobody else does
        return None
