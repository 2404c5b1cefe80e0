"""The page of an evaluation: what it tells, what it escapes, and that it needs nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from io import BytesIO
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from classifiers.measuring.calibration import reliability
from classifiers.measuring.evidence import recall_table
from classifiers.measuring.gate_metrics import by_group, gate_metrics
from classifiers.measuring.mask_metrics import mask_metrics
from classifiers.measuring.ranking import curve
from classifiers.measuring.robustness import RobustnessRow
from flows.evaluation.charts import group_areas
from flows.evaluation.page import evaluation_page
from flows.pages.curves import BOTTOM_PX, HEIGHT_PX, LEFT_PX, RIGHT_PX, TOP_PX, WIDTH_PX
from flows.pages.tile_pictures import TilePicture

DASH = "\N{EN DASH}"


class Reader(HTMLParser):
    """Text of the cells of each row, all tags, and everything that would be fetched."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.headings: list[str] = []
        self._into: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self._into = self.rows[-1]
        if tag in {"h2", "h3", "summary"}:
            self.headings.append("")
            self._into = self.headings

    def handle_endtag(self, tag: str) -> None:
        if tag in {"table", "h2", "h3", "summary"}:
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def gate_evaluation(classes: tuple[str, ...] = ("forest", "river", "sea"), exclusive: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    count = 300
    labels = np.eye(len(classes), dtype=np.float32)[rng.integers(0, len(classes), count)]
    if len(classes) == 1:
        labels = rng.integers(0, 2, (count, 1)).astype(np.float32)
    logits = 3 * labels + rng.normal(0, 1.5, labels.shape)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) if exclusive else 1 / (1 + np.exp(1.5 - logits))
    groups = np.array([f"scene {i % 7}" for i in range(count)])
    figures = gate_metrics(labels, scores, exclusive, None, classes)
    known = [(name, scores[:, i], labels[:, i] > 0) for i, name in enumerate(classes)]
    row = RobustnessRow(name="undisturbed", step="", parameters="", figures={"accuracy": 0.9, "roc_auc": 0.97})
    bent = RobustnessRow(
        name="blur",
        step="strong",
        parameters="sigma 1.5 px",
        figures={"accuracy": 0.7, "roc_auc": None},
        change={"accuracy": -0.2, "roc_auc": None},
    )
    left_out = RobustnessRow(name="JPEG", step="mild", parameters="", skipped="needs three bands")
    return {
        "kind": "gate",
        "bundle": {"name": "landcover", "sha256": "5e" * 32},
        "data": "tiles/",
        "part": "test",
        "groups": 7,
        "classes": list(classes),
        "exclusive": exclusive,
        "threshold": 0.25,
        "at_threshold": gate_metrics(labels, scores, False, 0.25, classes),
        **figures,
        "per_group": by_group(labels, scores, groups, exclusive),
        "recall_table": {name: recall_table(own, true, groups=groups) for name, own, true in known},
        "curves": {name: curve(own, true) for name, own, true in known},
        "reliability": reliability(scores, labels, exclusive),
        "reliability_scaled": reliability(scores**0.8, labels, exclusive),
        "ece_scaled": 0.01,
        "temperature": 1.25,
        "robustness": [row.as_dict(), bent.as_dict(), left_out.as_dict()],
        "fgsm": None,
        "skipped": [{"name": "broken.tif", "why": "not an image"}],
        "notes": ["All tiles have 64 px."],
        "label_check": ["2 tiles are the same"],
        "split": {"seed": 1, "test": 300},
        "provenance": {"versions": {"tilegate": "0.1.0"}},
    }


def read(evaluation: Any, worst: Any = ()) -> tuple[str, Reader]:
    page = evaluation_page(json.loads(json.dumps(evaluation)), worst)  # as it comes out of the JSON
    return page, Reader(page)


def test_a_gates_page_has_its_figures() -> None:
    evaluation = gate_evaluation()
    page, found = read(evaluation)
    assert f"<b>{evaluation['accuracy']:.3f}</b>accuracy" in page
    assert f"recall {evaluation['at_threshold']['recall']:.3f}" in page
    river = evaluation["per_class"]["river"]
    assert any(row[0] == "river" and f"{river['recall']:.3f}" in row for row in found.rows)
    sums = [row for row in found.rows if row[0] == "sea" and len(row) == 5]  # name, three answers, all
    assert sums == [["sea", *map(str, evaluation["confusion"][2]), str(sum(evaluation["confusion"][2]))]]
    strict = evaluation["recall_table"]["forest"][3]
    assert any(row[0] == "95 %" and f"{strict['found']} of {strict['positives']}" in row[2] for row in found.rows)
    assert sum("tiles of it in 7 groups" in heading for heading in found.headings) == 3
    assert {"Recall and threshold", "How it bends", "Groups", "Labels", "Not used: 1"} <= set(found.headings)


def test_the_disturbances_are_a_chart_and_numbers() -> None:
    page, found = read(gate_evaluation())
    assert ["blur, strong", "sigma 1.5 px", "0.700 against 0.900", "0.700 (-0.200)", DASH] in found.rows
    assert "<li>JPEG not measured: needs three bands</ul>" in page
    assert page.count('class="chart strip"') == 2


def test_worst_group_first() -> None:
    evaluation = gate_evaluation()
    _, found = read(evaluation)
    names = [row[0] for row in found.rows if row[0].startswith("scene")]
    assert names[0] == min(evaluation["per_group"], key=lambda name: evaluation["per_group"][name]["accuracy"])
    assert len(names) == 7


