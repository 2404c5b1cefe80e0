"""The command line."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows import accuracy_command, audit_command, cli_models, cli_results
from flows.change import command as change_command
from flows.stopping import leaving_on_signals
from flows.supervise import supervise
from tiling.address import Redacting, redacted
from tiling.errors import BadInput, NeedsApproval, TilegateError

app = typer.Typer(
    name="tilegate",
    help="Areas from gigapixel images: a fast gate decides which tiles get the expensive step, and says what it skipped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

KEPT = {
    **dict.fromkeys(("run", "resume"), "run the same command again, or tilegate resume, to finish"),
    "train": "the same command again goes on from the last whole epoch",
}
"""What is left when a command fails, and how to go on."""
EXIT_NEEDS_APPROVAL, EXIT_PARTIAL, EXIT_BAD_INPUT, EXIT_OTHER = 4, 3, 2, 1

Images = Annotated[list[str], typer.Argument(help="An image; several rasters of one band each are one image.")]
RecipeName = Annotated[str, typer.Option("--recipe", "-r", help="A bundled recipe or a TOML file.")]
Bands = Annotated[str, typer.Option(help="Names of bands by number or name: green=2,nir=B08.")]
Nodata = Annotated[float | None, typer.Option(help="The nodata value of a raster that does not declare it.")]
Mpp = Annotated[str, typer.Option(help="Micrometres per pixel of a slide that does not say: 0.25 or Y,X.")]
GroundSize = Annotated[str, typer.Option("--pixel-size", help="Metres per pixel of a raster without CRS: 10 or Y,X.")]
MaxPixels = Annotated[
    str, typer.Option(metavar="N", help="Refuse an image that declares more pixels than this: a number, or 1e12.")
]
Changes = Annotated[list[str], typer.Option("--set", help="Change the recipe: gate.threshold=0. May be repeated.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs, nothing else.")]
EngineName = Annotated[
    Literal["local", "prefect"] | None,
    typer.Option(help="Who runs it; Prefect when an API is configured, threads of this process otherwise."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Spans at once (local engine); the number of cores if empty.")]


@app.command()
def run(
    image: Images,
    recipe: RecipeName,
    out: Annotated[str, typer.Option(help="Folder of the run, or s3://BUCKET/PREFIX; an unfinished run is finished.")],
    bands: Bands = "",
    nodata: Nodata = None,
    mpp: Mpp = "",
    pixel_size: GroundSize = "",
    max_pixels: MaxPixels = "1e11",
    changes: Changes = [],  # noqa: B006 (typer reads the default, nobody mutates it)
    engine: EngineName = None,
    workers: Workers = None,
    dask: Annotated[str, typer.Option(help="Dask scheduler for the spans: tcp://HOST:8786, or local.")] = "",
    as_json: AsJson = False,
) -> None:
    """Measure areas in an image."""
    from flows.commands import image_request, parse_count, run_image
    from flows.recipe import load_recipe

    request = image_request(image, bands, nodata, mpp, pixel_size, parse_count(max_pixels, "--max-pixels"))
    summary = run_image(request, load_recipe(recipe, tuple(changes)), out, engine, workers, dask, quiet=as_json)
    finish(summary, out, as_json)


@app.command()
def resume(
    run_folder: Annotated[str, typer.Argument(help="Folder of a run, or s3://BUCKET/PREFIX.")],
    workers: Workers = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="Go on although more is to be segmented than segment.approve_above.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Finish an unfinished run, or try the tiles again that failed. Refused when the image has changed."""
    from flows.commands import resume_run

    finish(resume_run(run_folder, workers, quiet=as_json, approve=approve), run_folder, as_json)


