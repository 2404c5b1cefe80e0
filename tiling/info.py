"""What an image says of itself, and the planes it is worked on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from affine import Affine

from tiling.dates import ImageDate
from tiling.radiometry import Radiometry

Unit = Literal["m", "um"]
Reader = Literal["", "gdal", "openslide", "jpeg", "jpeg and openslide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSize:
    """Ground or glass size of one pixel."""

    y: float
    """Height of a pixel, in `unit`."""
    x: float
    """Width of a pixel, in `unit`."""
    unit: Unit
    """m for rasters, um for slides."""

    def __post_init__(self) -> None:
        if not (0 < self.y < float("inf") and 0 < self.x < float("inf")):
            raise ValueError(f"a pixel size must be positive and finite, not {self.y} x {self.x} {self.unit}")

    @property
    def text(self) -> str:
        """For messages, such as "0.5 x 0.5 um"."""
        return f"{self.y:.4g} x {self.x:.4g} {self.unit}"

    def times(self, factors: tuple[float, float]) -> PixelSize:
        """The size of a pixel `factors` (y, x) times larger."""
        return PixelSize(y=self.y * factors[0], x=self.x * factors[1], unit=self.unit)

    @property
    def mean(self) -> float:
        """Side of the square pixel of the same area, in `unit`."""
        return math.sqrt(self.y * self.x)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """One image at its native pixel size."""

    uri: str
    """Where it is, without passwords and signatures; several files are joined by a comma."""
    kind: Literal["raster", "slide"]
    """raster: georeferenced, metres. slide: micrometres."""
    shape_px: tuple[int, int]
    """(height, width), px."""
    bands: tuple[str, ...]
    """Names of the bands a read returns, in order."""
    dtype: str
    """numpy dtype of the pixels, such as uint8."""
    nodata: float | None
    """The value that means "no data" in every band, or None."""
    pixel_size: PixelSize
    """Native pixel size; for a geographic CRS the ground size at the image's centre."""
    transform: Affine | None
    """Pixel edges (x, y) to CRS coordinates, or None for slides and bare pixels."""
    crs: str | None
    """CRS as WKT, or None for slides and bare pixels."""
    may_hide_data: bool = True
    """True when a coarser plane may show no data where the native one holds a sliver of it."""
    may_lack_pixels: bool = False
    """True when single pixels may hold no data, so that a coarse one may hide that some under it do: a nodata value, a
    mask, alpha, floats, a slide that states bounds. Blocks that a sparse file leaves out are not meant."""
    reader: Reader = ""
    """Who decodes the pixels: "gdal" for rasters; "openslide" for slides; "jpeg" for slides of which every level is
    decoded directly, "jpeg and openslide" where some are. Empty when not said, as in old plans."""
    origin_px: tuple[int, int] = (0, 0)
    """(y, x) of the first pixel on the whole slide, level-0 px: the corner of openslide.bounds. Old plans do not say."""
    objective_power: float | None = None
    """What the file says of the objective it was scanned with, such as 20; no pixel size depends on it. None = nothing."""
    radiometry: Radiometry | None = None
    """How its numbers become reflectance, by the file's tags; in a plan, what the models that want it see. None = the
    numbers are taken as they are."""
    date: ImageDate | None = None
    """When it was taken, if its files say so and agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """An image at one pixel size: plane pixel i covers image rows [i * scale, (i + 1) * scale)."""

    shape_px: tuple[int, int]
    """(height, width), px of the plane."""
    scale: tuple[float, float]
    """Image pixels under one plane pixel, (y, x), at least 1. Need not be whole."""

    def edges(self, start: int, size: int, axis: int) -> tuple[float, float]:
        """First and last image coordinate (px, float) under `size` plane pixels from `start` along `axis`."""
        return start * self.scale[axis], (start + size) * self.scale[axis]

    def coarser(self, shape_px: tuple[int, int], factor: float) -> Plane:
        """A plane whose pixels are `factor` times larger; its last row and column may reach over the image."""
        return Plane(shape_px=shape_px, scale=(self.scale[0] * factor, self.scale[1] * factor))


def native_plane(info: ImageInfo) -> Plane:
    """The image's own pixels."""
    return Plane(shape_px=info.shape_px, scale=(1.0, 1.0))


def plane_at(info: ImageInfo, factor: float, factor_x: float | None = None) -> Plane:
    """The plane about `factor` times coarser whose pixels cover the image exactly, without a cut last one.

    factor: along y, and along x too unless `factor_x` says otherwise.
    """
    factors = (factor, factor if factor_x is None else factor_x)
    height, width = (max(1, round(side / by)) for side, by in zip(info.shape_px, factors, strict=True))
    return Plane(shape_px=(height, width), scale=(info.shape_px[0] / height, info.shape_px[1] / width))
