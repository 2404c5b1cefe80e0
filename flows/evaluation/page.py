"""evaluation.html: how good a model is, on one page that needs nothing else, and can be mailed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from flows.evaluation.charts import area_chart, ranking_charts, reliability_chart
from flows.evaluation.keys import Evaluation
from flows.evaluation.tables import confusion, facts, headline, kind_of, per_class, per_group, recall_tables, robustness
from flows.pages.curves import CHART_STYLE
from flows.pages.html_parts import Html, items, section, shown, table
from flows.pages.report import STYLE
from flows.pages.tile_pictures import TilePicture, gallery

MOST_SKIPPED = 50

PAGE_STYLE = """
:root{color-scheme:light dark}h3{font-size:1rem;margin:1rem 0 .3rem}
.wide{overflow-x:auto}.cards{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}
.card{border:1px solid #8884;border-radius:6px;padding:.5rem .9rem;min-width:6.5rem;color:inherit;font-size:.85rem}
.card b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:1rem}figure{margin:0}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.85rem}.key{white-space:nowrap}
.gallery{display:flex;align-items:flex-start;flex-wrap:wrap;gap:1rem}figure.tile{font-size:.8rem;line-height:1.35;max-width:100%}
figure.tile img{width:auto;height:160px;max-width:100%;object-fit:contain;image-rendering:pixelated;border:1px solid #8884}
figure.tile{display:table}figure.tile figcaption{display:table-caption;caption-side:bottom;overflow-wrap:anywhere}
.name{font-weight:600}td.n{white-space:nowrap}figcaption b{font-size:.9rem}
table{font-size:.9rem}table.confusion{width:auto}table.confusion td{min-width:2.6rem}
th.tilt{vertical-align:bottom}th.tilt span{writing-mode:vertical-rl;transform:rotate(180deg);font-weight:400}
td.right{background:rgba(31,119,196,calc(var(--share)*.65))}td.wrong{background:rgba(217,95,2,calc(var(--share)*1.3))}
svg.strip{width:150px;min-width:150px;height:14px}svg.strip line{stroke-width:3}svg.strip .guide{stroke-width:1}
svg.strip line.fall{stroke:#d95f02}svg.strip line.rise{stroke:#1b9e57}
svg.strip circle.fall{fill:#d95f02}svg.strip circle.rise{fill:#1b9e57}summary{cursor:pointer;padding:.2rem 0}
@media(prefers-color-scheme:dark){body{background:#15181d;color:#e4e7ea}td,th{border-color:#343a42}.sub{color:#9aa3ad}
.partial{background:#4a1c20}img{border-color:#343a42}}
"""


def evaluation_page(evaluation: Evaluation, worst: Sequence[TilePicture] = ()) -> str:
    """The whole page as HTML; what the evaluation does not hold is left out. worst: see tile_pictures."""
    title = f"{evaluation.get('bundle', {}).get('name', 'model')} on {evaluation.get('data', 'data')}"
    parts = (
        f"<h1>{escape(title)}</h1>",
        _what(evaluation),
        *(f"<p class=partial>{escape(text)}</p>" for text in evaluation.get("warnings", ())),
        headline(evaluation),
        _how_good(evaluation),
        _worst(evaluation, worst),
        section("How it bends", robustness(evaluation), note=BENT + ATTACKED * bool(evaluation.get("fgsm"))),
        _data(evaluation),
        section("How", facts(_provenance(evaluation))),
    )
    body = "\n".join(part for part in parts if part)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{STYLE}{PAGE_STYLE}{CHART_STYLE}</style>{body}"
    )


BENT = "The same tiles, disturbed before the model sees them."
ATTACKED = (
    " FGSM is the one step that an attacker who has the weights would take: it does not happen by chance, and worse "
    "attacks exist."
)


def _what(evaluation: Evaluation) -> str:
    texts = [
        kind_of(evaluation),
        f"{shown(evaluation.get('tiles'))} tiles",
        f"{shown(evaluation['groups'])} groups" if "groups" in evaluation else "",
        f"part: {evaluation['part']}" if "part" in evaluation else "",
        f"classes: {', '.join(evaluation.get('classes', ()))}",
    ]
    return f"<p class=sub>{escape('; '.join(text for text in texts if text))}</p>"


def _how_good(evaluation: Evaluation) -> str:
    """From the classes to the groups."""
    return "\n".join(
        (
            section("Classes", per_class(evaluation)),
            section("What it takes for what", confusion(evaluation), note="Rows are truth, columns the answer."),
            section(
                "Ranking", ranking_charts(evaluation), note="The third chart is what a gate costs: the rest is saved."
            ),
            section("Recall and threshold", recall_tables(evaluation), note=PROVEN),
            section("Whether probabilities mean what they say", reliability_chart(evaluation)),
            section("Areas", area_chart(evaluation)),
            section("Groups", per_group(evaluation), note="Worst first."),
        )
    )


PROVEN = (
    "Bounds are exact (Clopper and Pearson 1934, two-sided) for tiles that do not depend on each other; tiles of one "
    "group do, so with few groups they are at their best."
)


def _worst(evaluation: Evaluation, worst: Sequence[TilePicture]) -> Html:
    if kind_of(evaluation) == "segmenter":
        return section("Worst tiles", gallery(worst), note="Image, truth, mapped; grey in the truth: nobody said.")
    return section("Worst mistakes", gallery(worst), note="The surest wrong answers first.")


def _data(evaluation: Evaluation) -> str:
    skipped = evaluation.get("skipped", ())
    left = len(skipped) - MOST_SKIPPED
    more = items([f"and {left:,} more, in the JSON"] if left > 0 else [])
    rows = [(row["name"], row["why"]) for row in skipped[:MOST_SKIPPED]]
    unused = table(("file or tile", "why"), rows, words=2) if rows else ""
    return "\n".join(
        (
            section("Labels", items(evaluation.get("label_check") or ())),
            section("Notes", items(evaluation.get("notes", ()))),
            section(f"Not used: {len(skipped):,}", unused, more),
        )
    )


def _provenance(evaluation: Evaluation) -> dict[str, Any]:
    held = {f"split, {name}": value for name, value in (evaluation.get("split") or {}).items()}
    data = {"model": evaluation.get("bundle"), "data": evaluation.get("data"), "part": evaluation.get("part")}
    sizes = {"pixel size": evaluation.get("pixel_size"), "side of a tile, px": evaluation.get("tile_px")}
    return {**data, **sizes, **held, **(evaluation.get("provenance") or {})}
