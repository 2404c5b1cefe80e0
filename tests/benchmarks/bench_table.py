"""The table: markdown from the JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench_goals import KINDS, Measurements, goals, ideals, series, stage_seconds
from bench_timing import median, ratio, spread

MET = {True: "yes", False: "**no**", None: "-"}
NOTES = """
- Whole process: from the start of the command to its end, interpreter, imports, hashing of the image, report included.
- Figures are medians [lowest-highest] of interleaved rounds in one session; ratios come from the same rounds.
- Both sides: halo 0, no audit, tiles of 512 px, the same weights. tilegate also keeps the pixels it looked at (its
  default); the plain loop writes only the mask.
- Plain loop: openslide or rasterio in a DataLoader with as many workers as are fastest here, torch fp32, batch 4, all
  cores (plain_loop.py).
- The gate has random weights: the share of positives is set by its threshold, so it says nothing about recall.
- The slide and the COG hold the same synthetic pixels. All files are in the page cache.
- expected = T_none + p (T_all - T_none); efficiency = expected / measured: start-up, plan and gate are in T_none.
  c = gate seconds per tile / segmenter seconds per tile (summary.json, "seconds"); ideal = 1/(c + p); "stages" is the
  speed-up of those seconds, "whole" that of whole processes, start-up included.
- Peak memory: highest sampled sum of PSS over the process tree (Linux, ten looks a second).
- Sizes: one patch of 4,096 px repeated, every TIFF tile points to one of its few hundred JPEG segments; the file stays
  small, so hashing it costs nothing here. "ms/positive" is (some - none) / positives: where positives are few, loading
  the U-Net is most of it; compare rows with as many positives.
- Zarr write: the goal is judged against raw files of the pixels as they are; against the same encoded bytes see below.
- "load" is the load average before a measurement: above the number of cores somebody else was computing.
"""


def table(data: Mapping[str, Any]) -> str:
    """All of it."""
    measured: Measurements = data["measurements"]
    parts = ["# Benchmarks", machine_text(data), "## Goals", goal_table(data)]
    for kind in KINDS:
        parts += section(f"## Whole processes: {kind}", runs_table(measured, kind) + ideal_table(measured, kind))
    parts += section("## Each stage against its limit", stage_tables(measured))
    parts += section("## Cost against size", size_table(measured) + plan_lines(measured))
    parts += section("## What Prefect adds", prefect_table(measured))
    parts += section("## Peers", peer_table(measured))
    parts += section("## Failed", failures(measured))
    return "\n\n".join([*parts, "## Notes", NOTES.strip()]) + "\n"


def section(title: str, lines: Sequence[str]) -> list[str]:
    """Nothing without lines."""
    return [title, "\n".join(lines)] if lines else []


def rows(head: Sequence[str], body: Iterable[Sequence[object]]) -> list[str]:
    """A markdown table; none without a body."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in body]
    return ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines, ""] if lines else []


def machine_text(data: Mapping[str, Any]) -> str:
    """One paragraph."""
    machine, settings = data["machine"], data["settings"]
    packages = ", ".join(f"{name} {found}" for name, found in machine["packages"].items() if found)
    small = ["**`--quick`: small images; ratios do not hold for real ones.**"] if settings.get("quick") else []
    return "\n".join(
        [
            *small,
            f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['flags'])}; {machine['ram_gb']} GB; "
            f"{machine['os']}; Python {machine['python']}; {packages}; commit {machine['commit']}.",
            f"Images {settings.get('size_px')} px a side; started {data['started']}; "
            f"rounds {settings.get('rounds')}, plain loop {settings.get('plain_rounds')}; "
            f"--set: {' '.join(settings.get('set', [])) or 'none'}.",
        ]
    )


def goal_table(data: Mapping[str, Any]) -> str:
    """Goal, figure, met."""
    found = goals(data)
    met, judged = sum(goal.met is True for goal in found), sum(goal.met is not None for goal in found)
    body = [(goal.name, goal.wanted, goal.found, MET[goal.met]) for goal in found]
    return "\n".join([f"{met} of {judged} measured goals met.", *rows(("goal", "wanted", "found", "met"), body)])


def runs_table(measured: Measurements, kind: str) -> list[str]:
    """Every share of positives."""
    plain = series(measured, f"plain/{kind}")
    everything = series(measured, f"runs/{kind}/all")
    body = []
    if plain:
        body.append(["plain loop", spread(plain, 1), "1x", "", *common(measured, f"plain/{kind}", [])])
    names = dict.fromkeys(key.split("/")[2] for key in measured if key.startswith(f"runs/{kind}/"))
    for name in names:
        own = series(measured, f"runs/{kind}/{name}")
        if own:
            against = [f"{ratio(slow, own):.1f}x" if slow else "-" for slow in (plain, everything)]
            title = {"none": "nothing passes", "all": "segment everything"}.get(name, f"{name} % positive")
            body.append([title, spread(own), *against, *common(measured, f"runs/{kind}/{name}", ["gate", "segment"])])
    head = ("", "seconds", "vs plain", "vs all", "CPU s", "peak MB", "tiles", "stages s", "runtimes", "load")
    return rows(head, body)


