"""Polygons from files with every column beside them: zones and areas of interest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.vectors import area_of, crs_of, features_of, layer_of, word_of
from tiling.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """What a file holds: its polygons, in its own order."""

    path: str
    """Which file."""
    shapes: NDArray[np.object_]
    """(n,) shapely Polygons and MultiPolygons, valid and without heights."""
    numbers: tuple[int, ...]
    """The place of each among the features of the file, from 1."""
    columns: dict[str, tuple[Any, ...]]
    """(n,) values by name of the column."""
    crs: str | None
    """As WKT or a name; PIXELS_OR_DEGREES; None = the file says nothing."""
    notes: tuple[str, ...]
    """What was mended or left out, each by its number."""


def read_features(path: Path) -> Features:
    """All polygons of a file. Raises BadInput, naming the feature, for coordinates that are no numbers."""
    if not path.exists():
        raise BadInput(
            f"{path} does not exist; give the path of a file of polygons (GeoPackage, GeoJSON, Shapefile, …)"
        )
    try:
        shapes, columns, crs = _of_json(path) if path.suffix.lower() in {".json", ".geojson"} else _of_layer(path)
        return _kept(path, shapes, columns, crs)
    except BadInput:
        raise
    except Exception as error:  # json, GEOS and GDAL raise what they like for files that are broken
        raise BadInput(f"{path} cannot be read as polygons: {type(error).__name__}: {error}") from error


def _of_layer(path: Path) -> tuple[NDArray[np.object_], dict[str, list[Any]], str | None]:
    import shapely
    from pyogrio import raw

    layer = layer_of(path)
    if layer is None:
        raise BadInput(f"{path} has no layer with polygons")
    meta, _, geometry, values = raw.read(str(path), layer=layer)
    columns = {str(name): list(column) for name, column in zip(meta["fields"], values, strict=True)}
    return np.asarray(shapely.from_wkb(geometry)), columns, meta["crs"]


def _of_json(path: Path) -> tuple[NDArray[np.object_], dict[str, list[Any]], str | None]:
    from shapely.geometry import shape

    document = json.loads(path.read_text("utf-8-sig"))
    features = list(features_of(document))
    shapes = np.empty(len(features), object)
    with np.errstate(invalid="ignore"):  # coordinates that are no numbers are refused by name, not warned of
        shapes[:] = [shape(feature["geometry"]) for feature in features]
    rows = [_properties(feature.get("properties") or {}) for feature in features]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return shapes, {name: [row.get(name) for row in rows] for name in names}, crs_of(document)


def _properties(given: Mapping[str, Any]) -> dict[str, Any]:
    """QuPath's classification is a mapping; here it is its name."""
    called = {"classification": word_of(given)} if isinstance(given.get("classification"), Mapping) else {}
    return {**given, **called}


def _kept(path: Path, shapes: NDArray[np.object_], columns: Mapping[str, list[Any]], crs: str | None) -> Features:
    import shapely

    kept: list[int] = []
    areas: list[Any] = []
    notes: list[str] = []
    for i, shape in enumerate(shapes):
        if shape is not None and not np.isfinite(shapely.get_coordinates(shape)).all():
            raise BadInput(f"feature {i + 1} of {path} has coordinates that are no numbers; mend or remove it")
        area = area_of(shape)
        if area is None or area.area == 0:
            notes.append(f"feature {i + 1} of {path.name} is no polygon and was left out.")
            continue
        if not shape.is_valid:
            notes.append(f"feature {i + 1} of {path.name} was mended: {shapely.is_valid_reason(shape)}.")
        kept.append(i)
        areas.append(area)
    if not kept:
        raise BadInput(f"{path} holds {len(shapes)} features, but no polygon: lines and points have no area")
    found = np.empty(len(kept), object)
    found[:] = areas
    return Features(
        path=str(path),
        shapes=found,
        numbers=tuple(i + 1 for i in kept),
        columns={name: tuple(values[i] for i in kept) for name, values in columns.items()},
        crs=crs,
        notes=tuple(notes),
    )
