"""`tilegate export --to ngff`: an OME-NGFF 0.5 image of what the run holds, with its mask as labels."""

from __future__ import annotations

import re

from flows.export.counted import Counted, require_plain
from flows.export.job import ExportJob, ExportReport
from flows.export.place import replacing


def export_ngff(job: ExportJob) -> ExportReport:
    """A folder, see storage/ngff.py. Raises BadInput for --min-area and --origin slide."""
    from storage.ngff import Label, write_ngff

    require_plain(job, "OME-NGFF")
    counted, unit = Counted(job), job.summary["area"]["unit"]
    rows = zip(job.classes, job.colours, job.summary["area"]["classes"], strict=True)
    labels = [
        Label(value=i, name=name, rgb=rgb, properties={"pixels": row["pixels"], "area": row["mapped"], "unit": unit})
        for i, (name, rgb, row) in enumerate(rows, start=1)
    ]
    with replacing(job.out) as out:
        write_ngff(job.run, out, _plain(job.plan.models["segmenter"]["name"]), labels, counted)
    kept = job.plan.recipe.get("store", {}).get("pixels", True)
    missing = () if kept else ("the run kept no pixels (store.pixels), so the image is empty; the labels are whole",)
    return counted.report(
        "level 0 of the image holds only the tiles that were segmented, level 1 all that hold data", *missing
    )


def _plain(name: str) -> str:
    """A model may be named by a path; a group's name holds no slash."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.rstrip("/").rsplit("/", 1)[-1]).strip("-.") or "mask"