@app.command()
def plan(
    image: Images,
    recipe: RecipeName,
    bands: Bands = "",
    nodata: Nodata = None,
    mpp: Mpp = "",
    pixel_size: GroundSize = "",
    max_pixels: MaxPixels = "1e11",
    changes: Changes = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Say what a run would do and cost: tiles, spans, bytes, minutes. Writes nothing."""
    from flows.commands import image_request, parse_count
    from flows.estimate import estimate, estimate_lines
    from flows.recipe import load_recipe

    request = image_request(image, bands, nodata, mpp, pixel_size, parse_count(max_pixels, "--max-pixels"))
    found = estimate(request.spec(), load_recipe(recipe, tuple(changes)))
    print(json.dumps(found, indent=2) if as_json else "\n".join(estimate_lines(found)))


@app.command()
def report(
    run_folder: Annotated[str, typer.Argument(help="Folder of a run, or s3://BUCKET/PREFIX.")],
    as_json: AsJson = False,
) -> None:
    """Print what a run found and did not see; the page for others is report.html in its folder."""
    from flows.commands import report_run

    summary, holes = report_run(run_folder)
    finish(summary, run_folder, as_json, holes)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check this machine: versions, CPU, codecs, write access, Prefect."""
    from flows.doctor import examine, verdict

    checks = examine()
    print(json.dumps([check.as_dict() for check in checks], indent=2) if as_json else verdict(checks))
    if not all(check.ok for check in checks):
        raise typer.Exit(EXIT_OTHER)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the images and runs.")] = Path("demo-out"),
    engine: EngineName = "prefect",
) -> None:
    """Make a scene and a slide with known areas, measure both through Prefect, and compare."""
    from flows.demo.exhibits import run_demo

    run_demo(out, engine or "prefect")


for command in (
    cli_results.export,
    cli_results.zones,
    change_command.change,
    cli_models.train,
    cli_models.evaluate,
    cli_models.explain,
):
    app.command()(command)
app.command()(audit_command.audit)
app.command()(accuracy_command.accuracy)


def finish(summary: dict[str, Any], out: str, as_json: bool, holes: list[dict[str, Any]] | None = None) -> None:
    """Print a summary, and with `holes` every tile not observed, and leave with the exit code it deserves."""
    from flows.console import summary_text
    from flows.holes import hole_lines

    told = summary if holes is None else summary | {"holes": holes}
    print(json.dumps(told, indent=2) if as_json else summary_text(summary, out, hole_lines(holes or [], summary)))
    if summary["status"] == "partial":
        raise typer.Exit(EXIT_PARTIAL)


def entry() -> None:
    """What the command `tilegate` calls: main in a child process that may crash.

    When main is over all is on disk, and taking networks apart is left to the machine (0.2 s); Prefect ends in order.
    """
    supervise()
    try:
        main()
    except SystemExit as end:
        if "prefect" in sys.modules or not isinstance(end.code, int):
            raise
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code)
        raise  # Python tells what could not be printed, as ever


def main() -> None:
    """The command line: errors meant for people are printed as one message, without a traceback."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Redacting())
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", handlers=[handler])
    logging.getLogger("rasterio").setLevel(logging.ERROR)  # GDAL repeats a file's oddities at every opening
    try:
        with leaving_on_signals():
            app()
    except BadInput as error:
        print(f"tilegate: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except NeedsApproval as waiting:
        print(f"tilegate: {waiting}", file=sys.stderr)
        sys.exit(EXIT_NEEDS_APPROVAL)
    except (TilegateError, OSError, MemoryError) as error:
        fewer = "--set fit.batch=8" if sys.argv[1:2] == ["train"] else "--workers 1"
        cause = f"out of memory (fewer at once need less: {fewer}): " if isinstance(error, MemoryError) else ""
        print(f"tilegate: {cause}{redacted(str(error))}", file=sys.stderr)
        for kept in (KEPT[word] for word in sys.argv[1:2] if word in KEPT):
            print(f"What is done is kept: {kept}.", file=sys.stderr)
        sys.exit(EXIT_OTHER)


if __name__ == "__main__":
    entry()
