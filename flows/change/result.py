"""A comparison as plain values: change.json, change.csv, and what people are told with it. Pure."""

from __future__ import annotations

import csv
import io
from typing import Any

from downstream.area import AreaCount
from downstream.change import Interval, Known, class_change
from flows.change.compare import Compared
from flows.change.dates import other_date_note, taken
from flows.change.reading import Seen
from flows.display import convert
from flows.results import crs_name

KINDS = ("stable", "gained", "lost", "net")
SHIFTED = (
    "Nobody checked how well the two images lie on each other: where they are off by one pixel, every outline shows as "
    "gained on one side and lost on the other. Gained and lost hold that, net hardly does."
)
ALL_SEEN = (
    "No gate left anything out: low and high are the figure itself. They say nothing about errors of the segmenters."
)
AUDITED = (
    "low and high say what the gates may have missed in the tiles they rejected: of each run at its audit's confidence "
    "(95 %), so of both together at 90 % or more. They say nothing about errors of the segmenters."
)
NOT_AUDITED = (
    "low and high say what may lie in tiles that a gate rejected and nobody looked at; without an audit that is all of their "
    "area. They say nothing about errors of the segmenters."
)


def change_result(a: Seen, b: Seen, found: Compared) -> dict[str, Any]:
    """The contract of change.json: fields are added, never renamed. Areas in m2 or um2."""
    change, base = found.change, a if found.grid == "a" else b
    observed, holes, rejected = change.observed(), change.holes(), change.rejected()
    classes = [class_row(a, b, found, name) for name in change.classes]
    return {
        "schema": 1,
        "status": "partial" if holes["a"].pixels or holes["b"].pixels else "complete",
        "a": date_block(a),
        "b": date_block(b),
        "grid": grid_block(base, found),
        "area": {
            "unit": change.unit,
            "method": base.areas.method,
            "display_unit": a.summary["area"]["display_unit"],
            **{name: count.area for name, count in observed.items()},
            "pixels": {name: count.pixels for name, count in observed.items()},
            "failed": {name: count.area for name, count in holes.items()},
            "rejected": {name: count.area for name, count in rejected.items()},
        },
        "classes": classes,
        "matrix": matrix_block(found),
        "notes": notes(a, b, found),
    }


def date_block(seen: Seen) -> dict[str, Any]:
    """One of the two runs."""
    image = seen.plan.image
    date = taken(image)
    return {
        "run": seen.run.uri,
        "image": image.uri,
        "date": date.day if date else None,
        "date_from": date.whence if date else None,
        "recipe": seen.plan.name,
        "classes": list(seen.plan.classes),
        "status": seen.summary["status"],
        "fingerprint": seen.plan.fingerprint,
    }


def grid_block(base: Seen, found: Compared) -> dict[str, Any]:
    """What the areas are counted on."""
    size = base.placement.pixel_size
    return {
        "of": found.grid,
        "shape_px": list(base.placement.shape_px),
        "pixel_size": [size.y, size.x],
        "unit": size.unit,
        "crs": crs_name(base.placement.crs),
        "resampled": None if found.match.shift_px is not None else "b" if found.grid == "a" else "a",
        "shift_px": None if found.match.shift_px is None else list(found.match.shift_px),
        "accuracy_m": found.match.accuracy_m,
    }


def class_row(a: Seen, b: Seen, found: Compared, name: str) -> dict[str, Any]:
    """One entry of classes."""
    known: Known = (
        "both" if name in a.plan.classes and name in b.plan.classes else "a" if name in a.plan.classes else "b"
    )
    missed = {"a": missed_of(a, name), "b": missed_of(b, name)}
    row = class_change(found.change, name, known, missed["a"]["high"], missed["b"]["high"])
    return {
        "name": name,
        "in": known,
        "a": _plain(row.a),
        "b": _plain(row.b),
        **{kind: _between(getattr(row, kind)) for kind in KINDS},
        "missed": missed,
    }


def missed_of(seen: Seen, name: str) -> dict[str, float | None]:
    """What a run's audit says of a class in all the tiles its gate rejected; None where no audit can tell."""
    for row in seen.summary["area"]["classes"]:
        if row["name"] == name:
            return {end: row[f"missed_{end}"] for end in ("estimate", "low", "high")}
    return dict.fromkeys(("estimate", "low", "high"))


