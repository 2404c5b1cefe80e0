"""change.html: a change on one page that needs nothing else, and can be mailed."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

from flows.change.display import OBSERVED, area_of, date_names, failed_text
from flows.pages.html_parts import Html, items, section, table
from flows.pages.report import STYLE

MORE = "<style>.wide{overflow-x:auto}td{overflow-wrap:anywhere}</style>"


def render_change(result: dict[str, Any], picture: bytes) -> str:
    """The whole page as HTML. picture: change.png."""
    names = date_names(result)
    title = f"{result['a']['recipe']}: {names[0]} to {names[1]}"
    shown = base64.b64encode(picture).decode()
    partial = (
        f"<p class=partial><b>Partial.</b> {escape(failed_text(result))}</p>" if result["status"] != "complete" else ""
    )
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1><p class=sub>{escape(subtitle(result))}</p>",
            partial,
            f'<img alt="both images, and what was gained, lost and stable" src="data:image/png;base64,{shown}">',
            section("Where both dates were observed", classes_table(result)),
            section(
                "From A to B", matrix_table(result), note="Rows are A, columns are B; where both dates were observed."
            ),
            section("Who observed what", observed_table(result)),
            section("To know", items(result["notes"])),
            section("How", runs_table(result)),
        ]
    )
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>{MORE}{body}"


def subtitle(result: dict[str, Any]) -> str:
    """The grid and the method."""
    grid = result["grid"]
    (height, width), (y, x) = grid["shape_px"], grid["pixel_size"]
    kept = (
        "nothing resampled"
        if grid["resampled"] is None
        else f"{grid['resampled'].upper()} resampled by nearest neighbour"
    )
    return (
        f"grid of {grid['of'].upper()}: {height:,} x {width:,} px of {y:.4g} x {x:.4g} {grid['unit']}; {kept}; "
        f"areas {result['area']['method']}"
    )


def classes_table(result: dict[str, Any]) -> Html:
    """Every class: what was mapped, and how far the gates may have moved it."""
    rows: list[list[str | None]] = []
    for row in result["classes"]:
        name = row["name"] if row["in"] == "both" else f"{row['name']} (looked for at {row['in'].upper()} only)"
        for key, shown in (("a", name), ("b", "")):
            rows.append([shown, f"at {key.upper()}", area_of(row[key]["area"], result), None, None])
        rows += [
            ["", kind, *(area_of(row[kind][key], result) for key in ("area", "low", "high"))]
            for kind in ("stable", "gained", "lost", "net")
            if row[kind] is not None
        ]
    return table(["class", "", "as mapped", "at least", "at most"], rows, words=2)


def matrix_table(result: dict[str, Any]) -> Html:
    """Areas from A to B."""
    names = result["matrix"]["names"]
    rows = [[name, *(area_of(area, result) for area in row)]
            for name, row in zip(names, result["matrix"]["area"], strict=True)]  # fmt: skip
    return table(["", *names], rows)


def observed_table(result: dict[str, Any]) -> Html:
    """The grid, all of it; and what only a gate's word stands for."""
    area = result["area"]
    rows = [[text, area_of(area[key], result), area["pixels"][key]] for key, text in OBSERVED.items()]
    for key in ("a", "b"):
        told = f"of both: background at {key.upper()} because the gate rejected its tile and nobody looked"
        rows.append([told, area_of(area["rejected"][key], result), None])
    return table(["", "area", "pixels"], rows)


def runs_table(result: dict[str, Any]) -> Html:
    """The two runs."""
    keys = ("date", "date_from", "run", "image", "recipe", "status", "fingerprint")
    rows = [
        [key.replace("_", " "), *(str(result[which][key] or "\N{EN DASH}") for which in ("a", "b"))] for key in keys
    ]
    return table(["", "A", "B"], rows, words=3)
