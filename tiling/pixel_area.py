"""The area of a pixel: on the ellipsoid for georeferenced images, planar on request, mpp for slides."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from tiling.ellipsoid import ellipsoid_of, zone_q
from tiling.errors import BadInput
from tiling.info import ImageInfo, Plane
from tiling.lattice_area import LatticeAreas
from tiling.line_area import row_lines
from tiling.map_scale import degree_density, map_density
from tiling.planar_area import metres_per_unit, planar_pixel
from tiling.window import Window

Method = Literal["ellipsoidal", "planar", "slide-mpp"]
Wanted = Literal["ellipsoidal", "planar"]
"""What can be asked for, of images that have a CRS."""


class PixelAreas(Protocol):
    """Area of every pixel of one plane."""

    @property
    def method(self) -> Method:
        """How the area was found; named in every output."""
        ...

    @property
    def unit(self) -> Literal["m2", "um2"]:
        """Unit of `of` and `total`."""
        ...

    def of(self, window: Window) -> NDArray[np.float64]:
        """Areas of the window's pixels, broadcastable to (height, width): (1, 1), (height, 1) or full.

        The same bits for a pixel, whatever the window.
        """
        ...

    def sum(self, window: Window, chosen: NDArray[np.bool_]) -> float:
        """Area of the chosen pixels of a window: what `of` adds up to, for less. chosen: (height, width)."""
        ...

    def total(self, window: Window) -> float:
        """Area of all pixels of a window; cheaper than to add them up."""
        ...

    def most(self, window: Window) -> float:
        """An area that no pixel of the window exceeds; the largest, or little more."""
        ...


class ConstantAreas:
    """Every pixel alike: slides, and rasters whose metres are taken as they are."""

    def __init__(self, area: float, unit: Literal["m2", "um2"], method: Method) -> None:
        """area: of one pixel, in `unit`."""
        self.area, self.unit, self.method = area, unit, method

    def of(self, window: Window) -> NDArray[np.float64]:  # noqa: ARG002 (the same everywhere)
        """(1, 1)."""
        return np.full((1, 1), self.area)

    def sum(self, window: Window, chosen: NDArray[np.bool_]) -> float:  # noqa: ARG002 (the same everywhere)
        """See PixelAreas."""
        return self.area * int(np.count_nonzero(chosen))

    def total(self, window: Window) -> float:
        """See PixelAreas."""
        return self.area * (window.height * window.width)

    def most(self, window: Window) -> float:  # noqa: ARG002 (the same everywhere)
        """See PixelAreas."""
        return self.area


class ParallelAreas:
    """Pixels between parallels: an unrotated grid of a geographic CRS, on the CRS's own ellipsoid.

    Longitudes do not matter, so a grid may run over the antimeridian. What lies beyond a pole has no area.
    """

    unit: Literal["m2", "um2"] = "m2"
    method: Literal["ellipsoidal"] = "ellipsoidal"

    def __init__(self, transform: Affine, crs: CRS) -> None:
        """transform: pixel edges (x, y) to longitude and latitude in the CRS's angular unit; b = d = 0."""
        self._transform = transform
        self._radians = crs.axis_info[0].unit_conversion_factor
        self._a, self._e2 = ellipsoid_of(crs)

    def of(self, window: Window) -> NDArray[np.float64]:
        """(height, 1): a^2 / 2 * width * |q(north) - q(south)| (Snyder 1987, eq. 3-12)."""
        t, radians = self._transform, self._radians
        middle = (t.f + t.e * (np.arange(window.y, window.y_stop) + 0.5)) * radians
        half, pole = abs(t.e) * radians / 2, np.pi / 2
        south, north = np.clip(middle - half, -pole, pole), np.clip(middle + half, -pole, pole)
        cut = (south == -pole) | (north == pole)
        q = zone_q(np.where(cut, (south + north) / 2, middle), np.where(cut, (north - south) / 2, half), self._e2)
        return np.asarray(self._a**2 / 2 * abs(t.a) * radians * q)[:, None]

    def sum(self, window: Window, chosen: NDArray[np.bool_]) -> float:
        """See PixelAreas."""
        return math.fsum(row_lines(self.of(window), window.shape_px).sums(chosen))

    def total(self, window: Window) -> float:
        """See PixelAreas."""
        return math.fsum(self.of(window).flat) * window.width

    def most(self, window: Window) -> float:
        """See PixelAreas."""
        return float(self.of(window).max())


def pixel_areas(info: ImageInfo, plane: Plane, method: Wanted = "ellipsoidal") -> PixelAreas:
    """The areas of a plane's pixels. method: for images with a CRS; slides and pixel sizes by hand have one of their own.

    Raises BadInput where planar metres are asked for and would mislead (Mercator, a zone far from home, degrees).
    """
    scale_y, scale_x = plane.scale
    if info.crs is None or info.transform is None:
        unit: Literal["m2", "um2"] = "um2" if info.pixel_size.unit == "um" else "m2"
        area = info.pixel_size.y * scale_y * info.pixel_size.x * scale_x
        return ConstantAreas(area, unit, "slide-mpp" if unit == "um2" else "planar")
    if method == "planar":
        area = planar_pixel(CRS.from_user_input(info.crs), info.transform, info.shape_px, info.uri)
        return ConstantAreas(area * scale_y * scale_x, "m2", "planar")
    try:
        return _on_ellipsoid(info.crs, info.transform @ Affine.scale(scale_x, scale_y), plane.shape_px)
    except BadInput as error:
        raise BadInput(f"{info.uri}: {error}") from error


@lru_cache(maxsize=8)
def _on_ellipsoid(wkt: str, transform: Affine, shape_px: tuple[int, int]) -> PixelAreas:
    """One of each plane per process: what it has sampled serves all spans."""
    crs = CRS.from_user_input(wkt)
    if not crs.is_geographic:
        return LatticeAreas(shape_px, transform, map_density(crs), metres_per_unit(crs))
    if transform.b == 0 and transform.d == 0:
        return ParallelAreas(transform, crs)
    radius_m, _ = ellipsoid_of(crs)
    return LatticeAreas(shape_px, transform, degree_density(crs), crs.axis_info[0].unit_conversion_factor * radius_m)


def window_area(areas: PixelAreas, window: Window) -> float:
    """Area of all pixels of a window, in the unit of `areas`."""
    return areas.total(window)


def plane_area(areas: PixelAreas, shape_px: tuple[int, int]) -> float:
    """Area of the whole plane, in the unit of `areas`."""
    return areas.total(Window(y=0, x=0, height=shape_px[0], width=shape_px[1]))
