"""How many square metres of the ellipsoid lie under a unit of the map, at any place of any projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from tiling.ellipsoid import Floats, authalic_q, authalic_vector, ellipsoid_of, square_radian
from tiling.errors import BadInput

Density = Callable[[Floats, Floats], Floats]
"""(x, y) in units of the CRS -> m2 per square unit; NaN where the map shows no ground."""

STEPS_M = (5000.0, 50.0, 0.5)
"""Half the width of the central differences; the next where one leaves the map or is in doubt. Their error falls with
the fourth power of step / radius of the Earth (1e-13), their noise grows with its inverse (1e-13 at 5 km)."""
STENCIL = np.array([-2.0, -1.0, 1.0, 2.0])
"""Where differences are taken, in steps."""
WEIGHTS, ROUGH = np.array([[1.0, -8.0, 8.0, -1.0], [0.0, -6.0, 6.0, 0.0]]) / 12
"""Central differences of fourth and of second order."""
DOUBT = 1e-5
"""Share by which the two may differ. The first is then right to 1e-8: its error is about the square of the other's."""
WOUND, WOUND_DOUBT = 4.0, 1e-4
"""Steps from a pole within which longitudes may have gone around it unseen, and the doubt of a scale found there."""
RETURN_M = 1.0
"""How near a place of the map comes back to itself by way of its longitude and latitude."""
TURN_DEGREES = np.meshgrid(np.arange(-175.0, 180, 10), [-60.0, 10.0, 50.0])
"""Longitudes and latitudes at which a map is asked whether it repeats to the east."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A projection and the ellipsoid under it."""

    to_globe: Transformer
    """From (x, y) of the map to (longitude, latitude) of its own geographic CRS."""
    radians: float
    """In a unit of that CRS."""
    metres: float
    """In a unit of the map."""
    e2: float
    """Squared eccentricity."""
    radius2: float
    """Of the sphere with the area of the ellipsoid, m2."""
    turn: float
    """Width of the whole Earth on a map that repeats to the east, in units of the map; 0 on any other."""


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
    chart = chart_of(crs)

    def density(x: Floats, y: Floats) -> Floats:
        found, shown = np.full(x.shape, np.nan), shows_ground(chart, x, y)
        if shown.any():
            found[shown] = ground_scale(chart, x[shown], y[shown])
        return found

    return density


def chart_of(crs: CRS) -> Chart:
    """Raises BadInput for a projection that PROJ cannot invert."""
    flat = horizontal(crs)
    globe = flat.geodetic_crs
    try:
        to_globe = Transformer.from_crs(flat, globe, always_xy=True)
    except ProjError as error:
        raise BadInput(
            f"areas in {crs.name} are not known: PROJ has no inverse of it ({error}). Reproject first "
            '(gdalwarp -t_srs EPSG:6933 -r near IN OUT), or take its metres as they are: area.method = "planar"'
        ) from error
    assert globe is not None
    a, e2 = ellipsoid_of(flat)
    radians, metres = globe.axis_info[0].unit_conversion_factor, flat.axis_info[0].unit_conversion_factor
    radius2 = a**2 * float(authalic_q(0.0, np.pi / 2, e2)) / 2
    turn = turn_of(to_globe, radians, metres)
    return Chart(to_globe=to_globe, radians=radians, metres=metres, e2=e2, radius2=radius2, turn=turn)


