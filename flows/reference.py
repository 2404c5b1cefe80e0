"""Reference samples on the grid of a run: which class its map has there, and which the reference has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.zones.aoi import aoi_of
from storage.plan import RunPlan
from tiling.errors import BadInput
from tiling.record import TileRecord
from tiling.state import State

BACKGROUND = "background"
"""What the map says where it has no class, and what a reference sample of any other class is."""
DEGREES = "OGC:CRS84"
"""Of a GeoJSON that names no CRS (RFC 7946)."""

MAX_SAMPLE_PX = 2**22
"""Of the box around a polygon."""
OUTSIDE = "outside the area of interest"
"""Why a sample is left out of which no more than half is inside."""

Floats = NDArray[np.float64]
ReadMask = Callable[[int, int, int, int], NDArray[np.uint8]]
"""(y, x, height, width) px of the fine plane -> labels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Labelled places in pixels of the fine plane."""

    shapes: tuple[Any, ...]
    """shapely points and polygons, (x, y) px."""
    words: tuple[str, ...]
    """What the reference calls each; empty where it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """Samples by what map and reference say."""

    names: tuple[str, ...]
    """The classes of the map, background last."""
    counts: NDArray[np.int64]
    """(map class, reference class) samples."""
    dropped: dict[str, int]
    """Samples that say nothing, by why."""
    others: tuple[str, ...]
    """Words of the reference that are no class of the map: they count as background."""


def read_samples(path: Path, plan: RunPlan) -> Samples:
    """Points and polygons of a file, moved onto the run's plane. Raises BadInput for files and CRSs that do not fit."""
    import shapely

    from classifiers.labels.vectors import read_shapes

    if not path.exists():
        raise BadInput(f"{path} does not exist")
    shapes, words, crs = read_shapes(path)
    shapes = shapely.force_2d(shapes)
    kinds = {shape.geom_type for shape in shapes if shape is not None} - {"Point", "Polygon", "MultiPolygon"}
    if kinds:
        raise BadInput(f"{path} holds shapes of kind {', '.join(sorted(kinds))}: a sample is a point or a polygon.")
    moved = shapely.transform(shapes, lambda places: to_plane(places, crs, plan, path), include_z=False)
    return Samples(shapes=tuple(moved), words=tuple(words))


def to_plane(places: Floats, crs: str | None, plan: RunPlan, path: Path) -> Floats:
    """(n, 2) x and y of a file -> px of the fine plane. Pixels of level 0 for slides. Raises BadInput."""
    image, (scale_y, scale_x) = plan.image, plan.fine.scale
    if image.transform is None or image.crs is None:
        if crs:
            raise BadInput(f"{path} is in {crs:.60}; {image.uri} has no coordinate system: give places in its pixels.")
        return np.asarray(places / [scale_x, scale_y])
    from pyproj import Transformer

    if crs is not None:  # a file without any is taken to be in the image's
        x, y = Transformer.from_crs(crs or DEGREES, image.crs, always_xy=True).transform(*places.T)
        places = np.stack([x, y], axis=1)
    inverse = ~image.transform
    x, y = places.T
    columns, rows = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
    return np.stack([columns / scale_x, rows / scale_y], axis=1)


def compare(samples: Samples, plan: RunPlan, states: dict[tuple[int, int], State], read: ReadMask) -> Compared:
    """What the map says at each sample. A polygon is one sample: the class that most of its pixels have.

    Tiles that the gate kept out are background on the map, and that is what is judged. Samples in tiles that nobody
    observed (unreadable, failed, planned), without data (empty), outside the image, for the larger part outside the area
    of interest or without a class are dropped and counted. Raises BadInput where no word of the reference is a class of the map.
    """
    names = (*plan.classes, BACKGROUND)
    known = {name.casefold(): i for i, name in enumerate(names)}
    others = sorted({word for word in samples.words if word and word.casefold() not in known})
    if samples.words and not any(word.casefold() in known for word in samples.words):
        raise BadInput(
            f"the reference has the classes {', '.join(others) or '(none)'}; the map has {', '.join(names)}. Call at "
            "least one alike; what is no class of the map counts as background."
        )
    counts, dropped = np.zeros((len(names), len(names)), np.int64), Counter[str]()
    for shape, word in zip(samples.shapes, samples.words, strict=True):
        found = map_class(shape, plan, states, read) if word else "without a class"
        if isinstance(found, str):
            dropped[found] += 1
        else:
            counts[found - 1 if found else -1, known.get(word.casefold(), -1)] += 1
    return Compared(names=names, counts=counts, dropped=dict(sorted(dropped.items())), others=tuple(others))


