"""Polygons of any CRS as they lie on an image: in its pixels, with borders that follow the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from classifiers.labels.features import Features
from classifiers.labels.vectors import PIXELS_OR_DEGREES
from tiling.errors import BadInput
from tiling.info import ImageInfo

ROUNDING = 1e-9
"""Share of a polygon below which its part outside of the image is rounding: of less it cannot be measured."""
TOLERANCE_PX = 0.01
"""A reprojected border is bent until no edge of it is further from the true line than this, px of the image."""
LATITUDES = 100.0
"""Degrees or grads beyond this are metres of some map."""
MOST_ROUNDS = 16
"""Times an edge is halved at most."""
Coordinates = NDArray[np.float64]
"""(n, 2): x, y."""
Mapping = Callable[[Coordinates], Coordinates]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """From the coordinates of a file to the pixels of an image."""

    to_pixels: Mapping
    """(x, y) of the file to (x, y) px of the image."""
    crs: CRS | None
    """Of the file; None where its coordinates are pixels."""
    bent: bool
    """True when a straight line of the file is a curve on the image."""
    near: Any
    """shapely: what of the file's plane can lie on the image; None = all. Far away, projections mean nothing."""
    turn_px: float | None
    """360 degrees, px along x: of images in degrees."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """A polygon on an image."""

    shape: Any
    """Its part on the image, (x, y) px; may be empty."""
    outside: float | None
    """Its area outside of the image, m2 or um2, on the ellipsoid where there is one; None = it has none that is known."""


def route(features: Features, info: ImageInfo) -> Route:
    """How the polygons of a file come to lie on an image. Raises BadInput where nobody knows.

    info: of the image as it says itself. Without a CRS (slides, bare pixels) coordinates are pixels of the image at its
    finest, as QuPath writes them; QGIS counts the rows of bare pixels downwards from 0.
    """
    import shapely

    if info.crs is None or info.transform is None:
        if features.crs not in (None, PIXELS_OR_DEGREES):
            raise BadInput(
                f"{features.path} is in {features.crs}, but {info.uri} has no coordinate system to place it with"
            )
        down = -1.0 if shapely.total_bounds(features.shapes)[3] <= 0 else 1.0
        return Route(to_pixels=lambda xy: xy * (1, down), crs=None, bent=False, near=None, turn_px=None)
    ours = CRS.from_user_input(info.crs)
    theirs = ours if features.crs is None else _crs(features)
    t = ~info.transform

    def pixels(xy: Coordinates) -> Coordinates:
        x, y = xy[:, 0], xy[:, 1]
        return np.stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f], 1)

    turn = 2 * np.pi / ours.axis_info[0].unit_conversion_factor * t.a if ours.is_geographic and t.d == 0 else None
    if theirs.equals(ours, ignore_axis_order=True):
        return Route(to_pixels=pixels, crs=theirs, bent=False, near=None, turn_px=turn)
    across = Transformer.from_crs(theirs, ours, always_xy=True)
    return Route(
        to_pixels=lambda xy: pixels(np.column_stack(across.transform(xy[:, 0], xy[:, 1]))),
        crs=theirs,
        bent=True,
        near=_near(across, info),
        turn_px=turn,
    )


def _crs(features: Features) -> CRS:
    try:
        return CRS.from_user_input(features.crs or "OGC:CRS84")
    except CRSError as error:
        raise BadInput(
            f"{features.path} names {features.crs!r} as its coordinate system, which nobody knows: {error}"
        ) from error


def _near(across: Transformer, info: ImageInfo) -> Any:
    """The image's bounds in the CRS of a file, a tenth wider; None where they cannot be told."""
    import shapely

    assert info.transform is not None
    height, width = info.shape_px
    x, y = np.transpose([info.transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))])
    try:
        west, south, east, north = across.transform_bounds(
            min(x), min(y), max(x), max(y), densify_pts=64, direction="INVERSE"
        )
    except ProjError:
        return None
    if not np.isfinite([west, south, east, north]).all():
        return None
    if west > east:  # across the antimeridian
        return shapely.union(
            shapely.box(west - 1, south - 1, 181, north + 1), shapely.box(-181, south - 1, east + 1, north + 1)
        )
    margin_x, margin_y = 0.1 * (east - west), 0.1 * (north - south)
    return shapely.box(west - margin_x, south - margin_y, east + margin_x, north + margin_y)


def place(shape: Any, way: Route, info: ImageInfo) -> Placed:
    """A polygon of the file on the image. Raises BadInput where it has no place in the image's CRS."""
    import shapely

    if way.crs is not None and way.crs.is_geographic and max(map(abs, shape.bounds[1::2])) > LATITUDES:
        raise BadInput(f"y of {shape.bounds[1]:.6g} to {shape.bounds[3]:.6g} is no latitude")
    frame = shapely.box(0, 0, info.shape_px[1], info.shape_px[0])
    near = shape if way.near is None else polygons_of(shapely.intersection(shape, way.near))
    drawn = _turned(_drawn(near, way), way, frame)
    inside = polygons_of(shapely.intersection(drawn, frame))
    if shapely.covers(frame, drawn) and (way.near is None or shapely.covers(way.near, shape)):
        return Placed(shape=drawn, outside=0.0)
    return Placed(shape=inside, outside=_outside(shape, inside, way, info))