def matrix_block(found: Compared) -> dict[str, Any]:
    """From (rows) to (columns), background first, where both dates were observed."""
    rows = found.change.matrix()
    return {
        "names": ["background", *found.change.classes],
        "area": [[count.area for count in row] for row in rows],
        "pixels": [[count.pixels for count in row] for row in rows],
    }


def notes(a: Seen, b: Seen, found: Compared) -> list[str]:
    """What a reader has to know before the figures."""
    dates = [date.day if date else None for date in (taken(a.plan.image), taken(b.plan.image))]
    only = [f"{name} ({'A' if name in a.plan.classes else 'B'})" for name in found.change.classes
            if name not in a.plan.classes or name not in b.plan.classes]  # fmt: skip
    other = [
        line for line in a.plan.differences(b.plan) if line.startswith(("models.", "recipe.gate", "recipe.segment"))
    ]
    told = [
        f"A is later than B: gained means there in {dates[1]}, not in {dates[0]}." if _later(*dates) else "",
        *(other_date_note(name, seen.plan.image) for name, seen in (("A", a), ("B", b))),
        f"Looked for in one run only, so neither gained nor lost: {', '.join(only)}." if only else "",
        f"The runs were not made alike, so a change may be of the method: {'; '.join(other)}." if other else "",
        *(_lost(name, seen) for name, seen in (("A", a), ("B", b)) if seen.lost),
        grid_note(found),
        SHIFTED,
        limits_note(a, b, found),
    ]
    return [text for text in told if text]


def limits_note(a: Seen, b: Seen, found: Compared) -> str:
    """What low and high mean."""
    rejected = found.change.rejected()
    ends = [missed_of(seen, name)["high"] for seen in (a, b) for name in seen.plan.classes]
    if not rejected["a"].pixels and not rejected["b"].pixels:
        return ALL_SEEN
    return NOT_AUDITED if None in ends else AUDITED


def grid_note(found: Compared) -> str:
    """Which grid was used, and why."""
    base, other = ("A", "B") if found.grid == "a" else ("B", "A")
    if found.match.shift_px is not None:
        return "Both dates are on one grid: nothing was resampled, every pixel was compared with itself."
    known = found.match.accuracy_m
    told = "" if known is None else f" (PROJ: the change of CRS is right to {known:g} m)"
    why = "the finer of the two" if found.grid == "b" else "A's, as it is not coarser"
    return (
        f"Areas are counted on the grid of {base} ({why}); the mask of {other} was looked up there by nearest neighbour"
        f"{told}, so its outlines may be off by half a pixel."
    )


def _lost(name: str, seen: Seen) -> str:
    reason = next(iter(seen.lost.values()))
    return (
        f"Tiles of {name} with some nodata in them: {len(seen.lost):,}. Only the image knows where, and it cannot be read "
        f"({reason}), so they count as not observed."
    )


def _later(a: str | None, b: str | None) -> bool:
    """Years and days mix as far as they can: of 2020 and 2020-05-01 neither is later."""
    return bool(a and b and a[: len(b)] > b[: len(a)])


def _plain(count: AreaCount) -> dict[str, Any]:
    return {"area": count.area, "pixels": count.pixels}


def _between(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else {**_plain(found.mapped), "low": found.low, "high": found.high}


def change_csv(result: dict[str, Any]) -> str:
    """One row per class, in the display unit; empty where a class was looked for at one date only."""
    base, wanted = result["area"]["unit"], result["area"]["display_unit"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [f"{kind}{end}" for kind in KINDS for end in ("", "_low", "_high")]
    writer.writerow(["class", "in", "unit", "method", "a", "b", *columns])
    for row in result["classes"]:
        found = [row[kind] or {} for kind in KINDS]
        values = [row["a"]["area"], row["b"]["area"]]
        values += [each.get(key) for each in found for key in ("area", "low", "high")]
        texts = ["" if value is None else repr(convert(value, base, wanted)[0]) for value in values]
        writer.writerow([row["name"], row["in"], convert(None, base, wanted)[1], result["area"]["method"], *texts])
    return out.getvalue()
