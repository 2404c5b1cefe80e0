"""Zones: polygons with a name, as they lie on an image, and which of them overlap."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifiers.labels.features import Features, read_features
from downstream.zones_place import TOLERANCE_PX, Route, place, polygons_of, route
from tiling.errors import BadInput
from tiling.info import ImageInfo

NAMES = ("name", "id", "classification")
"""Columns that name a zone where nobody says which, whatever their case; the first that is there counts."""
SIDECARS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
"""Files that together are one Shapefile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zone:
    """One feature of a file of zones."""

    number: int
    """Its place in the file, from 1."""
    name: str
    """What it is called; its number where it has no name."""
    shape: Any
    """shapely: its part on the image, (x, y) px of the image; may be empty."""
    outside: float | None
    """Its area outside of the image, m2 or um2; None = not known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zones:
    """A file of zones over one image."""

    path: str
    """Which file."""
    sha256: str
    """Of its bytes; of a Shapefile, those of all its files."""
    column: str | None
    """Which column names them; None = they go by number."""
    zones: tuple[Zone, ...]
    """In the order of the file."""
    notes: tuple[str, ...]
    """What was mended, left out or assumed."""
    tolerance_px: float
    """How far a border may be from its true place by being bent, px of the image; 0 where nothing was reprojected."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """Two zones that share some of the image."""

    first: Zone
    """The earlier in the file."""
    second: Zone
    """The later."""
    shape: Any
    """What they share, (x, y) px of the image."""


def load_zones(path: str, column: str | None, info: ImageInfo) -> Zones:
    """The zones of a file as they lie on an image. Raises BadInput.

    info: of the image as it says itself. column: which names them; see NAMES.
    """
    features = read_features(Path(path))
    way = route(features, info)
    chosen = name_column(features, column)
    names = [""] * len(features.numbers) if chosen is None else [_text(value) for value in features.columns[chosen]]
    assumed = [f"{Path(path).name} names no coordinate system: that of the image was assumed."]
    return Zones(
        path=path,
        sha256=file_sha256(Path(path)),
        column=chosen,
        zones=tuple(
            _zone(number, name or str(number), shape, way, info, path)
            for number, name, shape in zip(features.numbers, names, features.shapes, strict=True)
        ),
        notes=(*features.notes, *(assumed if features.crs is None and info.crs is not None else [])),
        tolerance_px=TOLERANCE_PX if way.bent else 0.0,
    )


def _zone(number: int, name: str, shape: Any, way: Route, info: ImageInfo, path: str) -> Zone:
    try:
        placed = place(shape, way, info)
    except BadInput as error:
        raise BadInput(
            f"feature {number} ({name}) of {path}: {error}. Is its coordinate system named right?"
        ) from error
    return Zone(number=number, name=name, shape=placed.shape, outside=placed.outside)


def name_column(features: Features, wanted: str | None) -> str | None:
    """Which column names the zones, None = by number. Raises BadInput for one that is not there."""
    if wanted is not None:
        if wanted not in features.columns:
            raise BadInput(
                f"{features.path} has no column {wanted} to name its zones by; it has: {', '.join(features.columns) or 'none'}"
            )
        return wanted
    lower = {name.lower(): name for name in reversed(features.columns)}
    return next((lower[name] for name in NAMES if name in lower), None)


def _text(value: object) -> str:
    """3.0 is 3, and nothing is nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def file_sha256(path: Path) -> str:
    """Of the bytes of a file; of a Shapefile, of all its files, as any of them can move or rename a zone."""
    digest = hashlib.sha256()
    found = sorted(p for p in path.parent.glob(f"{path.stem}.*") if p.suffix.lower() in SIDECARS)
    for each in found if path.suffix.lower() == ".shp" else [path]:
        digest.update(each.read_bytes())
    return digest.hexdigest()


def within(zone: Zone, limit: Any | None) -> Any:
    """The shape of a zone, inside a limit where there is one. limit: (x, y) px of the image."""
    import shapely

    return zone.shape if limit is None else polygons_of(shapely.intersection(zone.shape, limit))


def overlaps(zones: Sequence[Zone], tolerance_px: float) -> list[Overlap]:
    """Pairs that share more than what bending and rounding leave between neighbours: a seam as wide as the tolerance."""
    import shapely

    shapes = [zone.shape for zone in zones]
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    found = []
    for i, j in sorted((int(i), int(j)) for i, j in zip(first, second, strict=True) if i < j):
        shared = polygons_of(shapely.intersection(shapes[i], shapes[j]))
        if shared.area > max(tolerance_px, 1e-6) * shared.length:
            found.append(Overlap(first=zones[i], second=zones[j], shape=shared))
    return found
