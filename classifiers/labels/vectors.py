"""Polygons from files: QuPath's GeoJSON, any other GeoJSON, GeoPackage, Shapefile, FlatGeobuf."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.files import plain
from tiling.errors import BadInput

COLUMNS = ("class", "label", "classname", "class_name", "classification", "category", "type", "name")
"""Names of the column with the class, whatever their case; the first that is there counts."""
PIXELS_OR_DEGREES = ""
"""A GeoJSON that names no CRS: degrees (RFC 7946) over a scene, pixels (QuPath) over a slide."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polygons:
    """What a file holds."""

    path: str
    """Which file."""
    shapes: NDArray[np.object_]
    """(n,) shapely Polygons and MultiPolygons, valid and without heights."""
    words: tuple[str, ...]
    """What each is called; empty where it has no class."""
    crs: str | None
    """As WKT or a name; PIXELS_OR_DEGREES; None = the file says nothing."""
    notes: tuple[str, ...]
    """What was ignored."""


def read_polygons(path: Path) -> Polygons:
    """All polygons of a file. Raises BadInput."""
    shapes, words, crs = read_shapes(path)
    return _cleaned(path, shapes, words, crs)


def read_shapes(path: Path) -> tuple[NDArray[np.object_], list[str], str | None]:
    """Every shape of a file as it is, what each is called, and the CRS as in Polygons. Raises BadInput."""
    try:
        return _of_json(path) if path.suffix.lower() in {".json", ".geojson"} else _of_layer(path)
    except BadInput:
        raise
    except Exception as error:  # json, GEOS and GDAL raise what they like for files that are broken
        raise BadInput(f"{path} cannot be read as polygons: {type(error).__name__}: {error}") from error


def layer_of(path: Path) -> str | None:
    """The layer with geometry of a file of tables, None = it has none. Raises BadInput for several, or for half a file."""
    import pyogrio

    try:
        _require_whole(path)
        layers = [str(name) for name, geometry in pyogrio.list_layers(path) if geometry is not None]
    except BadInput:
        raise
    except Exception as error:  # GDAL raises what it likes for files that are broken
        raise BadInput(f"{path} cannot be read as polygons or a table: {type(error).__name__}: {error}") from error
    if len(layers) > 1:
        raise BadInput(f"{path} has layers {', '.join(layers)}; keep the one with the polygons (ogr2ogr OUT IN LAYER)")
    return layers[0] if layers else None


def _require_whole(path: Path) -> None:
    """Raise BadInput for a Shapefile that is shorter than it says: GDAL reads what is missing as rows without a place.

    Bytes 24 to 27 hold its length in words of 16 bits, big-endian (ESRI Shapefile Technical Description, 1998, p. 4).
    """
    if path.suffix.lower() != ".shp":
        return
    with path.open("rb") as file:
        head = file.read(28)
    told, there = 2 * int.from_bytes(head[24:28], "big"), path.stat().st_size
    if there < told:
        raise BadInput(f"{path} is cut off: it holds {there:,} of {told:,} bytes. Fetch or write it again")


def _of_layer(path: Path) -> tuple[NDArray[np.object_], list[str], str | None]:
    import shapely
    from pyogrio import raw

    layer = layer_of(path)
    if layer is None:
        raise BadInput(f"{path} has no layer with polygons")
    meta, _, geometry, columns = raw.read(str(path), layer=layer)
    names = [str(name) for name in meta["fields"]]
    name = class_column(names)
    words = [""] * len(geometry) if name is None else [_word(value) for value in columns[names.index(name)]]
    return np.asarray(shapely.from_wkb(geometry)), words, meta["crs"]


def class_column(names: Sequence[str]) -> str | None:
    """Which column holds the class."""
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in COLUMNS if name in lower), None)


def _of_json(path: Path) -> tuple[NDArray[np.object_], list[str], str | None]:
    from shapely.geometry import shape

    document = json.loads(path.read_text("utf-8-sig"))
    features = list(features_of(document))
    if not features:
        raise BadInput(f"{path} holds no GeoJSON features")
    shapes = np.array([shape(feature["geometry"]) for feature in features], object)
    return shapes, [word_of(feature.get("properties") or {}) for feature in features], crs_of(document)


def features_of(document: Any) -> Iterator[Mapping[str, Any]]:
    """Of a FeatureCollection, of QuPath's list of features, or of a single one; those without a place are left out."""
    found = document if isinstance(document, list) else document.get("features", [document])
    return (each for each in found if isinstance(each, dict) and each.get("geometry"))


def word_of(properties: Mapping[str, Any]) -> str:
    """QuPath keeps the class in classification.name (or names), others in a property of some name."""
    given = properties.get("classification")
    if isinstance(given, Mapping):
        return _word(given.get("name") or ": ".join(given.get("names", ())))
    name = class_column([key for key, value in properties.items() if isinstance(value, str | int | float)])
    return "" if name is None else _word(properties[name])


def crs_of(document: Any) -> str:
    """GeoJSON of before 2016 may name its CRS."""
    named = document.get("crs") if isinstance(document, dict) else None
    return str(named["properties"]["name"]) if named else PIXELS_OR_DEGREES


def _word(value: object) -> str:
    """A class as text: 3.0 is 3, and nothing is nothing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return plain(f"{value:g}" if isinstance(value, float) else str(value))


def _cleaned(path: Path, shapes: NDArray[np.object_], words: Sequence[str], crs: str | None) -> Polygons:
    """Areas only: made valid where they cross themselves. Raises BadInput where there are none."""
    import shapely

    areas = [area_of(shape) for shape in shapes]
    kept = [i for i, area in enumerate(areas) if area is not None]
    if not kept:
        raise BadInput(f"{path} holds {len(areas)} shapes, but no polygon: lines and points have no pixels")
    crossed = int((~shapely.is_valid(shapes)).sum())
    notes = []
    if len(kept) < len(areas):
        notes.append(f"{len(areas) - len(kept)} shapes of {path.name} are no polygons and were left out.")
    if crossed:
        notes.append(f"{crossed} polygons of {path.name} cross themselves and were mended.")
    if crs is None:
        notes.append(f"{path.name} names no coordinate system: that of its image was assumed.")
    found = np.empty(len(kept), object)
    found[:] = [areas[i] for i in kept]
    return Polygons(path=str(path), shapes=found, words=tuple(words[i] for i in kept), crs=crs, notes=tuple(notes))


def area_of(shape: Any) -> Any | None:
    """The polygons in a shape, as one; None where it has none."""
    import shapely

    if shape is None or shape.is_empty:
        return None
    flat = shapely.force_2d(shape if shape.is_valid else shapely.make_valid(shape))
    if flat.geom_type in ("Polygon", "MultiPolygon"):
        return flat
    parts = [part for part in shapely.get_parts(flat) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else None
