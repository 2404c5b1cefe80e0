"""Metres of a map taken as they are: what they are worth, and where they are refused."""

from __future__ import annotations

import math

import numpy as np
from affine import Affine
from pyproj import CRS

from tiling.ellipsoid import ellipsoid_of
from tiling.errors import BadInput
from tiling.info import PixelSize
from tiling.map_scale import horizontal, map_density

MAX_DISTORTION = 0.05
"""Error of a planar area, as a share, that is not published."""


def metres_per_unit(crs: CRS) -> float:
    """Metres per unit of a projected CRS. Raises BadInput for axes that are not lengths on a map."""
    if not crs.is_projected:
        raise BadInput(f"{crs.name} is neither projected nor geographic; give --pixel-size in metres")
    return float(crs.axis_info[0].unit_conversion_factor)


def planar_pixel(crs: CRS, transform: Affine, shape_px: tuple[int, int], uri: str) -> float:
    """Planar area of a pixel, m2. Raises BadInput for degrees, for Mercator, and beyond MAX_DISTORTION."""
    if crs.is_geographic:
        raise BadInput(f'{uri}: degrees ({crs.name}) have no planar area; leave out area.method = "planar"')
    metres = metres_per_unit(crs)
    _require_no_mercator(crs, uri)
    worst = planar_times(crs, transform, shape_px)
    if worst is not None and abs(worst - 1) > MAX_DISTORTION:
        raise BadInput(
            f"{uri}: areas in {crs.name} are {worst:.2f} times the true ones at a corner of this image. Leave out "
            'area.method = "planar", or reproject first, for instance to its UTM zone or to EPSG:6933: '
            "gdalwarp -t_srs EPSG:6933 -r near IN OUT"
        )
    return abs(transform.determinant) * metres**2


def _require_no_mercator(crs: CRS, uri: str) -> None:
    operation = horizontal(crs).coordinate_operation
    method = operation.method_name if operation else ""
    if "Mercator" in method and not any(word in method for word in ("Transverse", "Oblique")):
        raise BadInput(
            f"{uri}: {crs.name} ({method}) inflates areas by 1 / cos2(latitude), 4 times at 60 degrees, so its metres "
            'are not areas. Leave out area.method = "planar", or reproject first: '
            "gdalwarp -t_srs EPSG:6933 -r near IN OUT"
        )


def planar_times(crs: CRS, transform: Affine, shape_px: tuple[int, int]) -> float | None:
    """Planar over true area where they differ most, of the corners and the centre; None where PROJ knows none."""
    height, width = shape_px
    places = [(0, 0), (width, 0), (0, height), (width, height), (width / 2, height / 2)]
    x, y = np.transpose([transform @ place for place in places])
    times = metres_per_unit(crs) ** 2 / map_density(crs)(x, y)
    known = times[np.isfinite(times)]
    return float(known[np.abs(known - 1).argmax()]) if known.size else None


def ground_pixel_size(transform: Affine, crs: CRS, shape_px: tuple[int, int], uri: str) -> PixelSize:
    """Metres under the pixel at the image's centre, along rows and columns.

    Projected: the map's own metres, unless they are wrong by more than MAX_DISTORTION there (Web Mercator); then both
    sides are mended alike, so that their product is the area. Raises BadInput for a CRS that is not on the Earth.
    """
    if crs.is_geographic:
        return _degrees(transform, crs, shape_px)
    try:
        metres = metres_per_unit(crs)
    except BadInput as error:
        raise BadInput(f"{uri}: {error}") from None
    y, x = math.hypot(transform.b, transform.e) * metres, math.hypot(transform.a, transform.d) * metres
    centre = transform @ (shape_px[1] / 2, shape_px[0] / 2)
    true = float(map_density(crs)(np.array([centre[0]]), np.array([centre[1]]))[0]) / metres**2
    mend = math.sqrt(true) if true > 0 and abs(1 / true - 1) > MAX_DISTORTION else 1.0
    return PixelSize(y=y * mend, x=x * mend, unit="m")


def _degrees(transform: Affine, crs: CRS, shape_px: tuple[int, int]) -> PixelSize:
    a, e2 = ellipsoid_of(crs)
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
