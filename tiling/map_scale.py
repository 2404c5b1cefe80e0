"""How many square metres of the ellipsoid lie under a unit of the map, at any place of any projection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from tiling.ellipsoid import Floats, authalic_q, authalic_vector, ellipsoid_of, square_radian
from tiling.errors import BadInput

Density = Callable[[Floats, Floats], Floats]
"""(x, y) in units of the CRS -> m2 per square unit; NaN where the map shows no ground."""

STEPS_M = (5000.0, 50.0)
"""Half the width of the central differences; the second where the first leaves the map. Their error falls with the
fourth power of step / radius of the Earth (1e-13), their noise grows with its inverse (1e-13 at 5 km)."""
STENCIL, WEIGHTS = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([1.0, -8.0, 8.0, -1.0]) / 12
"""Central difference of fourth order: where, in steps, and how much."""


def horizontal(crs: CRS) -> CRS:
    """The CRS of the map itself: without heights, and without a shift to another datum."""
    while crs.is_compound or crs.is_bound:
        inner = crs.sub_crs_list[0] if crs.is_compound else crs.source_crs
        assert inner is not None
        crs = inner
    return crs


def degree_density(crs: CRS) -> Density:
    """Of a geographic CRS; x and y are longitude and latitude in its own unit."""
    a, e2 = ellipsoid_of(crs)
    radians = crs.axis_info[0].unit_conversion_factor
    return lambda _, y: square_radian(y * radians, a, e2) * radians**2


def map_density(crs: CRS) -> Density:
    """Of a projected CRS, by PROJ's inverse. Raises BadInput for a projection that PROJ cannot invert."""
    flat = horizontal(crs)
    globe = flat.geodetic_crs
    try:
        inverse = Transformer.from_crs(flat, globe, always_xy=True)
    except ProjError as error:
        raise BadInput(
            f"areas in {crs.name} are not known: PROJ has no inverse of it ({error}). Reproject first "
            '(gdalwarp -t_srs EPSG:6933 -r near IN OUT), or take its metres as they are: area.method = "planar"'
        ) from error
    assert globe is not None
    a, e2 = ellipsoid_of(flat)
    radians, metres = globe.axis_info[0].unit_conversion_factor, flat.axis_info[0].unit_conversion_factor
    radius2 = a**2 * float(authalic_q(0.0, np.pi / 2, e2)) / 2

    def vector(x: Floats, y: Floats) -> Floats:
        longitude, latitude = inverse.transform(x, y)
        seen = np.isfinite(longitude) & np.isfinite(latitude)
        place = authalic_vector(np.where(seen, longitude, 0) * radians, np.where(seen, latitude, 0) * radians, e2)
        return np.where(seen[..., None], place, np.nan)

    def at(x: Floats, y: Floats, step: float) -> Floats:
        reach = (STENCIL * step).reshape(-1, *[1] * x.ndim)
        around = vector(np.concatenate([x + reach, x + 0 * reach]), np.concatenate([y + 0 * reach, y + reach]))
        along_x, along_y = np.einsum("n,an...->a...", WEIGHTS / step, around.reshape(2, 4, *x.shape, 3))
        return np.asarray(radius2 * np.linalg.norm(np.cross(along_x, along_y), axis=-1))

    def density(x: Floats, y: Floats) -> Floats:
        found = at(x, y, STEPS_M[0] / metres)
        lost = ~np.isfinite(found)
        if lost.any():
            found[lost] = at(x[lost], y[lost], STEPS_M[1] / metres)
        return found

    return density
