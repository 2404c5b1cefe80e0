"""A change as people read it, in a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from flows.display import area_text

OBSERVED = {
    "both": "observed at both dates: all figures are of this",
    "only_a": "observed at A only",
    "only_b": "observed at B only",
    "neither": "observed at neither",
}


def area_of(area: float, result: dict[str, Any]) -> str:
    """Such as "1,234.5 ha", signed where it is less than nothing."""
    return f"-{area_text(-area, result)}" if area < 0 else area_text(area, result)


def date_names(result: dict[str, Any]) -> tuple[str, str]:
    """The dates where both are known and differ, else the names of the images, else A and B."""
    dates = result["a"]["date"], result["b"]["date"]
    if all(dates) and dates[0] != dates[1]:
        return dates
    names = tuple(PurePosixPath(result[key]["image"].split(",")[0]).name for key in ("a", "b"))
    return (names[0], names[1]) if names[0] != names[1] else ("A", "B")


def range_text(found: dict[str, Any] | None, result: dict[str, Any]) -> str:
    """Such as "12.3 ha (11 ha to 20 ha)": only the figure where the gates cannot have moved it."""
    if found is None:
        return "unknown"
    text = area_of(found["area"], result)
    if found["low"] == found["area"] == found["high"]:
        return text
    return f"{text} ({area_of(found['low'], result)} to {area_of(found['high'], result)})"


def change_text(result: dict[str, Any]) -> str:
    """The whole result for a terminal."""
    names = date_names(result)
    lines = [f"{key.upper()}: {result[key]['run']} ({name})" for key, name in zip("ab", names, strict=True)]
    whence = [
        f"{key.upper()} {result[key]['date']} by {result[key]['date_from']}" for key in "ab" if result[key]["date"]
    ]
    lines += [f"dates: {', '.join(whence)}"] * bool(whence) + [""]
    absent = [row["name"] for row in result["classes"] if not row["a"]["pixels"] and not row["b"]["pixels"]]
    for row in result["classes"]:
        if row["name"] in absent:
            continue
        lines.append(f"{row['name']}: A {area_of(row['a']['area'], result)}, B {area_of(row['b']['area'], result)}")
        if row["in"] == "both":
            lines += [f"  {kind:7} {range_text(row[kind], result)}" for kind in ("stable", "gained", "lost", "net")]
        else:
            lines.append(f"  only {row['in'].upper()} looks for it: neither gained nor lost")
    lines += [f"at neither date: {', '.join(absent)}"] if absent else []
    lines += ["", *matrix_lines(result, absent), ""]
    lines += [f"{area_of(result['area'][key], result):>16}  {text}" for key, text in OBSERVED.items()]
    lines.append(f"{'':16}  areas {result['area']['method']}")
    lines += ["", *(f"- {note}" for note in result["notes"])]
    if result["status"] == "partial":
        lines += ["", f"PARTIAL: {failed_text(result)}"]
    return "\n".join(lines)


def failed_text(result: dict[str, Any]) -> str:
    """What a run should have seen and did not."""
    failed = result["area"]["failed"]
    parts = [f"{area_of(failed[key], result)} at {key.upper()}" for key in ("a", "b") if failed[key]]
    return (
        f"{' and '.join(parts)} were not observed because tiles could not be read, failed or were not done; no figure "
        "says anything about them. tilegate resume tries them again."
    )


def matrix_lines(result: dict[str, Any], absent: Sequence[str] = ()) -> list[str]:
    """From A (rows) to B (columns), without the classes that are absent."""
    names = result["matrix"]["names"]
    kept = [i for i, name in enumerate(names) if i == 0 or name not in absent]
    wide = max(16, *(len(name) + 2 for name in names))
    rows = [
        "".join([f"{names[i]:<{wide}}", *(f"{area_of(result['matrix']['area'][i][j], result):>{wide}}" for j in kept)])
        for i in kept
    ]
    return ["".join([f"{'from A to B':<{wide}}", *(f"{names[i]:>{wide}}" for i in kept)]), *rows]
