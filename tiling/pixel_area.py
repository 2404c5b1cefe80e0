"""The area of a pixel: planar, ellipsoidal for degrees, mpp for slides."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Proj

from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize, Plane
from tiling.window import Window

Method = Literal["ellipsoidal", "planar", "slide-mpp"]

MAX_DISTORTION = 0.05
"""Error of a planar area, as a share, that is not published."""


class PixelAreas(Protocol):
    """Area of every pixel of one plane."""

    method: Method
    """How the area was found; named in every output."""
    unit: Literal["m2", "um2"]
    """Unit of `of` and `total`."""

    def of(self, window: Window) -> NDArray[np.float64]:
        """Areas of the window's pixels, broadcastable to (height, width): (1, 1), (height, 1) or full."""


class ConstantAreas:
    """Every pixel alike: slides and projected rasters."""

    def __init__(self, area: float, unit: Literal["m2", "um2"], method: Method) -> None:
        """area: of one pixel, in `unit`."""
        self.area, self.unit, self.method = area, unit, method

    def of(self, window: Window) -> NDArray[np.float64]:  # noqa: ARG002 (the same everywhere)
        """(1, 1)."""
        return np.full((1, 1), self.area)


class EllipsoidAreas:
    """Pixels of a geographic CRS, on the CRS's own ellipsoid."""

    unit: Literal["m2", "um2"] = "m2"
    method: Method = "ellipsoidal"

    def __init__(self, transform: Affine, crs: CRS) -> None:
        """transform: pixel edges (x, y) to longitude and latitude in the CRS's angular unit."""
        self._transform = transform
        self._radians = crs.axis_info[0].unit_conversion_factor
        self._a, self._e2 = _ellipsoid(crs)

    def of(self, window: Window) -> NDArray[np.float64]:
        """(height, 1) north-up or south-up; (height, width) for rotated grids."""
        t, radians = self._transform, self._radians
        if t.b == 0 and t.d == 0:
            latitude = (t.f + t.e * np.arange(window.y, window.y_stop + 1)) * radians
            q = _authalic_q(np.clip(latitude, -np.pi / 2, np.pi / 2), self._e2)
            return np.asarray(self._a**2 / 2 * abs(t.a) * radians * np.abs(np.diff(q)))[:, None]
        rows, cols = np.arange(window.y, window.y_stop) + 0.5, np.arange(window.x, window.x_stop) + 0.5
        latitude = (t.f + t.d * cols[None, :] + t.e * rows[:, None]) * radians
        return np.asarray(abs(t.determinant) * radians**2 * _density(latitude, self._a, self._e2))


def pixel_areas(info: ImageInfo, plane: Plane) -> PixelAreas:
    """The areas of a plane's pixels. Raises BadInput where planar metres would mislead (Mercator)."""
    scale_y, scale_x = plane.scale
    if info.crs is None or info.transform is None:
        unit: Literal["m2", "um2"] = "um2" if info.pixel_size.unit == "um" else "m2"
        area = info.pixel_size.y * scale_y * info.pixel_size.x * scale_x
        return ConstantAreas(area, unit, "slide-mpp" if unit == "um2" else "planar")
    crs = CRS.from_user_input(info.crs)
    transform = info.transform @ Affine.scale(scale_x, scale_y)
    if crs.is_geographic:
        return EllipsoidAreas(transform, crs)
    metres = require_planar_metres(crs, info.uri)
    require_true_scale(crs, info.transform, info.shape_px, info.uri)
    return ConstantAreas(abs(transform.determinant) * metres**2, "m2", "planar")


def window_area(areas: PixelAreas, window: Window) -> float:
    """Area of all pixels of a window, in the unit of `areas`."""
    pixel_area = areas.of(window)
    return math.fsum(pixel_area.flat) * window.height * window.width / pixel_area.size


def plane_area(areas: PixelAreas, shape_px: tuple[int, int]) -> float:
    """Area of the whole plane, in the unit of `areas`; strip by strip, as rotated degrees have an area per pixel."""
    height, width = shape_px
    strips = (Window(y=y, x=0, height=min(256, height - y), width=width) for y in range(0, height, 256))
    return math.fsum(window_area(areas, strip) for strip in strips)


