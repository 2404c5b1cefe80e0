"""Closed forms of areas on the ellipsoid of a CRS: right for any size of pixel, at the poles too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from tiling.errors import BadInput

Floats = NDArray[np.float64]


def ellipsoid_of(crs: CRS) -> tuple[float, float]:
    """(semi-major axis in m, squared eccentricity). Raises BadInput where the CRS names none."""
    ellipsoid = crs.ellipsoid
    if ellipsoid is None:
        raise BadInput(f"{crs.name} names no ellipsoid; give --pixel-size in metres")
    a, b = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
    return a, 1 - (b / a) ** 2


def authalic_q(south: Floats | float, north: Floats | float, e2: float) -> Floats:
    """q(north) - q(south) of Snyder 1987, eq. 3-12: the zone between two latitudes (rad) has the area pi * a^2 * this."""
    return zone_q(np.add(south, north) / 2, np.subtract(north, south) / 2, e2)


def zone_q(middle: Floats, half: Floats | float, e2: float) -> Floats:
    """The same of a zone by its middle and half its height, rad.

    Written in the difference of the sines, so that nothing cancels: the zone of a pixel of a centimetre keeps 15 digits.
    """
    s, n = np.sin(middle - half), np.sin(middle + half)
    d = 2 * np.cos(middle) * np.sin(half)  # n - s
    if e2 == 0:
        return np.asarray(2 * d)
    e = math.sqrt(e2)
    straight = d * (1 + e2 * s * n) / ((1 - e2 * s**2) * (1 - e2 * n**2))
    return np.asarray((1 - e2) * (straight + np.arctanh(e * d / (1 - e2 * s * n)) / e))


def square_radian(latitude: Floats, a: float, e2: float) -> Floats:
    """Square metres per square radian at a latitude (rad): the derivative of the above. None beyond a pole."""
    dense = a**2 * (1 - e2) * np.cos(latitude) / (1 - e2 * np.sin(latitude) ** 2) ** 2
    return np.asarray(np.where(np.abs(latitude) < np.pi / 2, dense, 0.0))


def authalic_vector(longitude: Floats, latitude: Floats, e2: float) -> Floats:
    """(…, 3) of the unit sphere that keeps areas (Snyder 1987, eq. 3-11): no seam, and no pole. Angles in rad."""
    whole = authalic_q(0.0, np.pi / 2, e2)
    up, down = authalic_q(latitude, np.pi / 2, e2), authalic_q(-np.pi / 2, latitude, e2)
    across = np.sqrt(np.maximum(up * down, 0)) / whole
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), (down - up) / (2 * whole)], axis=-1)
