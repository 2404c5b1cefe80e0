"""Where an image lies on Earth as GeoJSON wants it: WGS 84, cut at the antimeridian. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from tiling.info import ImageInfo

EDGE_POINTS = 21
"""Along each side: straight lines of the image are curves in degrees."""
Degrees = NDArray[np.float64]


def footprint(image: ImageInfo) -> tuple[dict[str, Any], list[float]] | None:
    """(geometry, bbox) by RFC 7946: west > east in a bbox that crosses the antimeridian; None without a CRS.

    A scene with a pole inside is given as the cap of its lowest latitude.
    """
    if image.crs is None or image.transform is None:
        return None
    from pyproj import CRS, Transformer

    to_degrees = Transformer.from_crs(CRS.from_user_input(image.crs), "OGC:CRS84", always_xy=True)
    x, y = outline(image.transform, image.shape_px)
    lon, lat = (np.asarray(axis) for axis in to_degrees.transform(x, y))
    for pole in (90.0, -90.0):
        if _holds(image, to_degrees.transform(0.0, pole, direction="INVERSE")):
            return _cap(pole, lat)
    return _polygon(np.rad2deg(np.unwrap(np.deg2rad(lon))) if not _is_degrees(image.crs) else lon, lat)


def outline(transform: Affine, shape_px: tuple[int, int]) -> tuple[Degrees, Degrees]:
    """(x, y) of the image's edge in its CRS, closed, counterclockwise on a north-up map."""
    (height, width), along = shape_px, np.linspace(0, 1, EDGE_POINTS)[:-1]
    down, back = along, 1 - along
    rows = np.concatenate([down, np.ones_like(along), back, np.zeros_like(along), [0.0]]) * height
    cols = np.concatenate([np.zeros_like(along), down, np.ones_like(along), back, [0.0]]) * width
    t = transform
    return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f


def _is_degrees(crs: str) -> bool:
    from pyproj import CRS

    return bool(CRS.from_user_input(crs).is_geographic)


def _holds(image: ImageInfo, place: tuple[float, float]) -> bool:
    """Whether a place of a projected CRS is inside the image; degrees have no pole inside, only an edge."""
    assert image.transform is not None
    assert image.crs is not None
    if _is_degrees(image.crs) or not np.isfinite(place).all():
        return False
    col, row = ~image.transform @ place
    return bool(0 < row < image.shape_px[0] and 0 < col < image.shape_px[1])


def _cap(pole: float, lat: Degrees) -> tuple[dict[str, Any], list[float]]:
    low, high = (float(lat.min()), pole) if pole > 0 else (pole, float(lat.max()))
    ring = [[-180.0, low], [180.0, low], [180.0, high], [-180.0, high], [-180.0, low]]
    return {"type": "Polygon", "coordinates": [ring]}, [-180.0, low, 180.0, high]


def _polygon(lon: Degrees, lat: Degrees) -> tuple[dict[str, Any], list[float]]:
    """lon: without jumps, maybe beyond 180."""
    from shapely import MultiPolygon, Polygon, box, get_parts, make_valid
    from shapely.affinity import translate
    from shapely.geometry import mapping
    from shapely.geometry.polygon import orient

    whole = make_valid(Polygon(np.column_stack([lon, lat])))
    cut = [translate(whole & box(west, -90, west + 360, 90), -180 - west) for west in (-540.0, -180.0, 180.0)]
    parts = [orient(part) for piece in cut for part in get_parts(piece) if part.area > 0]
    wrapped = [(float(side) + 180) % 360 - 180 if len(parts) > 1 else float(side) for side in (lon.min(), lon.max())]
    shape = parts[0] if len(parts) == 1 else MultiPolygon(parts)
    plain: dict[str, Any] = mapping(shape)
    return plain, [wrapped[0], float(lat.min()), wrapped[1], float(lat.max())]
