"""Charts as inline SVG: pure functions from numbers to text. Colours follow the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH_PX, HEIGHT_PX = 380, 340
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 56, 24, 34, 50
COLOURS = ("#1f77c4", "#d95f02", "#1b9e57", "#b5379a", "#8a6d00", "#6f63d9", "#c8323c", "#1397a5", "#7a7f87", "#9a5b2e")
"""Readable on white and on black alike; beyond these, lines are dashed."""

CHART_STYLE = """
svg.chart{width:100%;max-width:400px;height:auto;font:13px system-ui,sans-serif;color:inherit}
svg.chart text{fill:currentColor}svg.chart .grid{stroke:currentColor;stroke-opacity:.14}
svg.chart .axis{stroke:currentColor;stroke-opacity:.55}svg.chart .guide{stroke:currentColor;stroke-opacity:.5;stroke-dasharray:4 4}
svg.chart .title{font-weight:600}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One side of a chart."""

    label: str
    """What it shows, with its unit."""
    low: float = 0.0
    """Value at its start."""
    high: float = 1.0
    """Value at its end, above low."""
    percent: bool = False
    """Whether values are shares that are written in per cent."""

    def share(self, value: float) -> float:
        """Where a value lies along the axis: 0 at low, 1 at high; not beyond."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def text(self, value: float) -> str:
        """A tick as people read it."""
        return f"{100 * value:.4g}" + " %" * self.percent if self.percent else f"{value:,.4g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points that belong together."""

    name: str
    """For the legend; empty = not in it."""
    x: Sequence[float]
    """Along the x axis."""
    y: Sequence[float]
    """Along the y axis, as many."""
    colour: int = 0
    """Which of COLOURS, counted on from the first."""
    joined: bool = True
    """Whether a line goes through them; otherwise they are dots."""
    hints: Sequence[str] = ()
    """One per dot, shown when it is pointed at."""


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], *, diagonal: bool = False) -> str:
    """An SVG element with axes, ticks, lines and dots. diagonal: draw where y is x."""
    parts = [label(4, 16, title, "start", ' class="title"'), *_frame(x, y)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(_segment("guide", *_place(x, y, low, low), *_place(x, y, high, high)))
    parts += [_drawn(x, y, line) for line in lines]
    return svg(title, WIDTH_PX, HEIGHT_PX, parts)


def legend(lines: Sequence[Line]) -> str:
    """Names of the lines beside their colours, as HTML."""
    keys = (
        f'<span class=key><svg width="22" height="10" aria-hidden="true"><path d="M1 5H21" {_stroke(line.colour)}/></svg> '
        f"{escape(line.name)}</span>"
        for line in lines
        if line.name
    )
    return f"<p class=legend>{' '.join(keys)}</p>"


def svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """An SVG element that scales with the page and tells its title to those who do not see it."""
    name = escape(title, quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{name}"><title>{name}</title>'
        f"{''.join(parts)}</svg>"
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most so many, at steps of 1, 2 or 5 times a power of ten."""
    least = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= least * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def label(x: float, y: float, text: str, anchor: str = "middle", extra: str = "") -> str:
    """Text in a chart. anchor: start, middle or end of it is at x."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def dot(x: float, y: float, colour: int, hint: str, *, filled: bool = True) -> str:
    """A dot that says what it is when it is pointed at."""
    fill = colour_of(colour) if filled else "none"
    told = f"<title>{escape(hint)}</title>" if hint else ""
    ring = f'stroke="{colour_of(colour)}" stroke-width="1.6"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" fill="{fill}" fill-opacity=".8" {ring}>{told}</circle>'


def colour_of(number: int) -> str:
    """They repeat."""
    return COLOURS[number % len(COLOURS)]


def _frame(x: Axis, y: Axis) -> list[str]:
    bottom, right = HEIGHT_PX - BOTTOM_PX, WIDTH_PX - RIGHT_PX
    parts = []
    for value in ticks(x.low, x.high):
        at = _place(x, y, value, y.low)[0]
        parts += [_segment("grid", at, TOP_PX, at, bottom), label(at, bottom + 18, x.text(value))]
    for value in ticks(y.low, y.high):
        at = _place(x, y, x.low, value)[1]
        parts += [_segment("grid", LEFT_PX, at, right, at), label(LEFT_PX - 6, at + 4, y.text(value), "end")]
    middle = (TOP_PX + bottom) / 2
    return [
        *parts,
        _segment("axis", LEFT_PX, bottom, right, bottom),
        _segment("axis", LEFT_PX, TOP_PX, LEFT_PX, bottom),
        label((LEFT_PX + right) / 2, HEIGHT_PX - 10, x.label),
        label(12, middle, y.label, extra=f' transform="rotate(-90 12 {middle:.1f})"'),
    ]


def _drawn(x: Axis, y: Axis, line: Line) -> str:
    points = [_place(x, y, *pair) for pair in zip(line.x, line.y, strict=True)]
    if not line.joined:
        hints = [*line.hints, *[line.name] * (len(points) - len(line.hints))]
        return "".join(dot(*point, line.colour, hint) for point, hint in zip(points, hints, strict=True))
    path = " ".join(f"{at_x:.1f},{at_y:.1f}" for at_x, at_y in points)
    return f'<polyline points="{path}" fill="none" {_stroke(line.colour)}><title>{escape(line.name)}</title></polyline>'


def _stroke(colour: int) -> str:
    dashed = ' stroke-dasharray="5 3"' if colour >= len(COLOURS) else ""
    return f'stroke="{colour_of(colour)}" stroke-width="1.8" stroke-linejoin="round"{dashed}'


def _place(x: Axis, y: Axis, at_x: float, at_y: float) -> tuple[float, float]:
    """From values to px of the chart."""
    wide, high = WIDTH_PX - LEFT_PX - RIGHT_PX, HEIGHT_PX - TOP_PX - BOTTOM_PX
    return LEFT_PX + x.share(at_x) * wide, TOP_PX + (1 - y.share(at_y)) * high


def _segment(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
