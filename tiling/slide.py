"""Whole-slide images through OpenSlide: svs, ndpi, mrxs, scn, bif, dicom, tiled tiff; JPEG tiles without it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from openslide import OpenSlide, OpenSlideCache, OpenSlideError, __library_version__

from tiling.dates import SLIDE, date_in
from tiling.errors import BadData, BadInput
from tiling.info import ImageInfo, PixelSize, Plane, Reader
from tiling.slide_damage import stored_tiles
from tiling.slide_jpeg import JpegTiles, direct_levels
from tiling.slide_pages import TiledPage, pages_of
from tiling.source import Pixels, Source, SourceSpec, nearest_finer, read_level
from tiling.window import Window

RGB = ("red", "green", "blue")
MPP_RANGE = (0.05, 20.0)
"""um per pixel that a slide can honestly have: 72 dpi, the default of many writers, claims 352.8."""
CACHE_BYTES = 64 * 2**20


class SlideSource:
    """One slide, cropped to its bounds where it states any; transparency on white and not valid."""

    def __init__(
        self, spec: SourceSpec, pages: Sequence[TiledPage] | None = None, *, openslide_only: bool = False
    ) -> None:
        """Open the slide. Raises BadInput when it cannot be opened or states no believable mpp.

        pages: of the file, where they have been read already. openslide_only: decode nothing directly, to compare.
        """
        if len(spec.uris) != 1:
            raise BadInput(f"a slide is one file, but {len(spec.uris)} were given: {spec.uri}")
        self._uri, self._spec = spec.uris[0], spec
        self._direct: JpegTiles | None = None
        self._slide = self._open()
        try:
            sizes_wh, properties = self._slide.level_dimensions, self._slide.properties
            self._bounds = _bounds(properties, self._slide.dimensions)
            self._scales = [_exact_scale(self._slide.dimensions, size) for size in sizes_wh]
            found = pages_of(self._uri) if pages is None else pages
            vendor = properties.get("openslide.vendor")
            self._stored = stored_tiles(Path(self._uri), found, vendor, sizes_wh)
            levels = direct_levels(found, vendor, sizes_wh)
            if levels and not openslide_only and (self._bounds.y, self._bounds.x) == (0, 0):  # no pixel is cut in two
                self._direct = JpegTiles(Path(self._uri), levels)
            self._info = self._describe(properties)
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> ImageInfo:
        """See Source."""
        return self._info

    def read(self, window: Window, plane: Plane) -> Pixels:
        """See Source."""
        level = nearest_finer(self._scales, plane, self._uri)
        scale = self._scales[level]
        shape = tuple(math.ceil(side / by - 1e-6) for side, by in zip(self._bounds.shape_px, scale, strict=True))
        return read_level(lambda part: self._read(part, level), shape, scale, window, plane)

    def close(self) -> None:
        """See Source."""
        self._slide.close()
        if self._direct is not None:
            self._direct.close()

    def _open(self) -> OpenSlide:
        try:
            slide = OpenSlide(self._uri)
        except OpenSlideError as error:
            raise BadInput(f"{self._uri} cannot be opened as a slide: {error}") from error
        slide.set_cache(OpenSlideCache(CACHE_BYTES))
        return slide

    def _describe(self, properties: Mapping[str, str]) -> ImageInfo:
        return ImageInfo(
            uri=self._uri,
            kind="slide",
            shape_px=self._bounds.shape_px,
            bands=_band_names(self._spec),
            dtype="uint8",
            nodata=None,
            pixel_size=self._spec.pixel_size or mpp_of(properties, self._uri),
            transform=None,
            crs=None,
            may_hide_data=True,  # a tile that is not stored is transparent, and may be missing from one level only
            may_lack_pixels="openslide.bounds-x" in properties,  # told by formats that scan the tissue only
            reader=self._reader(),
            origin_px=(self._bounds.y, self._bounds.x),
            objective_power=_power(properties),
            date=date_in(properties, SLIDE),
        )

    def _reader(self) -> Reader:
        direct, levels = len(self._direct or ()), len(self._scales)
        return "jpeg" if direct == levels else "jpeg and openslide" if direct else "openslide"

    def _read(self, part: Window, level: int) -> Pixels:
        """part: px of the level, from the corner of the bounds."""
        try:
            if self._direct is not None and level in self._direct:
                return self._direct.read(part, level)
            return self._read_openslide(part, level)
        except (OpenSlideError, BadData) as error:
            where = f"rows {part.y}-{part.y_stop} columns {part.x}-{part.x_stop}"
            raise BadData(f"{self._uri} {where} cannot be read at level {level}: {error}") from error

    def _read_openslide(self, part: Window, level: int) -> Pixels:
        """Raises OpenSlideError or BadData.

        OpenSlide wants level-0 px and divides them by its own downsample, a mean of both axes such as 4.0045: by that
        number they are multiplied, or the pixels of a level of 4 would be found a half px aside.
        """
        scale_y, scale_x = self._scales[level]
        x, y = self._bounds.x / scale_x + part.x, self._bounds.y / scale_y + part.y
        downsample = self._slide.level_downsamples[level]
        corner = (round(x * downsample), round(y * downsample))
        if level in self._stored:
            self._stored[level].require_ends(y, x, part.shape_px)
        try:
            rgba = np.asarray(self._slide.read_region(corner, level, (part.width, part.height)))
        except OpenSlideError:
            self._slide.close()
            self._slide = self._open()  # after one error OpenSlide refuses every later read of the same handle
            raise
        return Pixels(on_white(rgba), rgba[..., 3] > 0)


def bounds_origin_px(uri: str) -> tuple[int, int]:
    """(y, x) of what was scanned, openslide.bounds, level-0 px of the whole slide. Raises BadInput."""
    try:
        with OpenSlide(uri) as slide:
            bounds = _bounds(slide.properties, slide.dimensions)
    except (OpenSlideError, OSError) as error:
        raise BadInput(f"{uri} cannot be opened as a slide: {error}") from error
    return bounds.y, bounds.x


def slide_vendor(uri: str) -> str | None:
    """The slide format OpenSlide sees in a file, such as aperio or generic-tiff, or None."""
    vendor: str | None = OpenSlide.detect_format(uri)
    return vendor


def library_version() -> str:
    """Version of the OpenSlide library."""
    return str(__library_version__)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """RGBA (h, w, 4) uint8, straight alpha -> RGB (3, h, w) uint8 over white: glass, not black tissue."""
    alpha = rgba[..., 3:].astype(np.uint16)
    if (alpha == 255).all():
        return np.ascontiguousarray(rgba[..., :3].transpose(2, 0, 1))
    mixed = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.ascontiguousarray(mixed.astype(np.uint8).transpose(2, 0, 1))


def mpp_of(properties: Mapping[str, str], uri: str) -> PixelSize:
    """Um per pixel as the file states it. Raises BadInput when it is missing or not believable: never a guess."""
    advice = "give the true one: --mpp 0.25 (or --mpp Y,X)"
    try:
        y, x = float(properties["openslide.mpp-y"]), float(properties["openslide.mpp-x"])
    except (KeyError, ValueError):
        power = properties.get("openslide.objective-power")
        hint = f" (objective {power}x is no pixel size)" if power else ""
        raise BadInput(f"{uri} states no micrometres per pixel (mpp){hint}; {advice}") from None
    low, high = MPP_RANGE
    if not (low <= y <= high and low <= x <= high):
        raise BadInput(f"{uri} states {y:g} x {x:g} um per pixel, outside {low:g}-{high:g}: a false tag? {advice}")
    if max(y, x) / min(y, x) > 1.5:
        raise BadInput(f"{uri} states pixels of {y:g} x {x:g} um, {max(y, x) / min(y, x):.2f} times longer: {advice}")
    return PixelSize(y=y, x=x, unit="um")


def _power(properties: Mapping[str, str]) -> float | None:
    """Of the objective; None where none is stated, or something that is no number."""
    try:
        power = float(properties["openslide.objective-power"])
    except (KeyError, ValueError):
        return None
    return power if 0 < power < math.inf else None


def _band_names(spec: SourceSpec) -> tuple[str, ...]:
    for name, want in spec.bands:
        if name not in RGB or want not in (name, RGB.index(name) + 1):
            raise BadInput(f"--bands {name}={want}: a slide has red=1,green=2,blue=3 and no other")
    return RGB


def _bounds(properties: Mapping[str, str], size_wh: tuple[int, int]) -> Window:
    """The scanned part of the slide, level-0 px; the whole slide when it states none."""
    keys = ("y", "x", "height", "width")
    if not all(f"openslide.bounds-{key}" in properties for key in keys):
        return Window(y=0, x=0, height=size_wh[1], width=size_wh[0])
    y, x, height, width = (int(properties[f"openslide.bounds-{key}"]) for key in keys)
    stated = Window(y=y, x=x, height=height, width=width).clip((size_wh[1], size_wh[0]))
    if stated is None:
        raise BadInput(f"the slide's bounds {(y, x, height, width)} lie outside its {size_wh[1]} x {size_wh[0]} px")
    return stated


def _exact_scale(base_wh: tuple[int, int], level_wh: tuple[int, int]) -> tuple[float, float]:
    """Level-0 px per level px, (y, x): the whole number that the rounded level size came from, if one fits.

    2967 px at a quarter are stored as 741 or 742 px; 2967 / 741 = 4.004 would drift by 3 px over the slide.
    """
    return _whole(base_wh[1], level_wh[1]), _whole(base_wh[0], level_wh[0])


def _whole(base: int, level: int) -> float:
    k = round(base / level)
    return float(k) if level in (base // k, -(-base // k)) else base / level


_: type[Source] = SlideSource
