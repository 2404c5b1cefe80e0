"""The mask of a run as a cloud-optimised GeoTIFF."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from downstream.area import AreaCount, count_classes, sum_counts
from flows.export.job import ExportJob, ExportReport
from flows.export.mask import TileLabels, open_labels
from flows.export.place import replacing
from storage.export_cog import MaskImage, write_cog
from tiling.errors import BadInput
from tiling.window import Window


def export_cog(job: ExportJob) -> ExportReport:
    """0 background, 1 … classes, nodata 255 = not observed. Raises BadInput for a smallest area: pixels have none."""
    if job.min_area:
        raise BadInput("--min-area leaves out objects, and a COG is pixels: --to gpkg, geoparquet, geojson or qupath")
    counts: list[tuple[AreaCount, ...]] = []
    with replacing(job.out) as path, open_labels(job) as labels:
        write_cog(path, mask_image(job), _blocks(job, labels, counts), job.plan.grid.tile_px)
        notes = labels.notes
    columns = zip(*counts, strict=True) if counts else iter([()] * len(job.classes))
    area = {name: sum_counts(terms, job.areas.unit) for name, terms in zip(job.classes, columns, strict=True)}
    return ExportReport(
        path=job.out, files=(job.out,), area=area, features=None, dropped={}, dropped_features=0, notes=notes
    )


def mask_image(job: ExportJob) -> MaskImage:
    """What the file says of itself."""
    image, (scale_y, scale_x) = job.plan.image, job.plan.fine.scale
    transform = None if image.transform is None else image.transform @ Affine.scale(scale_x, scale_y)
    return MaskImage(
        shape_px=job.plan.grid.shape_px,
        transform=transform,
        crs=image.crs,
        glass_size=image.pixel_size.times((scale_y, scale_x)) if image.kind == "slide" else None,
        classes=job.classes,
        colours=tuple(job.colours),
        tags={"TILEGATE_FINGERPRINT": job.plan.fingerprint, "TILEGATE_STATUS": job.summary["status"]},
    )


def _blocks(
    job: ExportJob, labels: TileLabels, counts: list[tuple[AreaCount, ...]]
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """Tile by tile, counted on the way."""
    for record in job.tiles:
        tile = job.plan.grid.tile(record.row, record.col)
        block = labels.of(tile)
        if any(record.pixels):
            counts.append(count_classes(block, len(job.classes), job.areas, tile.core))
        yield tile.core, block
