"""What was not observed, where and why: for a terminal, a program, a page and Prefect. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from downstream.summary import UNSEEN
from flows.display import area_text
from flows.zones.aoi import areas_of_interest
from storage.plan import RunPlan
from tiling.pixel_area import PixelAreas, window_area
from tiling.record import TileRecord
from tiling.window import Window

NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
NOWHERE = "rows …-… columns …-… "
"""What is left of windows that differ; they are told beside the reason."""
MOST_LINES, MOST_ROWS, MOST_WINDOWS, MOST_LETTERS = 20, 200, 8, 500
"""Reasons in a terminal, reasons in a table, windows of a reason, letters of a reason: one page stays one page."""


def holes_of(plan: RunPlan, tiles: Sequence[TileRecord]) -> list[dict[str, Any]]:
    """Tiles nobody observed, by state and reason, the most first: {"state", "reason", "tiles", "area", "windows"}.

    Reasons that differ in their numbers only (rows, columns, offsets) are one, with "…" where the numbers differ.
    area: m2 or um2. windows: [y, x, height, width] of every tile, px of the fine plane.
    """
    groups: dict[tuple[str, str], list[TileRecord]] = defaultdict(list)
    for tile in tiles:
        if tile.state in UNSEEN:
            groups[tile.state.value, NUMBER.sub("\0", tile.reason)].append(tile)
    areas = areas_of_interest(plan)
    holes = [_hole(plan, areas, members) for members in groups.values()]
    return sorted(holes, key=lambda hole: (-hole["tiles"], hole["state"], hole["reason"]))


def _hole(plan: RunPlan, areas: PixelAreas, members: Sequence[TileRecord]) -> dict[str, Any]:
    cores = [plan.grid.tile(tile.row, tile.col).core for tile in members]
    return {
        "state": members[0].state.value,
        "reason": shared_reason([tile.reason.replace(f"{plan.image.uri} ", "") for tile in members]).replace(
            NOWHERE, ""
        ),
        "tiles": len(members),
        "area": math.fsum(window_area(areas, core) for core in cores),
        "windows": [[core.y, core.x, core.height, core.width] for core in cores],
    }


def shared_reason(reasons: Sequence[str]) -> str:
    """One text for reasons that differ in numbers only: "…" for each number they do not share."""
    columns = zip(*(NUMBER.findall(reason) for reason in reasons), strict=True)
    numbers = iter([found[0] if len(set(found)) == 1 else "…" for found in columns])
    return NUMBER.sub(lambda _: next(numbers), reasons[0])


def merged(windows: Sequence[Sequence[int]]) -> list[Window]:
    """Windows [y, x, height, width] joined along rows, then equal runs of them downwards: the same pixels, in fewer."""
    runs: list[Window] = []
    for y, x, height, width in sorted(map(tuple, windows)):
        if runs and (runs[-1].y, runs[-1].height, runs[-1].x_stop) == (y, height, x):
            runs[-1] = replace(runs[-1], width=runs[-1].width + width)
        else:
            runs.append(Window(y=y, x=x, height=height, width=width))
    blocks: list[Window] = []
    for run in sorted(runs, key=lambda run: (run.x, run.width, run.y)):
        if blocks and (blocks[-1].x, blocks[-1].width, blocks[-1].y_stop) == (run.x, run.width, run.y):
            blocks[-1] = replace(blocks[-1], height=blocks[-1].height + run.height)
        else:
            blocks.append(run)
    return sorted(blocks, key=lambda block: (block.y, block.x))


def where(hole: dict[str, Any]) -> str:
    """Such as "rows 64-128 columns 0-32; and 7 more: see tiles.parquet", px of the fine plane."""
    windows = merged(hole["windows"])
    texts = [f"rows {w.y}-{w.y_stop} columns {w.x}-{w.x_stop}" for w in windows[:MOST_WINDOWS]]
    left = len(windows) - len(texts)
    return "; ".join([*texts, f"and {left:,} more: see tiles.parquet"] if left else texts)


def hole_rows(holes: Sequence[dict[str, Any]], summary: dict[str, Any], most: int = MOST_ROWS) -> list[dict[str, Any]]:
    """A table for people: one row per reason, short enough for any page."""
    rows = [
        {
            "tiles": f"{hole['tiles']:,}",
            "area": area_text(hole["area"], summary),
            "state": hole["state"],
            "where": where(hole),
            "reason": _one_line(hole["reason"]),
        }
        for hole in holes[:most]
    ]
    rest = holes[most:]
    if rest:
        tiles, area = sum(hole["tiles"] for hole in rest), math.fsum(hole["area"] for hole in rest)
        more = f"and {len(rest):,} more reasons: see tiles.parquet"
        rows.append({"tiles": f"{tiles:,}", "area": area_text(area, summary), "state": "", "where": "", "reason": more})
    return rows


def hole_lines(holes: Sequence[dict[str, Any]], summary: dict[str, Any]) -> list[str]:
    """The same for a terminal."""
    return [
        f"  {row['tiles']} x {row['state']} ({row['area']}): {row['reason']} [{row['where']}]"
        if row["where"]
        else f"  {row['tiles']} ({row['area']}) {row['reason']}"
        for row in hole_rows(holes, summary, MOST_LINES)
    ]


def _one_line(reason: str) -> str:
    text = " ".join(reason.split())
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