def test_every_chart_is_well_formed_and_has_a_title() -> None:
    page, _ = read(gate_evaluation())
    charts = re.findall(r"<svg class=.*?</svg>", page)
    titles = [ET.fromstring(text).findtext("title") or "" for text in charts]
    assert len([title for title in titles if "against" in title or "Reliability" in title]) == len(titles) >= 4
    assert sum("ROC" in title for title in titles) == 1


def test_what_is_let_through_is_what_passes_the_threshold() -> None:
    """The third chart, at its last recall, against the table that counted tiles."""
    evaluation = gate_evaluation(("idc",), exclusive=False)
    page, _ = read(evaluation)
    text = next(t for t in re.findall(r"<svg class=.*?</svg>", page) if "let through" in t)
    points = ET.fromstring(text).find("polyline").attrib["points"].split()  # type: ignore[union-attr]
    x, y = np.array([list(map(float, point.split(","))) for point in points]).T
    recall = 0.5 + 0.5 * (x - LEFT_PX) / (WIDTH_PX - LEFT_PX - RIGHT_PX)
    share = 1 - (y - TOP_PX) / (HEIGHT_PX - TOP_PX - BOTTOM_PX)
    for row in evaluation["recall_table"]["idc"][1:5]:
        near = int(np.abs(recall - row["recall"]).argmin())
        assert share[near] == pytest.approx(row["let_through"], abs=0.02)


@pytest.mark.parametrize("classes", [("idc",), ("a", "b")])
def test_classes_that_do_not_exclude_each_other(classes: tuple[str, ...]) -> None:
    evaluation = gate_evaluation(classes, exclusive=False)
    _, found = read(evaluation)
    table = evaluation["confusion"] if len(classes) == 1 else evaluation["confusion"][0]
    assert [f"not {classes[0]}", *map(str, table[0]), str(sum(table[0]))] in found.rows


def test_a_segmenters_page_has_areas_and_groups() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 90, 6)
    mapped = true + rng.integers(0, 10, 6)
    counts = np.stack([true, mapped, true, np.full(6, 100)], axis=1).astype(np.int64)[:, None]
    groups = np.array(["x", "x", "y", "y", "z", "z"])
    evaluation = {
        "kind": "segmenter",
        "bundle": {"name": "forest-unet"},
        "classes": ["forest"],
        **mask_metrics(counts, ("forest",), groups),
        "areas": group_areas(counts, ("forest",), groups, pixel_area=0.5),
        "area_unit": "ha",
    }
    area = {point["group"]: (point["mapped"], point["true"]) for point in evaluation["areas"]}
    assert area["y"] == (mapped[2:4].sum() / 2, true[2:4].sum() / 2)
    page, found = read(evaluation)
    assert f"<b>{evaluation['dice']:.3f}</b>Dice" in page
    assert f"<b>{100 * evaluation['area_bias']:+.1f} %</b>area bias" in page
    assert {row[0] for row in found.rows} >= {"x", "y", "z"}
    assert "mapped area, ha" in page
    assert "Worst mistakes" not in found.headings


def test_names_can_not_write_html() -> None:
    evil = '"><script>alert(1)</script><b x="'
    evaluation = gate_evaluation((evil, "b"), exclusive=True)
    evaluation |= {
        "bundle": {"name": evil},
        "data": evil,
        "part": evil,
        "warnings": [evil],
        "notes": [evil],
        "label_check": [evil],
        "skipped": [{"name": evil, "why": evil}],
        "split": {evil: evil},
        "provenance": {evil: {evil: evil}},
        "per_group": {evil: {"accuracy": 0.5}},
        "areas": [{"group": evil, "name": evil, "mapped": 1.0, "true": 2.0}],
        "area_unit": evil,
        "fgsm": [
            RobustnessRow(name=evil, step=evil, parameters=evil, figures={"accuracy": 0.1, "roc_auc": 0.1}).as_dict()
        ],
    }
    evaluation["robustness"].append(RobustnessRow(name=evil, step=evil, parameters="", skipped=evil).as_dict())
    page, found = read(evaluation, [TilePicture(png=b"", name=evil, lines=(evil,))])
    assert page.count("alert(1)") >= 20
    assert "script" not in found.tags
    assert "<script" not in page


def test_the_page_fetches_nothing() -> None:
    file = BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    page, found = read(gate_evaluation(), [TilePicture(png=file.getvalue(), name="a.png", lines=("true: a",))])
    assert len(found.fetched) == 1
    assert found.fetched[0].startswith("data:image/png;base64,")
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert "url(" not in page
    assert "@import" not in page


def test_what_is_not_there_is_left_out() -> None:
    page, found = read({})
    assert "<h1>model on data</h1>" in page
    assert [heading for heading in found.headings if heading != "How"] == []
    empty = gate_evaluation() | dict.fromkeys(
        (
            "per_group",
            "recall_table",
            "curves",
            "reliability",
            "reliability_scaled",
            "robustness",
            "at_threshold",
            "roc_auc",
        )
    )
    page, found = read(empty)
    assert f"<b>{DASH}</b>ROC-AUC" in page
    assert "How it bends" not in found.headings


def test_warnings_come_first() -> None:
    page, _ = read(gate_evaluation() | {"warnings": ["It was trained on 12 of these tiles."]})
    assert page.index("trained on 12") < page.index("<h2>")
