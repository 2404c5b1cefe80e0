"""What `tilegate export` does, without the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from downstream.area import PER_UNIT, AreaCount, sum_counts
from flows.commands import report_run
from flows.display import area_text, convert
from flows.export.job import ExportJob, ExportReport, Format, Origin
from flows.export.registry import FORMATS
from flows.results import ledger_tiles
from flows.zones.aoi import areas_of_interest
from storage.run import Run
from tiling.errors import BadInput, TilegateError


def export_run(run_folder: str, to: str, out: str = "", min_area: float = 0, origin: Origin = "bounds") -> ExportReport:
    """Write a finished run in another format and compare what was written with the ledger.

    min_area: in the unit the run displays. Raises BadInput for an unknown format and a run that is not finished or was
    edited; TilegateError where the mask does not hold what the ledger counted.
    """
    wanted = format_named(to)
    if not 0 <= min_area < float("inf"):
        raise BadInput(f"--min-area {min_area}: a number of at least 0")
    summary, _ = report_run(run_folder)
    run = Run.open(run_folder)
    unit = summary["area"]["unit"]
    job = ExportJob(
        run=run,
        summary=summary,
        tiles=tuple(ledger_tiles(run)),
        areas=areas_of_interest(run.plan),
        out=out_path(run_folder, out, wanted),
        min_area=min_area * PER_UNIT[convert(None, unit, summary["area"]["display_unit"])[1]],
        origin=origin,
    )
    report = wanted.export(job)
    require_whole(job, report)
    return report


def format_named(to: str) -> Format:
    """The format of a name. Raises BadInput that lists them all."""
    if to not in FORMATS:
        lines = "\n  ".join(f"{name:12} {found.about}" for name, found in FORMATS.items())
        raise BadInput(f"--to {to}: no such format. These are:\n  {lines}")
    return FORMATS[to]


def out_path(run_folder: str, out: str, wanted: Format) -> Path:
    """Where the export goes: --out, or exports/ in the run's folder. Raises BadInput for a bucket."""
    if "://" in (out or run_folder):
        raise BadInput(f"{out or run_folder} is a bucket, and exports are written to a disk: give --out FILE")
    home = Path(run_folder).expanduser().absolute()
    return Path(out).expanduser().absolute() if out else home / "exports" / f"{home.name}{wanted.suffix}"


def require_whole(job: ExportJob, report: ExportReport) -> None:
    """Raise TilegateError unless the pixels written and those left out are those that the ledger counted."""
    unit = job.areas.unit
    for row in job.summary["area"]["classes"]:
        terms = [found[row["name"]] for found in (report.area, report.dropped) if row["name"] in found]
        told: AreaCount = sum_counts(terms, unit)
        if told.pixels != row["pixels"]:
            raise TilegateError(
                f"{report.path} holds {told.pixels:,} pixels of {row['name']}, but the ledger of {job.run.uri} counted "
                f"{row['pixels']:,}: shards of its mask are lost or damaged. tilegate resume {job.run.uri} makes them "
                "again; then export again"
            )


def report_json(report: ExportReport) -> dict[str, Any]:
    """The report for programs; areas in m2 or um2."""
    return {
        "path": str(report.path),
        "files": [str(path) for path in report.files],
        "features": report.features,
        "dropped_features": report.dropped_features,
        "classes": {name: _count(found) for name, found in report.area.items()},
        "dropped": {name: _count(found) for name, found in report.dropped.items()},
        "notes": list(report.notes),
    }


def _count(found: AreaCount) -> dict[str, Any]:
    return {"area": found.area, "pixels": found.pixels, "unit": found.unit}


def report_text(report: ExportReport, summary: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"{name} {area_text(found.area, summary)}, {found.pixels:,} px" for name, found in report.area.items()]
    if report.features is not None:
        lines.append(f"{report.features:,} objects")
    if report.dropped_features:
        lost = ", ".join(f"{name} {area_text(found.area, summary)}" for name, found in report.dropped.items())
        lines.append(f"{report.dropped_features:,} objects below the smallest area left out: {lost}")
    if summary["status"] == "partial":
        lines.append(f"PARTIAL: {area_text(summary['area']['not_observed'], summary)} were not observed")
    return "\n".join([*lines, *(f"NOTE: {note}" for note in report.notes), *map(str, report.files)])
