"""From measurements to the goals: pure. Every goal with its figure, and whether it was met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench_timing import median, ratio

Measurements = Mapping[str, Mapping[str, Any]]
KINDS = ("slide", "cog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One line of the table."""

    name: str
    """What."""
    wanted: str
    """The goal, such as ">= 60x"."""
    found: str
    """The figure."""
    met: bool | None
    """None where it was not measured."""


def series(measured: Measurements, prefix: str, field: str = "wall_s") -> list[float]:
    """A field of every round of a measurement, in the order of the rounds; failed rounds are left out."""
    found = [(key, figures) for key, figures in measured.items() if key.startswith(f"{prefix}/round-")]
    return [float(figures[field]) for _, figures in sorted(found) if field in figures]


def goals(data: Mapping[str, Any]) -> list[Goal]:
    """All of them, in the order of the issue."""
    measured: Measurements = data["measurements"]
    amx = "amx_bf16" in data["machine"]["flags"]
    found = [*_against_plain(measured, amx), *_against_itself(measured), *_shares(measured)]
    return [*found, *_stages(measured), _peak(measured), _flat(measured), *_same(measured)]


def _against_plain(measured: Measurements, amx: bool) -> Iterator[Goal]:
    """Whole processes against the plain loop."""
    for kind in KINDS:
        plain = series(measured, f"plain/{kind}")
        tiles = measured.get(f"gate/{kind}", {}).get("tiles", 0)
        fewer = "" if tiles >= 1000 else f" ({tiles} tiles: the goal is for 1,000 and more)"
        least = {"all": 9.0 if amx else 1.5, "10": 60.0, "5": 100.0, "2": 150.0}
        for name, wanted in least.items():
            own = series(measured, f"runs/{kind}/{name}")
            what = f"segment everything ({'with' if amx else 'without'} AMX)" if name == "all" else f"{name} % positive"
            yield _at_least(f"{kind}: {what} vs the plain loop{fewer}", plain, own, wanted)


def _at_least(name: str, slow: list[float], fast: list[float], wanted: float) -> Goal:
    """A goal of a speed-up."""
    if not (slow and fast):
        return Goal(name=name, wanted=f">= {wanted:g}x", found="not measured", met=None)
    found = ratio(slow, fast)
    return Goal(name=name, wanted=f">= {wanted:g}x", found=f"{found:.{1 if found >= 2 else 2}f}x", met=found >= wanted)


def _against_itself(measured: Measurements) -> Iterator[Goal]:
    """Gated against its own segment-everything: the ideal is 1 / (c + p)."""
    for kind in KINDS:
        rows = [row for row in ideals(measured, kind) if row["p"] <= 0.5]
        for key, how in (("efficiency", "start-up counted apart"), ("strict", "stages only, without start-up")):
            name = f"{kind}: gated vs 1/(c + p), worst of the shares, {how}"
            if not rows:
                yield Goal(name=name, wanted=">= 85 %", found="not measured", met=None)
                continue
            worst = min(rows, key=lambda row: row[key])
            text = f"{100 * worst[key]:.0f} % (at {100 * worst['p']:.1f} % positive)"
            yield Goal(name=name, wanted=">= 85 %", found=text, met=worst[key] >= 0.85)


def ideals(measured: Measurements, kind: str) -> list[dict[str, float]]:
    """Per share of positives: measured and ideal seconds and speed-ups.

    expected = T_none + p (T_all - T_none) seconds of the whole process, T_none = start-up, plan and gate;
    efficiency = expected / measured. c = gate seconds per tile / segmenter seconds per tile, from the stages of the
    same runs; strict = (speed-up of the stages' seconds) / (1 / (c + p)); whole = the same with whole processes.
    """
    none, everything = (series(measured, f"runs/{kind}/{name}") for name in ("none", "all"))
    tiles = measured.get(f"gate/{kind}", {}).get("tiles")
    if not (none and everything and tiles):
        return []
    gate_s, segment_s = (
        stage_seconds(measured, f"runs/{kind}/none", "gate"),
        stage_seconds(measured, f"runs/{kind}/all", "segment"),
    )
    c, rows = gate_s / segment_s, []
    for name in sorted(
        {key.split("/")[2] for key in measured if key.startswith(f"runs/{kind}/")} - {"none", "all"}, key=int
    ):
        whole = series(measured, f"runs/{kind}/{name}")
        positive = series(measured, f"runs/{kind}/{name}", "positive")
        if not whole:
            continue
        p, stages = positive[0] / tiles, stage_seconds(measured, f"runs/{kind}/{name}", "gate", "segment")
        expected = median(none) + p * (median(everything) - median(none))
        ideal = 1 / (c + p)
        rows.append(
            {
                "p": p,
                "c": c,
                "measured_s": median(whole),
                "expected_s": expected,
                "efficiency": expected / median(whole),
                "ideal_x": ideal,
                "whole_x": median(everything) / median(whole),
                "stages_x": segment_s / stages,
                "strict": segment_s / stages / ideal,
            }
        )
    return rows


