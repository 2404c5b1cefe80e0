"""report.html: a run on one page that needs nothing else, and can be mailed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from flows.display import (
    area_text,
    bound_text,
    claim_text,
    domain_text,
    funnel_lines,
    glass_text,
    is_foreign,
    recall_text,
    rows,
)
from flows.holes import hole_rows, holes_of
from flows.objective import objective_warning
from flows.radiometry import radiometry_text
from flows.zones.kept import zones_of
from flows.zones.map import zones_map
from flows.zones.page import zones_section
from storage.run import Run
from tiling.record import TileRecord

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c2026;max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}img{width:100%;border:1px solid #dde}
table{border-collapse:collapse;width:100%}td,th{padding:.35rem .6rem;border-bottom:1px solid #e4e7ea;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.sub{color:#6e7680}
.bar{background:#f08c1e;height:.7rem;display:inline-block;min-width:1px}
.partial{background:#fde8e8;border-left:4px solid #cd1e28;padding:.6rem 1rem;margin:1rem 0}
code{font-size:.85em;overflow-wrap:anywhere}
"""


def render_report(run: Run, tiles: Sequence[TileRecord], summary: dict[str, Any], overview: bytes) -> str:
    """The whole page as HTML. overview: the picture as PNG."""
    picture = base64.b64encode(overview).decode()
    image = summary["image"]
    title = f"{summary['recipe']}: {image['uri'].split('/')[-1]}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=sub>{image['shape_px'][0]:,} x {image['shape_px'][1]:,} px of "
        f"{image['pixel_size'][0]:.4g} x {image['pixel_size'][1]:.4g} {image['unit']}; "
        f"areas {escape(summary['area']['method'])}</p>",
        _warning(summary),
        f'<img alt="image, gate map and mask" src="data:image/png;base64,{picture}">',
        "<h2>Areas</h2>" + _areas(summary),
        zones_section(summary, _map(run, summary)),
        "<h2>Where every tile ended</h2>" + _funnel(summary),
        _holes(run, tiles, summary),
        "<h2>How</h2>" + _provenance(summary),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>{body}"
    )


def _map(run: Run, summary: dict[str, Any]) -> str:
    zones = zones_of(run) if "zones" in summary else None
    return "" if zones is None else zones_map(zones, run.plan.image.shape_px, summary["zones"])


def _warning(summary: dict[str, Any]) -> str:
    told = []
    if summary["status"] != "complete":
        lost = area_text(summary["area"]["not_observed"], summary)
        told.append(f"<b>Partial.</b> {lost} were not observed; the areas below say nothing about them.")
    if objective_warning(summary["image"]):
        told.append(f"<b>Which pixel size?</b> {escape(objective_warning(summary['image']))}.")
    if is_foreign(summary):
        told.append(f"<b>A strange image.</b> It is {escape(domain_text(summary))}.")
    if glass_text(summary):
        told.append(f"<b>More than there is tissue.</b> {escape(glass_text(summary))}.")
    return "".join(f"<p class=partial>{text}</p>" for text in told)


def _areas(summary: dict[str, Any]) -> str:
    lines = [
        f"<tr><td>{escape(row['name'])}<td class=n>{area_text(row['mapped'], summary)}"
        f"<td class=n>{row['pixels']:,}<td>{escape(bound_text(row, summary))}"
        for row in rows(summary)
    ]
    area = summary["area"]
    totals = {
        "tissue": area.get("tissue"),
        "observed, at most" if "observed_at_most" in area else "observed": area["observed"],
        "area of interest": area.get("aoi", {}).get("area"),
        "whole image": area["image"],
    }
    lines += [
        f"<tr class=sub><td>{name}<td class=n>{area_text(value, summary)}<td><td>"
        for name, value in totals.items()
        if value is not None
    ]
    return f"<table><tr><th>class<th class=n>mapped<th class=n>pixels<th>the gate may have missed (95 %){''.join(lines)}</table>"


def _funnel(summary: dict[str, Any]) -> str:
    total = max(summary["tiles"]["total"], 1)
    lines = [
        f"<tr><td>{name}<td class=n>{count:,}<td class=n>{100 * count / total:.1f} %"
        f"<td><span class=bar style='width:{150 * count / total:.0f}px'></span> {text}"
        for name, count, text in funnel_lines(summary)
    ]
    lines.append(f"<tr><td>total<td class=n>{total:,}<td><td>{summary['tiles']['audited']:,} negatives were audited")
    return f"<table>{''.join(lines)}</table>"


def _holes(run: Run, tiles: Sequence[TileRecord], summary: dict[str, Any]) -> str:
    lines = [
        f"<tr><td class=n>{row['tiles']}<td class=n>{row['area']}<td>{row['state']}<td>{row['where']}"
        f"<td>{escape(row['reason'])}"
        for row in hole_rows(holes_of(run.plan, tiles), summary)
    ]
    head = "<h2>Not observed</h2><table><tr><th class=n>tiles<th class=n>area<th>state<th>where (px)<th>reason"
    return f"{head}{''.join(lines)}</table>" if lines else ""


def _provenance(summary: dict[str, Any]) -> str:
    gate, segmenter = summary["gate"], summary["segmenter"]
    facts = {
        "gate": f"{gate['model']}, threshold {gate['threshold']:g}{recall_text(gate)}",
        "the image is": domain_text(summary),
        "segmenter": segmenter["model"],
        "cut": segmenter["cut"] if segmenter["cut"] is not None else "",
        "ran on": ", ".join(dict.fromkeys(filter(None, (gate.get("runtime"), segmenter.get("runtime"))))),
        "observed": claim_text(summary),
        "read by": summary["image"].get("reader", ""),
        "reflectance": radiometry_text(summary["image"]),
        "fingerprint": summary["fingerprint"],
        "versions": ", ".join(f"{name} {number}" for name, number in summary["versions"].items()),
        "seconds": ", ".join(f"{name} {value}" for name, value in summary["seconds"].items()),
    }
    return (
        "<table>"
        + "".join(
            f"<tr><td>{name}<td><code>{escape(str(value))}</code>" for name, value in facts.items() if value != ""
        )
        + "</table>"
    )
