"""Objects as GeoParquet, GeoPackage and GeoJSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.export.features import Features, export_features, to_map
from flows.export.job import ExportJob, ExportReport
from flows.export.place import replacing
from storage.export_vector import schema, write_gdal, write_geoparquet
from tiling.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

EVERY_PX = 16
"""GeoJSON: edges get a corner at least so often. A row of a UTM grid bends by 32 px^2 / 3,700 km between two corners at
60 degrees: by a thousandth of a pixel of 100 m."""


def export_geoparquet(job: ExportJob) -> ExportReport:
    """In the CRS of the image; pixels of it where it has none (slides: x to the right, y down)."""
    columns, crs = schema(job.areas.unit), job.plan.image.crs
    return _export(job, lambda path, batches: write_geoparquet(path, batches, columns, crs))


def export_gpkg(job: ExportJob) -> ExportReport:
    """In the CRS of the image; pixels of it where it has none."""
    columns, crs = schema(job.areas.unit), job.plan.image.crs
    return _export(job, lambda path, batches: write_gdal(path, batches, columns, crs, "GPKG"))


def export_geojson(job: ExportJob) -> ExportReport:
    """RFC 7946: longitude and latitude on WGS 84, split at the antimeridian. Raises BadInput without a CRS."""
    crs = job.plan.image.crs
    if crs is None or job.plan.image.transform is None:
        other = "qupath" if job.plan.image.kind == "slide" else "geoparquet or gpkg"
        raise BadInput(
            f"GeoJSON is longitude and latitude (RFC 7946), and {job.plan.image.uri} is on no map: --to {other}"
        )
    columns = schema(job.areas.unit)
    options = {"RFC7946": "YES", "ID_FIELD": "id", "COORDINATE_PRECISION": "9", "WRITE_NAME": "NO"}
    return _export(job, lambda path, batches: write_gdal(path, batches, columns, crs, "GeoJSON", **options), EVERY_PX)


def _export(job: ExportJob, write: Callable[[Path, Iterator[pa.RecordBatch]], None], every_px: int = 0) -> ExportReport:
    with replacing(job.out) as path:
        return export_features(
            job, lambda found: write(path, (_batch(job, some) for some in found)), to_map(job.plan), every_px
        )


def _batch(job: ExportJob, some: Features) -> pa.RecordBatch:
    import pyarrow as pa
    import shapely

    values = [
        some.ids,
        [job.classes[label - 1] for label in some.objects.label],
        some.objects.area,
        some.objects.pixels,
        some.objects.cut,
        shapely.to_wkb(some.outlines, byte_order=1),
    ]
    columns = schema(job.areas.unit)
    return pa.record_batch([pa.array(value, field.type) for value, field in zip(values, columns, strict=True)], columns)
