"""Zones as people read them: on the page and in a terminal. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from flows.display import area_text
from flows.pages.html_parts import Cell, Html, items, section, table
from flows.zones.areas import warnings_of

MOST_ROWS = 300
"""Zones on the page; zones.csv has them all."""


def zones_section(summary: dict[str, Any], picture: str = "") -> Html:
    """The table, what overlaps and what was not on the image; nothing where no zones were asked for.

    picture: a map as HTML, such as flows/zones/map.py draws.
    """
    block = summary.get("zones")
    if block is None:
        return Html("")
    rows = cells(block["rows"][:MOST_ROWS], summary)
    left = len(block["rows"]) - MOST_ROWS
    more = [f"{left:,} more zones: see zones.csv."] if left > 0 else []
    shared = [
        f"{' and '.join(row['names'])} share {area_text(row['area'], summary)}."
        for row in block["overlaps"][:MOST_ROWS]
    ]
    return section(
        "Zones",
        picture,
        table(head(block), rows),
        items([*warnings_of(block), *shared, *more]),
        note=f"{block['path'].rsplit('/', 1)[-1]}; pixels at borders count by the share that lies inside. {block['missed']}",
    )


def head(block: dict[str, Any]) -> list[str]:
    """Titles of the columns."""
    classes = [each["name"] for each in block["rows"][0]["classes"]] if block["rows"] else []
    beyond = ["outside the area of interest"] if _has_aoi(block["rows"]) else []
    return ["zone", *classes, "observed", "not observed", *beyond, "outside the image"]


def _has_aoi(rows: Sequence[dict[str, Any]]) -> bool:
    return any("outside_aoi" in row for row in rows)


def cells(rows: Sequence[dict[str, Any]], summary: dict[str, Any]) -> list[list[Cell]]:
    """One row per zone; zones of the same name are told apart by their number."""
    names = Counter(row["name"] for row in rows)
    told = ("observed", "not_observed", *(["outside_aoi"] if _has_aoi(rows) else []), "outside")
    return [
        [
            row["name"] if names[row["name"]] == 1 else f"{row['name']} ({row['zone']})",
            *(area_text(each["mapped"], summary) for each in row["classes"]),
            *(area_text(row[key], summary) for key in told),
        ]
        for row in rows
    ]


def zone_lines(block: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """The same for a terminal, in columns."""
    lines = [head(block), *([str(cell) for cell in row] for row in cells(block["rows"], summary))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    ]
    return [*shown, "", block["missed"], *warnings_of(block)]
