"""Open any image: decide between slide and raster, and say clearly why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tiling.address import is_remote
from tiling.errors import BadInput, TilegateError
from tiling.info import ImageInfo
from tiling.source import Source, SourceSpec

FAR = 1e10
"""No coordinate on Earth is as large, in metres, feet or degrees; the equator is 4e7 m long."""


def open_source(spec: SourceSpec) -> Source:
    """The image a spec describes. Raises BadInput: missing, empty, not an image, too large, no pixel size.

    Whatever a library says of a file made to break it is BadInput, too: this is the one door that files come in by.
    """
    spec = replace(spec, uris=tuple(gdal_path(uri) for uri in spec.uris))
    for uri in spec.uris:
        require_file(uri)
    try:
        source = _open(spec)
    except TilegateError:
        raise
    except Exception as error:  # struct.error, MemoryError, CRSError, …: no list of them would ever be whole
        raise BadInput(
            f"{spec.uri} is damaged or not an image: {type(error).__name__}: {error}. Fetch or write it again; "
            "gdalinfo or openslide-show-properties say what others make of it."
        ) from error
    try:
        require_sane(source.info, spec.max_pixels)
    except BaseException:
        source.close()
        raise
    return source


def _open(spec: SourceSpec) -> Source:
    """By OpenSlide where it is a slide, by GDAL otherwise."""
    if len(spec.uris) == 1 and not is_remote(spec.uris[0]):
        from tiling.slide import SlideSource, slide_vendor
        from tiling.slide_pages import is_plain_slide, tiff_of, tiled_pages

        vendor = slide_vendor(spec.uris[0])
        if vendor is not None:
            with tiff_of(spec.uris[0]) as tiff:
                is_slide = vendor != "generic-tiff" or is_plain_slide(spec, tiff)
                pages = tiled_pages(spec.uris[0], tiff) if is_slide else ()
            if is_slide:
                return SlideSource(spec, pages)
    from tiling.raster import RasterSource

    return RasterSource(spec)


def require_sane(info: ImageInfo, max_pixels: int) -> None:
    """Raise BadInput for a size nobody asked for, or a place that is no number."""
    height, width = info.shape_px
    if height * width > max_pixels:
        raise BadInput(
            f"{info.uri} declares {height:,} x {width:,} px = {height * width:.3g} pixels, more than {max_pixels:.3g}: "
            "a few bytes can claim any size. Raise it with --max-pixels if the file is to be trusted."
        )
    numbers = tuple(info.transform or ())[:6]
    if not all(abs(number) < FAR for number in numbers):  # NaN compares as False
        raise BadInput(f"{info.uri} has a geotransform that is no place on Earth: {numbers}; assign the true one")


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