def judged(tile: TileRecord) -> State:
    """A tile's state; one that was screened out, as glass is, holds data and is background as a rejected one is."""
    return State.NEGATIVE if tile.state is State.EMPTY and tile.valid_area > 0 else tile.state


def map_class(shape: Any, plan: RunPlan, states: dict[tuple[int, int], State], read: ReadMask) -> int | str:
    """The label that most pixels of a sample have, 0 = background; or why the map says nothing there."""
    if too_large(shape):
        return "larger than a sample can be"
    whole = pixels_of(shape, plan.fine.shape_px)
    if not len(whole):
        return "outside the image"
    pixels = whole[of_interest(shape, whole, plan)]
    if 2 * len(pixels) <= len(whole):
        return OUTSIDE
    unseen = why_unseen({states[row, col] for row, col in {(int(y), int(x)) for y, x in pixels // plan.grid.tile_px}})
    if unseen:
        return unseen
    (top, left), (bottom, right) = pixels.min(axis=0), pixels.max(axis=0)
    labels = read(int(top), int(left), int(bottom - top + 1), int(right - left + 1))
    return int(np.bincount(labels[pixels[:, 0] - top, pixels[:, 1] - left]).argmax())


def why_unseen(at: set[State]) -> str:
    """Why the map says nothing in some of these tiles; empty where it does in all."""
    if at & {State.UNREADABLE, State.FAILED, State.PLANNED, State.POSITIVE}:
        return "not observed"
    if State.OUTSIDE in at:
        return OUTSIDE
    if State.EMPTY in at:
        return "without data"
    return ""


def of_interest(shape: Any, pixels: NDArray[np.int64], plan: RunPlan) -> NDArray[np.bool_]:
    """(n,) True where a sample's pixel is of interest: by its centre, or by the place itself where the sample is a point.

    pixels: (n, 2) y and x, see pixels_of.
    """
    import shapely

    aoi = aoi_of(plan)
    if aoi is None:
        return np.ones(len(pixels), bool)
    y, x = (shape.y, shape.x) if shape.geom_type == "Point" else (pixels.T + 0.5)
    scale_y, scale_x = plan.fine.scale
    return np.broadcast_to(shapely.contains_xy(aoi.shape, x * scale_x, y * scale_y), len(pixels))


def too_large(shape: Any) -> bool:
    """A polygon over more than MAX_SAMPLE_PX is no sample of anything: most likely it draws the study area."""
    if shape is None or shape.is_empty:
        return False
    left, top, right, bottom = shape.bounds
    return bool((right - left) * (bottom - top) > MAX_SAMPLE_PX)


def pixels_of(shape: Any, shape_px: Sequence[int]) -> NDArray[np.int64]:
    """(n, 2) y and x of the pixels whose centre is in a polygon, of the one under a point; none outside the image."""
    import shapely

    if shape is None or shape.is_empty:
        return np.empty((0, 2), np.int64)
    left, top, right, bottom = shape.bounds
    height, width = shape_px
    if not np.isfinite(shape.bounds).all() or left < 0 or top < 0 or right > width or bottom > height:
        return np.empty((0, 2), np.int64)
    y, x = np.mgrid[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    inside = shapely.contains_xy(shape, x + 0.5, y + 0.5)
    if not inside.any():  # a point, or a sliver between centres
        place = shape.representative_point()
        y, x, inside = np.array([int(place.y)]), np.array([int(place.x)]), np.array([True])
    found = np.stack([y[inside], x[inside]], axis=1).astype(np.int64)
    return np.asarray(found[(found < [height, width]).all(axis=1)])