def shows_ground(chart: Chart, x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Where the map returns to a place by way of the globe.

    PROJ's inverse also answers beside the map, with longitudes brought back to +-180 degrees or with a pole. A map that
    repeats to the east may return whole turns away.
    """
    longitude, latitude = chart.to_globe.transform(x, y)
    seen = np.isfinite(longitude) & np.isfinite(latitude)
    back = chart.to_globe.transform(np.where(seen, longitude, 0), np.where(seen, latitude, 0), direction="INVERSE")
    near = RETURN_M / chart.metres
    with np.errstate(invalid="ignore"):
        off_x, off_y = back[0] - x, back[1] - y
        level = seen & (np.abs(off_y) <= near)
        same = level & (np.abs(off_x) <= near)
        if chart.turn and not same.all():
            same |= level & (np.abs(off_x - chart.turn * np.rint(off_x / chart.turn)) <= near)
    return np.asarray(same)


def turn_of(to_globe: Transformer, radians: float, metres: float) -> float:
    """See Chart. Such a map is a cylinder: longitude alone says where x is, evenly, and latitude alone where y is."""
    longitude, latitude = np.radians(TURN_DEGREES) / radians
    x, y = to_globe.transform(longitude, latitude, direction="INVERSE")
    if not np.isfinite([x, y]).all():
        return 0.0
    near, steps = RETURN_M / metres, np.diff(x[0])
    turn = float(np.median(steps)) * len(x[0])
    alike = np.ptp(x, axis=0).max() <= near and np.ptp(y, axis=1).max() <= near
    if not alike or abs(turn) <= near:
        return 0.0
    seams = np.rint((steps - turn / len(x[0])) / turn)  # where a map with another meridian in its middle is cut
    even = np.abs(steps - turn / len(x[0]) - turn * seams) <= near
    return abs(turn) if even.all() else 0.0


def ground_scale(chart: Chart, x: Floats, y: Floats) -> Floats:
    """m2 per square unit at places (n,) that show ground, by the widest differences that are not in doubt."""
    found, doubt = _differences(chart, x, y, STEPS_M[0] / chart.metres)
    for step_m in STEPS_M[1:]:
        again = doubt > DOUBT
        if again.any():
            finer = _differences(chart, x[again], y[again], step_m / chart.metres)
            found[again], doubt[again] = _surer((found[again], doubt[again]), finer)
    return found


def _differences(chart: Chart, x: Floats, y: Floats, step: float) -> tuple[Floats, Floats]:
    """(m2 per square unit, doubt) from a stencil with that step, in units of the map.

    On the sphere that keeps areas there is no seam and no pole, but where the map draws a pole as a line, or as a tip,
    places on the sphere turn sharply. There longitude and height are the regular ones.
    """
    reach = (STENCIL * step).reshape(-1, 1)
    longitude, latitude = chart.to_globe.transform(
        np.concatenate([x + reach, x + 0 * reach]), np.concatenate([y + 0 * reach, y + reach])
    )
    seen = np.isfinite(longitude) & np.isfinite(latitude)
    longitude, latitude = (np.where(seen, angle, 0) * chart.radians for angle in (longitude, latitude))
    place = np.where(seen[..., None], authalic_vector(longitude, latitude, chart.e2), np.nan)
    found, doubt = _stretch(place, step)
    bent = doubt > DOUBT
    if bent.any():
        turned = np.remainder(longitude - longitude[0] + np.pi, 2 * np.pi) - np.pi
        unrolled = np.stack([turned, _height(place), 0 * turned], axis=-1)
        area, less = _stretch(unrolled[:, bent], step)
        from_pole_m = np.hypot(place[:, bent, 0], place[:, bent, 1]).min(axis=0) * np.sqrt(chart.radius2)
        less[from_pole_m < WOUND * step * chart.metres] += WOUND_DOUBT
        found[bent], doubt[bent] = _surer((found[bent], doubt[bent]), (area, less))
    return chart.radius2 * found, doubt


def _height(place: Floats) -> Floats:
    """Of points (8, n, 3) on the unit sphere, from the pole of their hemisphere: no digits are lost there."""
    across2, z = place[..., 0] ** 2 + place[..., 1] ** 2, place[..., 2]
    side = np.where((z > 0).any(axis=0), -1.0, 1.0)
    return np.asarray(side * across2 / (1 - side * z))


def _stretch(place: Floats, step: float) -> tuple[Floats, Floats]:
    """Area per square unit of the map (n,), and the share in doubt (n,); infinite where a place is not known.

    place: (8, n, 3) at the stencil along x, then along y.
    """
    along_x, along_y = np.einsum("n,an...->a...", WEIGHTS / step, place.reshape(2, 4, -1, 3))
    rough_x, rough_y = np.einsum("n,an...->a...", ROUGH / step, place.reshape(2, 4, -1, 3))
    first, second = [along_x, along_x - rough_x, along_x], [along_y, along_y, along_y - rough_y]
    area, by_x, by_y = np.linalg.norm(np.cross(first, second), axis=-1)
    known = area > 0
    return area, np.where(known, (by_x + by_y) / np.where(known, area, 1), np.inf)


def _surer(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The values in less doubt, and their doubt."""
    better = other[1] < one[1]
    return np.where(better, other[0], one[0]), np.where(better, other[1], one[1])
