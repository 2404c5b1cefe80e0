"""`tilegate export --to dicom-seg`: the mask of a slide for archives and viewers of hospitals."""

from __future__ import annotations

from importlib.util import find_spec

from flows.export.counted import Counted, require_plain
from flows.export.job import ExportJob, ExportReport
from flows.export.place import replacing
from tiling.errors import BadInput


def export_dicom_seg(job: ExportJob) -> ExportReport:
    """One file, see storage/dicom_seg.py. Raises BadInput for rasters, empty masks, and where highdicom is missing."""
    require_plain(job, "DICOM-SEG")
    if job.plan.image.kind != "slide":
        raise BadInput(f"{job.plan.image.uri} is no slide; DICOM segmentations are for slides, use --to cog")
    if find_spec("highdicom") is None:
        raise BadInput("DICOM-SEG needs highdicom: pip install 'tilegate[dicom]'")
    from storage.dicom_seg import Author, write_dicom_seg

    model, counted = job.plan.models["segmenter"], Counted(job)
    author = Author(
        model=model["name"],
        sha256=model["sha256"],
        learned=job.summary["segmenter"]["runtime"] is not None,
        software=job.summary["versions"]["tilegate"],
    )
    with replacing(job.out) as out:
        frames, invented = write_dicom_seg(job.run, out, author, counted)
    told = f"{frames} frames of 512 px; the rest of the slide holds no class"
    stand_in = (
        "the slide is no DICOM: patient and study are empty, and the image it refers to has unique ids made of the "
        "slide's hash; its slide coordinates start at the slide's first pixel"
    )
    return counted.report(told, *((stand_in,) if invented else ()))
