"""What exports of the mask itself share: what they refuse, and the count of what they wrote."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from downstream.area import AreaCount, count_classes
from flows.export.job import ExportJob, ExportReport
from tiling.errors import BadInput
from tiling.window import Window


class Counted:
    """Pixels and area by class of every window of the mask it is told of, each once."""

    def __init__(self, job: ExportJob) -> None:
        """Starts at nothing."""
        self._job = job
        self.totals = [AreaCount.zero(job.areas.unit) for _ in job.classes]

    def __call__(self, labels: NDArray[np.uint8], window: Window) -> None:
        """labels: (h, w) of `window`, px of the fine plane, as written."""
        found = count_classes(labels, len(self.totals), self._job.areas, window)
        self.totals = [total + more for total, more in zip(self.totals, found, strict=True)]

    def report(self, *notes: str) -> ExportReport:
        """Of a format that writes every class whole to job.out."""
        return report_of(self._job, dict(zip(self._job.classes, self.totals, strict=True)), notes)


def report_of(job: ExportJob, area: dict[str, AreaCount], notes: tuple[str, ...]) -> ExportReport:
    """Of a format without objects."""
    return ExportReport(
        path=job.out,
        files=(job.out,),
        area=area,
        features=None,
        dropped={},
        dropped_features=0,
        notes=(*notes, *_not_observed(job)),
    )


def require_plain(job: ExportJob, what: str) -> None:
    """Raises BadInput for wishes that a format without objects cannot fulfil."""
    if job.min_area > 0:
        raise BadInput(f"{what} has no objects that --min-area could leave out; leave it away, or export polygons")
    if job.origin == "slide" and job.plan.image.kind == "slide":
        raise BadInput(f"{what} covers what was scanned (openslide.bounds), not the whole slide; use --origin bounds")


def _not_observed(job: ExportJob) -> tuple[str, ...]:
    block = job.summary["area"]
    if not block["not_observed"]:
        return ()
    return (
        f"{block['not_observed']:,.6g} {block['unit']} were not observed and look like background here; "
        "tiles.parquet names the tiles",
    )
