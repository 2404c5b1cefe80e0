"""What an evaluation looks like when it is drawn: HTML of charts, each with its legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.evaluation.keys import AreaPoint, Bins, Evaluation
from flows.pages.curves import Axis, Line, chart, legend, svg
from flows.pages.html_parts import Html, shown

RECALL_SHOWN = 0.5
"""Nobody gates at a recall below this."""
STRIP_PX = 150


def ranking_charts(evaluation: Evaluation) -> Html:
    """ROC, precision against recall, and what a gate lets through at each recall; nothing without curves."""
    curves = {name: curve for name, curve in (evaluation.get("curves") or {}).items() if curve["recall"]}
    if not curves:
        return Html("")
    named = [(name, curve, i) for i, (name, curve) in enumerate(curves.items())]
    told = {n: f"{n}, ROC-AUC {shown(evaluation.get('per_class', {}).get(n, {}).get('roc_auc'))}" for n in curves}
    roc = [_line(told[n], [0.0, *c["false_positive_rate"]], [0.0, *c["recall"]], i) for n, c, i in named]
    precision = [_line(n, c["recall"], c["precision"], i) for n, c, i in named]
    passed = [_line(n, *_let_through(evaluation, n, c), i) for n, c, i in named]
    false_rate, recall = Axis(label="false positive rate", percent=True), Axis(label="recall", percent=True)
    gate = Axis(label="recall", low=RECALL_SHOWN, percent=True)
    return _figures(
        chart("ROC: recall against false positive rate", false_rate, recall, roc, diagonal=True),
        chart("Precision against recall", recall, Axis(label="precision", percent=True), precision),
        chart("Share of tiles let through against recall", gate, Axis(label="tiles let through", percent=True), passed),
        below=legend(roc),
    )


def reliability_chart(evaluation: Evaluation) -> Html:
    """How often answers of a confidence are right, as shipped and after temperature scaling; nothing without bins."""
    kinds: list[tuple[Bins | None, str, float | int | None]] = [
        (evaluation.get("reliability"), "as shipped", evaluation.get("ece")),
        (evaluation.get("reliability_scaled"), f"temperature {shown(evaluation.get('temperature'))}", evaluation.get("ece_scaled")),
    ]  # fmt: skip
    lines = [
        _line(f"{name}: expected calibration error {shown(ece)}", _of(rows, "confidence"), _of(rows, "accuracy"), i)
        for i, (rows, name, ece) in enumerate(kinds)
        if rows
    ]
    if not lines:
        return Html("")
    dots = [Line(name="", x=line.x, y=line.y, colour=line.colour, joined=False) for line in lines]
    said = Axis(label="confidence", percent=True)
    right = Axis(label="share that is right" if evaluation.get("exclusive") else "share that is there", percent=True)
    drawn = chart("Reliability: confidence against what is right", said, right, [*lines, *dots], diagonal=True)
    return _figures(drawn, below=legend(lines))


def area_chart(evaluation: Evaluation) -> Html:
    """Mapped against true area, one dot per group and class; nothing without them."""
    points = evaluation.get("areas") or ()
    if not points:
        return Html("")
    unit = evaluation.get("area_unit", "px")
    most = max(max(point["mapped"], point["true"]) for point in points) or 1.0
    names = list(dict.fromkeys(point["name"] for point in points))
    lines = [_dots(name, [p for p in points if p["name"] == name], unit, i) for i, name in enumerate(names)]
    true, mapped = Axis(label=f"true area, {unit}", high=most), Axis(label=f"mapped area, {unit}", high=most)
    drawn = chart("Mapped against true area, one dot per group", true, mapped, lines, diagonal=True)
    return _figures(drawn, below=legend(lines) if len(lines) > 1 else "")


def group_areas(
    counts: NDArray[np.int64], classes: Sequence[str], groups: NDArray[np.str_], pixel_area: float = 1.0
) -> list[AreaPoint]:
    """`areas` of an evaluation. counts: (n, classes, 3 or more) px, as mask_metrics takes them; groups: (n,)."""
    sums = {str(group): counts[groups == group].sum(axis=0) for group in np.unique(groups)}
    return [
        {"group": group, "name": name, "mapped": float(row[1]) * pixel_area, "true": float(row[2]) * pixel_area}
        for group, total in sums.items()
        for name, row in zip(classes, total, strict=True)
    ]


def strip(value: float | None, base: float, low: float, high: float) -> Html:
    """A figure against its undisturbed value, on a scale that all rows share."""
    if value is None:
        return Html("")
    axis = Axis(label="", low=low, high=high)
    x, x0 = (6 + axis.share(v) * (STRIP_PX - 12) for v in (value, base))
    kind = "fall" if value < base else "rise"
    parts = [
        f'<line class="guide" x1="{x0:.1f}" x2="{x0:.1f}" y1="0" y2="14"/>',
        f'<line class="{kind}" x1="{x0:.1f}" x2="{x:.1f}" y1="7" y2="7"/><circle class="{kind}" cx="{x:.1f}" cy="7" r="3.5"/>',
    ]
    return Html(
        svg(f"{value:.3f} against {base:.3f}", STRIP_PX, 14, parts).replace('class="chart"', 'class="chart strip"')
    )


def _line(name: str, x: Sequence[float], y: Sequence[float], colour: int) -> Line:
    return Line(name=name, x=x, y=y, colour=colour)


def _let_through(
    evaluation: Evaluation, name: str, curve: Mapping[str, Sequence[float]]
) -> tuple[list[float], list[float]]:
    """(recall, share of all tiles that passes), from the recall shown on."""
    total = evaluation.get("tiles", 0) or 1
    positive = (evaluation.get("per_class", {}).get(name, {}).get("tiles") or 0) / total
    both = zip(curve["recall"], curve["false_positive_rate"], strict=True)
    points = [(recall, recall * positive + false * (1 - positive)) for recall, false in both if recall >= RECALL_SHOWN]
    return [recall for recall, _ in points], [share for _, share in points]


def _dots(name: str, points: Sequence[AreaPoint], unit: str, colour: int) -> Line:
    hints = [f"{p['group']}: mapped {p['mapped']:,.4g}, true {p['true']:,.4g} {unit}" for p in points]
    x, y = [p["true"] for p in points], [p["mapped"] for p in points]
    return Line(name=name, x=x, y=y, colour=colour, joined=False, hints=hints)


def _of(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [row[key] for row in rows]


def _figures(*charts: str, below: str = "") -> Html:
    return Html(f"<div class=charts>{''.join(f'<figure>{drawn}</figure>' for drawn in charts)}</div>{below}")
