"""`tilegate export --to ome-tiff`: the mask as a pyramid that QuPath and Bio-Formats open."""

from __future__ import annotations

from flows.export.counted import Counted, require_plain
from flows.export.job import ExportJob, ExportReport
from flows.export.place import replacing


def export_ome_tiff(job: ExportJob) -> ExportReport:
    """One file, see storage/ome_tiff.py. Raises BadInput for --min-area and --origin slide."""
    from storage.ome_tiff import write_ome_tiff

    require_plain(job, "OME-TIFF")
    counted = Counted(job)
    with replacing(job.out) as out:
        write_ome_tiff(job.run, out, job.classes, counted)
    ground = job.plan.image.kind == "raster"
    return counted.report(*(("OME-TIFF has no CRS; for a map export --to cog",) if ground else ()))
