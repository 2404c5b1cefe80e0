"""Charts as SVG: read back by an XML parser."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.pages.curves import (
    BOTTOM_PX,
    HEIGHT_PX,
    LEFT_PX,
    RIGHT_PX,
    TOP_PX,
    WIDTH_PX,
    Axis,
    Line,
    chart,
    legend,
    ticks,
)

UNIT = Axis(label="recall", percent=True)


def test_values_lie_where_the_axes_say() -> None:
    line = Line(name="a", x=[0.0, 0.5, 1.0], y=[0.0, 0.25, 1.0])
    root = ET.fromstring(chart("A", UNIT, UNIT, [line]))
    drawn = root.find("polyline")
    assert drawn is not None
    points = [tuple(map(float, pair.split(","))) for pair in drawn.attrib["points"].split()]
    bottom, right = HEIGHT_PX - BOTTOM_PX, WIDTH_PX - RIGHT_PX
    assert points[0] == (LEFT_PX, bottom)
    assert points[2] == (right, TOP_PX)
    assert points[1] == ((LEFT_PX + right) / 2, bottom - 0.25 * (bottom - TOP_PX))


def test_nothing_is_drawn_beyond_the_axes() -> None:
    root = ET.fromstring(
        chart("A", Axis(label="x", low=0.5), UNIT, [Line(name="", x=[0.0, 9.0], y=[-3.0, 3.0], joined=False)])
    )
    for circle in root.iter("circle"):
        assert LEFT_PX <= float(circle.attrib["cx"]) <= WIDTH_PX - RIGHT_PX
        assert TOP_PX <= float(circle.attrib["cy"]) <= HEIGHT_PX - BOTTOM_PX


def test_a_chart_tells_its_title_and_its_axes() -> None:
    name = 'Recall of "x" & <b>'
    root = ET.fromstring(chart(name, UNIT, Axis(label="area, ha", high=2500), [], diagonal=True))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == name
    assert root.findtext("title") == name
    texts = [text.text for text in root.iter("text")]
    assert {"recall", "area, ha", "0 %", "100 %", "2,500"} <= set(texts)
    assert [line.attrib["class"] for line in root.iter("line")].count("guide") == 1


def test_dots_say_what_they_are() -> None:
    dots = Line(name="forest", x=[1, 2], y=[1, 2], joined=False, hints=["scene <1>", "scene 2"])
    root = ET.fromstring(chart("A", Axis(label="x", high=3), Axis(label="y", high=3), [dots]))
    assert [circle.findtext("title") for circle in root.iter("circle")] == ["scene <1>", "scene 2"]


def test_a_legend_names_the_lines_that_have_a_name() -> None:
    lines = [Line(name="a & b", x=[], y=[]), Line(name="", x=[], y=[], colour=1), Line(name="c", x=[], y=[], colour=11)]
    html = legend(lines)
    assert html.count("class=key") == 2
    assert "a &amp; b" in html
    assert "stroke-dasharray" in html.split("a &amp; b")[1], "beyond the colours, lines are dashed"


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.5, 1, [0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        (0, 2500, [0, 500, 1000, 1500, 2000, 2500]),
    ],
)
def test_ticks_are_round(low: float, high: float, found: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(found)


@given(low=st.floats(-1e6, 1e6), wide=st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, wide: float) -> None:
    found = ticks(low, low + wide)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-6 * wide <= value <= low + wide * (1 + 1e-6) for value in found)
    assert found == sorted(set(found))
