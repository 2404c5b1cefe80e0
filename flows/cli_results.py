"""The commands that work on runs which are over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

EXIT_PARTIAL = 3
Folder = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a finished run, or s3://BUCKET/PREFIX.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs, nothing else.")]


def export(
    run_folder: Folder,
    to: Annotated[str, typer.Option(help="cog, geoparquet, gpkg, geojson, qupath, …; an unknown one lists them all.")],
    out: Annotated[
        str, typer.Option(help="File to write; RUN/exports/… if empty. One that is there is replaced.")
    ] = "",
    min_area: Annotated[float, typer.Option(help="Leave out smaller objects; in the unit the run reports.")] = 0,
    origin: Annotated[
        Literal["bounds", "slide"],
        typer.Option(help="Slides with openslide.bounds: pixel 0 is their corner, as in QuPath, or the whole slide's."),
    ] = "bounds",
    as_json: AsJson = False,
) -> None:
    """Write what a run found for other tools: mask or joined polygons."""
    from flows.export.command import export_run, report_json, report_text
    from storage.run import Run

    found = export_run(run_folder, to, out, min_area, origin)
    summary = Run.open(run_folder).summary() or {}
    print(json.dumps(report_json(found), indent=2) if as_json else report_text(found, summary))
    if summary["status"] == "partial":
        raise typer.Exit(EXIT_PARTIAL)


def zones(
    run_folder: Folder,
    file: Annotated[str, typer.Argument(help="Polygons: GeoPackage, GeoJSON (QuPath's on slides), Shapefile, …")],
    name: Annotated[str, typer.Option(help="The column that names a zone; name or id if empty, else numbers.")] = "",
    out: Annotated[Path | None, typer.Option(help="Also write the table to this CSV file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Areas per zone of a run that is over, for any zones; nothing is run again, the run's folder is left as it is."""
    from flows.commands import zones_of_run
    from flows.zones.areas import zones_csv
    from flows.zones.page import zone_lines

    summary, block = zones_of_run(run_folder, file, name or None)
    if out is not None:
        out.write_text(zones_csv(block, summary["area"]["display_unit"]))
    print(json.dumps(block, indent=2) if as_json else "\n".join(zone_lines(block, summary)))
