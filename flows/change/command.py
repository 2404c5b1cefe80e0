"""The command that compares two dates of one place."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

EXIT_PARTIAL = 3
RunFolder = Annotated[str, typer.Argument(help="Folder of a finished run, or s3://BUCKET/PREFIX.")]


def change(
    run_a: RunFolder,
    run_b: RunFolder,
    out: Annotated[Path | None, typer.Option(help="Folder for change.html, .png, .json and .csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs, nothing else.")] = False,
) -> None:
    """Compare two dates of one place: what of each class was gained, lost and stable, where both were observed."""
    from flows.change.display import change_text

    result = compare_runs(run_a, run_b, out)
    text = change_text(result) + (f"\n\n{out}/change.html, change.png, change.json, change.csv" if out else "")
    print(json.dumps(result, indent=2) if as_json else text)
    if result["status"] == "partial":
        raise typer.Exit(EXIT_PARTIAL)


def compare_runs(run_a: str, run_b: str, out: Path | None = None) -> dict[str, Any]:
    """See flows/change/result.py; written into a folder when one is given. Raises BadInput."""
    from flows.change.compare import compare
    from flows.change.reading import Seen
    from flows.change.result import change_result
    from flows.out_folder import require_folder
    from flows.pages.picture import PANEL_PX

    folder = None if out is None else require_folder(out)
    with closing(Seen(run_a)) as a, closing(Seen(run_b)) as b:
        found = compare(a, b, PANEL_PX)
        result = change_result(a, b, found)
        if folder is not None:
            from flows.change.picture import draw_change

            write_change(folder, result, draw_change(a, b, found, result))
    return result


def write_change(folder: Path, result: dict[str, Any], picture: Any) -> None:
    """The four files, change.json last. picture: a PIL image."""
    import io

    from flows.change.page import render_change
    from flows.change.result import change_csv

    folder.mkdir(parents=True, exist_ok=True)
    png = io.BytesIO()
    picture.save(png, format="PNG", compress_level=6)
    (folder / "change.png").write_bytes(png.getvalue())
    (folder / "change.csv").write_text(change_csv(result), encoding="utf-8")
    (folder / "change.html").write_text(render_change(result, png.getvalue()), encoding="utf-8")
    (folder / "change.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
