"""A run against reference samples: error-adjusted areas, and how often map and reference agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiling.errors import BadInput

if TYPE_CHECKING:
    from downstream.accuracy import ClassAccuracy
    from flows.reference import Compared
    from storage.run import Run

RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, or s3://BUCKET/PREFIX.")]
Reference = Annotated[
    Path,
    typer.Argument(
        help="Labelled points or polygons with a column `class`: GPKG, GeoJSON, Shapefile; QuPath for slides."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs, nothing else.")]


def accuracy(run_folder: RunFolder, reference: Reference, as_json: AsJson = False) -> None:
    """Adjust the areas of a run by reference samples drawn per mapped class (Olofsson et al. 2014)."""
    found = assess_run(run_folder, reference)
    print(json.dumps(found, indent=2) if as_json else "\n".join(accuracy_lines(found)))


def assess_run(folder: str, reference: Path) -> dict[str, Any]:
    """Areas in m2 or um2 with standard errors, accuracies, counts, and what was left out. Raises BadInput."""
    from downstream.accuracy import assess
    from storage.run import Run

    run = Run.open(folder)
    summary = run.summary()
    if summary is None:
        raise BadInput(f"{run.uri} is not finished: it has no areas yet. First: tilegate resume {run.uri}")
    area, found = summary["area"], compared(run, reference)
    mapped = [row["mapped"] for row in area["classes"]]
    result = assess(found.names, found.counts, [*mapped, max(area["observed"] - sum(mapped), 0.0)])
    return {
        **{key: area[key] for key in ("unit", "display_unit", "observed", "not_observed")},
        "samples": int(found.counts.sum()),
        "dropped": found.dropped,
        "counted_as_background": list(found.others),
        "counts": {"map_by_reference": found.counts.tolist(), "classes": list(found.names)},
        "overall_accuracy": pair(result.overall),
        "classes": [class_row(each) for each in result.classes],
    }


def compared(run: Run, reference: Path) -> Compared:
    """The samples of a file beside the run's mask. Raises BadInput."""
    import numpy as np

    from flows.reference import compare, judged, read_samples
    from flows.results import ledger_tiles

    mask = run.array("mask/0")
    states = {(tile.row, tile.col): judged(tile) for tile in ledger_tiles(run)}
    return compare(
        read_samples(reference, run.plan),
        run.plan,
        states,
        lambda y, x, height, width: np.asarray(mask[y : y + height, x : x + width]),
    )


def class_row(each: ClassAccuracy) -> dict[str, Any]:
    """One entry of `classes`."""
    return {
        "name": each.name,
        "mapped": each.mapped,
        "area": each.area.value,
        "area_standard_error": each.area.error,
        "users_accuracy": pair(each.users),
        "producers_accuracy": pair(each.producers),
    }


def pair(measured: Any) -> dict[str, float] | None:
    """A share and its standard error."""
    return None if measured is None else {"value": measured.value, "standard_error": measured.error}


def accuracy_lines(found: dict[str, Any]) -> list[str]:
    """For a person; plus or minus is 95 %."""
    from flows.display import area_text

    page = {"area": found}
    lines = [
        f"{each['name']}: {area_text(each['area'], page)} ± {area_text(1.96 * each['area_standard_error'], page)} "
        f"(mapped {area_text(each['mapped'], page)}; user's accuracy {percent(each['users_accuracy'])}, "
        f"producer's {percent(each['producers_accuracy'])})"
        for each in found["classes"]
    ]
    lines.append(f"overall accuracy {percent(found['overall_accuracy'])} from {found['samples']:,} samples; ± is 95 %")
    lines += [f"left out: {count:,} samples {why}" for why, count in found["dropped"].items()]
    if found["counted_as_background"]:
        lines.append(f"no class of the map, so background: {', '.join(found['counted_as_background'])}")
    if found["not_observed"]:
        lines.append(f"PARTIAL: {area_text(found['not_observed'], page)} were not observed and are no part of this.")
    return [*lines, "This holds for samples drawn at random within each mapped class."]


def percent(measured: dict[str, float] | None) -> str:
    """Such as 93 % ± 4."""
    if measured is None:
        return "unknown"
    return f"{100 * measured['value']:.0f} % ± {196 * measured['standard_error']:.2g}"
