"""Objects of a slide as QuPath reads them: GeoJSON in pixels of the slide, written as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affine import Affine

from flows.export.features import Features, export_features, to_map
from flows.export.job import ExportJob, ExportReport
from flows.export.place import replacing
from tiling.errors import BadInput


def export_qupath(job: ExportJob) -> ExportReport:
    """Annotations in level-0 pixels, y downwards, with class, colour and size. Raises BadInput for rasters.

    QuPath crops a slide to its openslide.bounds, so pixel (0, 0) is their corner unless job.origin says "slide".
    """
    if job.plan.image.kind != "slide":
        raise BadInput(f"QuPath reads pixels of slides, and {job.plan.image.uri} is a raster: --to geojson")
    y, x = origin_px(job)
    with replacing(job.out) as path:
        return export_features(job, lambda found: _write(path, job, found), Affine.translation(x, y) @ to_map(job.plan))


def origin_px(job: ExportJob) -> tuple[int, int]:
    """(y, x) of the run's first pixel in the coordinates asked for, level-0 px. Raises BadInput without the slide."""
    if job.origin == "bounds":
        return 0, 0
    from tiling.slide import bounds_origin_px

    return bounds_origin_px(job.plan.source.uris[0])


def _write(path: Path, job: ExportJob, found: Iterator[Features]) -> None:
    """One feature per line."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        before = "\n"
        for some in found:
            for feature in _features(job, some):
                file.write(before + json.dumps(feature, ensure_ascii=False, separators=(",", ":")))
                before = ",\n"
        file.write("\n]}\n")


def _features(job: ExportJob, some: Features) -> Iterator[dict[str, Any]]:
    import shapely

    objects, colours = some.objects, job.colours
    for i, outline in enumerate(some.outlines):
        label = int(objects.label[i])
        rings = [shapely.get_coordinates(ring) for ring in (outline.exterior, *outline.interiors)]
        yield {
            "type": "Feature",
            "id": some.ids[i],
            "geometry": {"type": "Polygon", "coordinates": [[_place(xy) for xy in ring.tolist()] for ring in rings]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": job.classes[label - 1], "color": list(colours[label - 1])},
                "measurements": {
                    "tilegate: area um^2": float(objects.area[i]),
                    "tilegate: pixels": int(objects.pixels[i]),
                    "tilegate: may be larger": int(objects.cut[i]),
                },
            },
        }


def _place(xy: list[float]) -> list[float | int]:
    """Whole numbers as such: half the bytes."""
    return [int(value) if value == int(value) else value for value in xy]