def stage_seconds(measured: Measurements, prefix: str, *stages: str) -> float:
    """Median seconds of some stages of a run, from its summary."""
    rounds = [f["stage_s"] for key, f in measured.items() if key.startswith(f"{prefix}/round-") and "stage_s" in f]
    return median([sum(float(seconds[stage]) for stage in stages) for seconds in rounds])


def _shares(measured: Measurements) -> Iterator[Goal]:
    """Orchestration and storage, from inside.py."""
    for kind in KINDS:
        name = f"{kind}: orchestration + storage of a gated run at 5 %"
        found = measured.get(f"inside/{kind}", {})
        if "whole_s" not in found:
            yield Goal(name=name, wanted="<= 10 %", found="not measured", met=None)
            continue
        share = 1 - 1 / ratio(found["whole_s"], found["bare_s"])
        cpu = 1 - 1 / ratio(found["whole_cpu_s"], found["bare_cpu_s"])
        report = median(found["whole_s"]) - median(found["stages_s"])
        text = f"{100 * share:.1f} % of the time, {100 * cpu:.1f} % of the CPU; summary and report are {report:.2f} s of it"
        yield Goal(name=name, wanted="<= 10 %", found=text, met=share <= 0.10)


def _stages(measured: Measurements) -> Iterator[Goal]:
    """Reading and writing against their limits."""
    reads = measured.get("stages/decode-slide", {}).get("seconds", {})
    name = "reading dense JPEG tissue vs openslide, one core"
    yield _at_least(name, reads.get("openslide", []), reads.get("tilegate", []), 5.0)
    for what in ("mask-dense", "mask-sparse", "pixels-dense", "pixels-sparse"):
        writes = measured.get(f"stages/write-{what}", {}).get("seconds", {})
        name = f"Zarr write vs raw write + rename of the pixels as they are: {what.replace('-', ', ')}"
        yield _at_least(name, writes.get("raw, not encoded", []), writes.get("tilegate", []), 0.8)


def peaks(measured: Measurements) -> dict[str, float]:
    """Peak memory of every measured tilegate run, bytes."""
    own = ("runs/", "same/", "size/", "prefect/")
    return {key: f["peak_bytes"] for key, f in measured.items() if key.startswith(own) and f.get("peak_bytes")}


def _peak(measured: Measurements) -> Goal:
    """The worst of all runs."""
    name, found = "peak memory of the process tree, without the Prefect server, at any size", peaks(measured)
    if not found:
        return Goal(name=name, wanted="<= 1 GB", found="not measured", met=None)
    worst = max(found, key=lambda key: found[key])
    return Goal(name=name, wanted="<= 1 GB", found=f"{found[worst] / 1e9:.2f} GB ({worst})", met=found[worst] <= 1e9)


def _flat(measured: Measurements) -> Goal:
    """Peak memory over the size of the image, 8k to 64k."""
    name, wanted = "peak memory flat from 8k to 64k px a side", "within 10 %"
    sizes = {int(key.split("/")[1]) for key in measured if key.startswith("size/")}
    rounds = {size: series(measured, f"size/{size}/some", "peak_bytes") for size in sizes}
    by_size = {size: max(found) for size, found in rounds.items() if found}
    inside = {size: peak for size, peak in by_size.items() if 8_000 <= size <= 70_000}
    if len(inside) < 2:
        return Goal(name=name, wanted=wanted, found="not measured", met=None)
    growth = inside[max(inside)] / inside[min(inside)] - 1
    spread = max(inside.values()) / min(inside.values()) - 1
    text = f"{min(inside):,} to {max(inside):,} px: {100 * growth:+.0f} %, widest apart {100 * spread:.0f} %"
    return Goal(name=name, wanted=wanted, found=text, met=spread <= 0.10)


def _same(measured: Measurements) -> Iterator[Goal]:
    """Threads and spans change nothing; and the plain loop counts the same pixels."""
    for kind in KINDS:
        found = {key: f for key, f in measured.items() if key.startswith(f"same/{kind}/")}
        good = [(f["summary_sha256"], f["shards"]) for f in found.values() if "shards" in f]
        failed = len(found) - len(good)
        text = f"{len(good)} runs, {len(set(good))} different results" + (f", {failed} failed" if failed else "")
        met = None if not found else len(set(good)) == 1 and len(good) > 1 and not failed
        yield Goal(
            name=f"{kind}: same summary and mask for 1 or 4 threads and any spans",
            wanted="always",
            found=text if found else "not measured",
            met=met,
        )
        yield _agreement(measured, kind)


def _agreement(measured: Measurements, kind: str) -> Goal:
    """Positive pixels of segment-everything against those of the plain loop."""
    name, wanted = f"{kind}: pixels of segment-everything vs the plain loop", "within 0.5 %"
    own, plain = series(measured, f"runs/{kind}/all", "pixels"), series(measured, f"plain/{kind}", "pixels")
    if not (own and plain):
        return Goal(name=name, wanted=wanted, found="not measured", met=None)
    off = own[0] / plain[0] - 1 if plain[0] else float("inf")
    return Goal(
        name=name, wanted=wanted, found=f"{100 * off:+.3f} % ({own[0]:,.0f} / {plain[0]:,.0f})", met=abs(off) <= 0.005
    )