def _drawn(shape: Any, way: Route) -> Any:
    """In pixels, valid."""
    import shapely

    if shape.is_empty:
        return shape
    drawn = shapely.transform(shape, way.to_pixels) if not way.bent else _bent(shape, way.to_pixels)
    if not np.isfinite(shapely.total_bounds(drawn)).all():
        raise BadInput("a polygon has coordinates that do not exist in the image's coordinate system")
    return drawn if drawn.is_valid else polygons_of(shapely.make_valid(drawn))


def _bent(shape: Any, to_pixels: Mapping) -> Any:
    """Every ring with as many more vertices as it takes: a straight line here is a curve there."""
    import shapely

    polygons = [
        shapely.Polygon(
            bend(shapely.get_coordinates(polygon.exterior), to_pixels),
            [bend(shapely.get_coordinates(hole), to_pixels) for hole in polygon.interiors],
        )
        for polygon in shapely.get_parts(shape)
    ]
    return shapely.MultiPolygon(polygons) if len(polygons) > 1 else polygons[0]


def bend(line: Coordinates, to_pixels: Mapping, tolerance_px: float = TOLERANCE_PX) -> Coordinates:
    """A line through `line` in pixels, nowhere further than the tolerance from what straight edges of the file become.

    An edge is halved while a quarter, the middle or three quarters of it are off. What the neighbour's polygon shares
    of an edge is halved at the same places, for halves do not know which way an edge runs.
    """
    placed = to_pixels(line)
    for _ in range(MOST_ROUNDS):
        off = np.zeros(len(line) - 1)
        for t in (0.25, 0.5, 0.75):
            true = to_pixels(line[:-1] * (1 - t) + line[1:] * t)
            off = np.maximum(off, np.hypot(*(placed[:-1] * (1 - t) + placed[1:] * t - true).T))
        far = np.flatnonzero(off > tolerance_px)
        if not len(far):
            break
        middle = (line[far] + line[far + 1]) / 2
        line = np.insert(line, far + 1, middle, axis=0)
        placed = np.insert(placed, far + 1, to_pixels(middle), axis=0)
    return placed


def _turned(drawn: Any, way: Route, frame: Any) -> Any:
    """Of an image in degrees: also where it lies a full turn to the east or west, such as beyond the antimeridian."""
    import shapely
    from shapely.affinity import translate

    if way.turn_px is None or drawn.is_empty:
        return drawn
    turns = [drawn, translate(drawn, way.turn_px), translate(drawn, -way.turn_px)]
    found = [turn for turn in turns if shapely.intersects(turn, frame)]
    return found[0] if len(found) == 1 else shapely.union_all(found) if found else drawn


def _outside(shape: Any, inside: Any, way: Route, info: ImageInfo) -> float | None:
    """All of it less what is on the image, both measured alike."""
    import shapely

    if info.crs is None or info.transform is None or way.crs is None:
        size = info.pixel_size
        return max(0.0, float(shape.area - inside.area)) * size.y * size.x
    t = info.transform
    whole = ground_area(shape, way.crs)
    on_map = shapely.transform(
        inside,
        lambda xy: np.stack([t.a * xy[:, 0] + t.b * xy[:, 1] + t.c, t.d * xy[:, 0] + t.e * xy[:, 1] + t.f], 1),
    )
    seen = ground_area(on_map, CRS.from_user_input(info.crs))
    if whole is None or seen is None:
        return None
    return whole - seen if whole - seen > ROUNDING * whole else 0.0


def ground_area(shape: Any, crs: CRS) -> float | None:
    """m2 of a polygon on the ellipsoid of its CRS (Karney 2013, geodesics between dense vertices); None = no ground.

    Right to about 1e-5: for telling what lies outside of an image, not for what is counted on it.
    """
    import shapely

    geod, ground = crs.get_geod(), crs.geodetic_crs
    if shape.is_empty:
        return 0.0
    if geod is None or ground is None:
        return None
    x, y, x_stop, y_stop = shape.bounds
    dense = shapely.segmentize(shapely.orient_polygons(shape), max(x_stop - x, y_stop - y) / 256)
    to_ground = Transformer.from_crs(crs, ground, always_xy=True)
    on_ground = shapely.transform(dense, lambda xy: np.column_stack(to_ground.transform(xy[:, 0], xy[:, 1])))
    if not np.isfinite(on_ground.bounds).all():
        return None
    return abs(float(geod.geometry_area_perimeter(on_ground)[0]))


def polygons_of(shape: Any) -> Any:
    """What of a shape has an area, as one Polygon or MultiPolygon."""
    import shapely

    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    parts = [part for part in shapely.get_parts(shape) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.Polygon()
