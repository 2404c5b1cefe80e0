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
        if vendor is not None and (vendor != "generic-tiff" or not has_place(spec.uri)):
            return SlideSource(spec)  # OpenSlide takes any tiled TIFF, a georeferenced one is a raster all the same
    from tiling.raster import RasterSource

    return RasterSource(spec)


def is_remote(uri: str) -> bool:
    """True for URLs and GDAL's virtual file systems."""
    return uri.startswith("/vsi") or len(urlsplit(uri).scheme) > 1


def gdal_path(uri: str) -> str:
    """file:// URLs as plain paths; everything else as it is."""
    return uri.removeprefix("file://")


def require_file(uri: str) -> None:
    """Raise BadInput unless a local path is a file with something in it."""
    if is_remote(uri):
        return
    path = Path(uri)
    if path.is_dir():
        raise BadInput(f"{uri} is a directory; name the image file in it")
    if not path.exists():
        raise BadInput(f"{uri} does not exist; the path is seen from {Path.cwd()}")
    if path.stat().st_size == 0:
        raise BadInput(f"{uri} is an empty file (0 bytes); was its download cut off?")


def has_place(uri: str) -> bool:
    """True when a TIFF carries GeoTIFF keys, a model transform or ground control points."""
    from tifffile import TiffFile

    geo_tags = {33550, 33922, 34264, 34735}  # pixel scale, tie points, transformation, geo keys
    with TiffFile(uri) as tiff:
        return bool(geo_tags & {tag.code for tag in tiff.pages.first.tags})
