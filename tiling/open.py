"""Open any image: decide between slide and raster, and say clearly why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from tiling.errors import BadInput
from tiling.source import Source, SourceSpec


def open_source(spec: SourceSpec) -> Source:
    """The image a spec describes. Raises BadInput: missing, empty, a directory, not an image, no pixel size."""
    spec = replace(spec, uris=tuple(gdal_path(uri) for uri in spec.uris))
    for uri in spec.uris:
        require_file(uri)
    if len(spec.uris) == 1 and not is_remote(spec.uri):
        from tiling.slide import SlideSource, slide_vendor

        vendor = slide_vendor(spec.uri)
        if vendor is not None and (vendor != "generic-tiff" or is_plain_slide(spec)):
            return SlideSource(spec)
    from tiling.raster import RasterSource

    return RasterSource(spec)


def is_remote(uri: str) -> bool:
    """True for URLs and GDAL's virtual file systems."""
    return uri.startswith("/vsi") or len(urlsplit(uri).scheme) > 1


def gdal_path(uri: str) -> str:
    """Local files as absolute paths, so that a worker or a later resume finds them from anywhere; URLs as they are."""
    path = uri.removeprefix("file://")
    return path if is_remote(path) else str(Path(path).absolute())


def require_file(uri: str) -> None:
    """Raise BadInput unless a local path is a file with something in it."""
    if is_remote(uri):
        return
    path = Path(uri)
    if path.is_dir():
        raise BadInput(f"{uri} is a directory; name the image file in it")
    if not path.exists():
        raise BadInput(f"{uri} does not exist")
    if path.stat().st_size == 0:
        raise BadInput(f"{uri} is an empty file (0 bytes); was its download cut off?")


def is_plain_slide(spec: SourceSpec) -> bool:
    """True when a tiled TIFF is meant for glass: OpenSlide takes any and makes 8-bit colours of what it finds.

    It is a raster when it carries GeoTIFF keys, a model transform or ground control points, when its pixels are no
    8-bit grey or colour, or when a pixel size in metres is given.
    """
    from tifffile import TiffFile

    geo_tags = {33550, 33922, 34264, 34735}  # pixel scale, tie points, transformation, geo keys
    with TiffFile(spec.uri) as tiff:
        page = tiff.pages.first
        has_place = bool(geo_tags & {tag.code for tag in page.tags})
        is_photo = page.dtype == "uint8" and page.samplesperpixel in {1, 3, 4}
    in_metres = spec.pixel_size is not None and spec.pixel_size.unit == "m"
    return is_photo and not has_place and not in_metres