def common(measured: Measurements, prefix: str, stages: Sequence[str]) -> list[str]:
    """CPU seconds, peak memory, tiles, stages, runtimes and load of a measurement."""
    found = [f for key, f in measured.items() if key.startswith(f"{prefix}/round-") and "error" not in f]
    some = found[0] if found else {}
    seconds = " + ".join(f"{stage_seconds(measured, prefix, stage):.2f}" for stage in stages)
    runtimes = ", ".join(str(name) for name in some.get("runtimes", {}).values() if name)
    tiles = f"{some['positive']} of {some['tiles']}" if "positive" in some else str(some.get("tiles", ""))
    return [
        spread(series(measured, prefix, "cpu_s"), 1),
        f"{max(series(measured, prefix, 'peak_bytes')) / 1e6:.0f}",
        tiles,
        seconds,
        runtimes,
        f"{max(f.get('load_before', 0) for f in found):.1f}",
    ]


def ideal_table(measured: Measurements, kind: str) -> list[str]:
    """Gated against segment-everything."""
    body = [
        (
            f"{100 * row['p']:.1f} %",
            f"{row['measured_s']:.2f}",
            f"{row['expected_s']:.2f}",
            f"{100 * row['efficiency']:.0f} %",
            f"{row['ideal_x']:.1f}x",
            f"{row['stages_x']:.1f}x",
            f"{100 * row['strict']:.0f} %",
            f"{row['whole_x']:.1f}x",
        )
        for row in ideals(measured, kind)
    ]
    found = ideals(measured, kind)
    first = [f"c = {found[0]['c']:.4f}; start-up, plan and gate: {fixed(measured, kind)} s"] if found else []
    head = ("positive", "s", "expected s", "efficiency", "1/(c + p)", "stages", "of the ideal", "whole")
    return [*first, *rows(head, body)]


def fixed(measured: Measurements, kind: str) -> str:
    """T_none."""
    return spread(series(measured, f"runs/{kind}/none"))


def stage_tables(measured: Measurements) -> list[str]:
    """One table per stage: its cases, seconds and how they stand to the limit, the first of them."""
    lines: list[str] = []
    for key, found in measured.items():
        if key.startswith("stages/") and found.get("seconds"):
            limit = next(iter(found["seconds"].values()))
            body = [
                (name, spread(seconds, 3), f"{found['units'] / median(seconds):.4g}", f"{ratio(limit, seconds):.2f}x")
                for name, seconds in found["seconds"].items()
            ]
            head = (key.removeprefix("stages/"), "seconds", f"{found['unit']}/s", "vs the first")
            lines += [found.get("what", ""), *rows(head, body)]
    return lines


def size_table(measured: Measurements) -> list[str]:
    """Time and memory over the side of the image."""
    body = []
    for size in sorted({int(key.split("/")[1]) for key in measured if key.startswith("size/")}):
        none, some = (f"size/{size}/{name}" for name in ("none", "some"))
        seconds = [series(measured, prefix) for prefix in (none, some)]
        if all(seconds):
            tiles, positive = (series(measured, some, field)[0] for field in ("tiles", "positive"))
            peaks = [max(series(measured, prefix, "peak_bytes")) / 1e6 for prefix in (none, some)]
            body.append(
                (
                    f"{size:,}",
                    f"{tiles:,.0f}",
                    f"{positive:,.0f}",
                    *map(spread, seconds),
                    f"{1e3 * (median(seconds[1]) - median(seconds[0])) / max(positive, 1):.1f}",
                    f"{1e3 * stage_seconds(measured, none, 'gate') / tiles:.2f}",
                    *(f"{peak:.0f}" for peak in peaks),
                )
            )
    head = (
        "px",
        "tiles",
        "positive",
        "none s",
        "some s",
        "ms/positive",
        "gate ms/tile",
        "peak MB none",
        "peak MB some",
    )
    return rows(head, body)


def plan_lines(measured: Measurements) -> list[str]:
    """`tilegate plan` on a million tiles."""
    found = measured.get("plan/million", {})
    if "wall_s" not in found:
        return []
    return [
        f"`tilegate plan` of {found['tiles']:,} tiles ({found['size_px']:,} px a side): {found['wall_s']:.1f} s, "
        f"{found['peak_bytes'] / 1e6:.0f} MB, {found['spans']} spans; it foresees {found['minutes']:.0f} minutes."
    ]


def prefect_table(measured: Measurements) -> list[str]:
    """The same run through both engines."""
    local, engine = (series(measured, f"prefect/{name}") for name in ("local", "prefect"))
    body = [
        (name, spread(seconds), *common(measured, f"prefect/{name}", ["gate", "segment"]))
        for name, seconds in (("local", local), ("prefect", engine))
        if seconds
    ]
    lines = rows(("engine", "seconds", "CPU s", "peak MB", "tiles", "stages s", "runtimes", "load"), body)
    if local and engine:
        stages = [stage_seconds(measured, f"prefect/{name}", "gate", "segment") for name in ("local", "prefect")]
        lines.append(
            f"Prefect adds {stages[1] - stages[0]:+.2f} s to the same spans (stages), and {median(engine) - median(local):+.2f} s "
            "to the whole process: its import, the flow run and the artifacts. The server was up before and is not counted."
        )
    return lines


def peer_table(measured: Measurements) -> list[str]:
    """What was installed of them."""
    body = []
    for key, found in measured.items():
        if key.startswith("peers/"):
            text = f"{found['wall_s']:.1f}" if "wall_s" in found else found.get("note", found.get("error", ""))[:160]
            peak = f"{found['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in found else ""
            body.append((key.removeprefix("peers/"), text, found.get("pixels", ""), peak))
    return rows(("peer", "seconds", "pixels", "peak MB"), body)


def failures(measured: Measurements) -> list[str]:
    """What did not run, and why."""
    return [f"- {key}: {found['error'][:400]}" for key, found in measured.items() if "error" in found]
