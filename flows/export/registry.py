"""Every format that a run can be exported to, by the name that --to takes."""

from __future__ import annotations

from flows.export.job import ExportJob, ExportReport, Format
from flows.export.standards import STANDARDS


def _cog(job: ExportJob) -> ExportReport:
    from flows.export.cog import export_cog

    return export_cog(job)


def _geoparquet(job: ExportJob) -> ExportReport:
    from flows.export.vector import export_geoparquet

    return export_geoparquet(job)


def _gpkg(job: ExportJob) -> ExportReport:
    from flows.export.vector import export_gpkg

    return export_gpkg(job)


def _geojson(job: ExportJob) -> ExportReport:
    from flows.export.vector import export_geojson

    return export_geojson(job)


def _qupath(job: ExportJob) -> ExportReport:
    from flows.export.qupath import export_qupath

    return export_qupath(job)


FORMATS: dict[str, Format] = {
    "cog": Format(about="the mask as a cloud-optimised GeoTIFF", suffix=".tif", export=_cog),
    "geoparquet": Format(about="objects as GeoParquet", suffix=".parquet", export=_geoparquet),
    "gpkg": Format(about="objects as GeoPackage", suffix=".gpkg", export=_gpkg),
    "geojson": Format(about="objects as GeoJSON, longitude and latitude", suffix=".geojson", export=_geojson),
    "qupath": Format(about="objects of a slide as QuPath GeoJSON, pixels", suffix=".qupath.geojson", export=_qupath),
} | STANDARDS