def require_planar_metres(crs: CRS, uri: str) -> float:
    """Metres per unit of a projected CRS. Raises BadInput for Mercator and for axes that are not lengths."""
    operation = _horizontal(crs).coordinate_operation
    method = operation.method_name if operation else ""
    if "Mercator" in method and not any(word in method for word in ("Transverse", "Oblique")):
        raise BadInput(
            f"{uri}: {crs.name} ({method}) inflates areas by 1 / cos2(latitude), 4 times at 60 degrees, so its metres "
            "are not areas. Reproject first, for instance to its UTM zone or to EPSG:6933: "
            "gdalwarp -t_srs EPSG:6933 -r near IN OUT"
        )
    if not crs.is_projected:
        raise BadInput(f"{uri}: {crs.name} is neither projected nor geographic; give --pixel-size in metres")
    return float(crs.axis_info[0].unit_conversion_factor)


def require_true_scale(crs: CRS, transform: Affine, shape_px: tuple[int, int], uri: str) -> None:
    """Raise BadInput where a projection's areas are wrong by more than MAX_DISTORTION at a corner or the centre.

    Plate carree in metres, a UTM zone far from home: PROJ knows the areal scale of every projection at any place.
    """
    height, width = shape_px
    places = [(0, 0), (width, 0), (0, height), (width, height), (width / 2, height / 2)]
    projection = Proj(_horizontal(crs))
    x, y = np.transpose([transform @ place for place in places])
    longitude, latitude = projection(x, y, inverse=True)
    inside = np.isfinite(longitude) & np.isfinite(latitude)
    if not inside.any():
        return
    scale = np.asarray(projection.get_factors(longitude[inside], latitude[inside]).areal_scale)
    worst = float(scale[np.abs(scale - 1).argmax()])
    if abs(worst - 1) > MAX_DISTORTION:
        raise BadInput(
            f"{uri}: areas in {crs.name} are {worst:.2f} times the true ones at a corner of this image. Reproject "
            "first, for instance to its UTM zone or to EPSG:6933: gdalwarp -t_srs EPSG:6933 -r near IN OUT"
        )


def _horizontal(crs: CRS) -> CRS:
    """The CRS of the map itself: without heights, and without a shift to another datum."""
    while crs.is_compound or crs.is_bound:
        inner = crs.sub_crs_list[0] if crs.is_compound else crs.source_crs
        assert inner is not None
        crs = inner
    return crs


def ground_pixel_size(transform: Affine, crs: CRS, shape_px: tuple[int, int], uri: str) -> PixelSize:
    """Metres under the pixel at the image's centre, along rows and columns."""
    if not crs.is_geographic:
        metres = require_planar_metres(crs, uri)
        y, x = math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d)
        return PixelSize(y=y * metres, x=x * metres, unit="m")
    a, e2 = _ellipsoid(crs)
    radians = crs.axis_info[0].unit_conversion_factor
    _, latitude = transform @ (shape_px[1] / 2, shape_px[0] / 2)
    sin2 = math.sin(latitude * radians) ** 2
    north = a * (1 - e2) / (1 - e2 * sin2) ** 1.5 * radians
    east = max(a / math.sqrt(1 - e2 * sin2) * math.cos(latitude * radians), 1e-9) * radians
    return PixelSize(
        y=math.hypot(transform.b * east, transform.e * north),
        x=math.hypot(transform.a * east, transform.d * north),
        unit="m",
    )


def _ellipsoid(crs: CRS) -> tuple[float, float]:
    """(semi-major axis in m, squared eccentricity)."""
    ellipsoid = crs.ellipsoid
    if ellipsoid is None:
        raise BadInput(f"{crs.name} names no ellipsoid; give --pixel-size in metres")
    a, b = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
    return a, 1 - (b / a) ** 2


def _authalic_q(latitude: NDArray[np.float64], e2: float) -> NDArray[np.float64]:
    """Q of Snyder 1987, eq. 3-12: the area between equator and latitude is pi * a^2 * q."""
    s = np.sin(latitude)
    if e2 == 0:
        return np.asarray(2 * s)
    e = math.sqrt(e2)
    return np.asarray((1 - e2) * (s / (1 - e2 * s**2) + np.arctanh(e * s) / e))


def _density(latitude: NDArray[np.float64], a: float, e2: float) -> NDArray[np.float64]:
    """Square metres per square radian at a latitude (derivative of the above): right to the square of a pixel."""
    return np.asarray(a**2 * (1 - e2) * np.cos(latitude) / (1 - e2 * np.sin(latitude) ** 2) ** 2)
