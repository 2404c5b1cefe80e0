"""How a gate bends, on tiles whose scores can be calculated by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from classifiers.labels.sample import LabelledTiles
from classifiers.measuring.disturb import Change, brightness
from classifiers.measuring.disturbances import Disturbance
from classifiers.measuring.robustness import band_spread, bend, evenly, robustness, scores, without_gradient
from classifiers.rule_gate import RuleGate
from classifiers.rules import RULES
from tiling.errors import BadInput

MakeTiles = Callable[..., LabelledTiles]


def bright_and_dark(labelled_tiles: MakeTiles, count: int = 6, **changes: Any) -> LabelledTiles:
    """Class a is 150 of 255 in red, the others are 30; blue says the opposite."""
    labels = (np.arange(count) % 2)[:, None]
    pixels = np.full((count, 3, 16, 16), 30, np.uint8)
    pixels[1::2, 0] = 150
    pixels[0::2, 2] = 150
    return labelled_tiles(pixels, labels, **changes)


def rows_of(found: Any) -> dict[tuple[str, str], Any]:
    return {(row.name, row.step): row for row in found}


def test_a_gate_of_means_falls_when_it_gets_dark(labelled_tiles: MakeTiles, mean_gate: Any) -> None:
    gate = mean_gate(threshold=0.5)
    found = rows_of(robustness(gate, bright_and_dark(labelled_tiles)))
    first = found["undisturbed", ""]
    assert first.figures == {"accuracy": 1.0, "recall": 1.0, "precision": 1.0, "roc_auc": 1.0}
    assert set(first.change.values()) == {0.0}
    dark = found["darker", "strong"]  # 150 x 0.6 = 90 of 255: below one half
    assert (dark.figures["accuracy"], dark.figures["recall"], dark.figures["roc_auc"]) == (0.5, 0.0, 1.0)
    assert (dark.change["accuracy"], dark.change["recall"], dark.change["precision"]) == (-0.5, -1.0, None)
    assert found["rotation", "strong"].figures == first.figures  # even tiles look the same from any side
    assert found["bluer stain", "mild"].skipped
    assert not found["bluer stain", "mild"].figures
    measured = sum(not row.skipped for row in found.values())
    assert gate.calls == measured, "each tile is scored once per disturbance"
    json.dumps([row.as_dict() for row in found.values()])


def test_recall_is_at_the_gates_threshold_accuracy_is_not(labelled_tiles: MakeTiles, mean_gate: Any) -> None:
    tiles = bright_and_dark(labelled_tiles)
    row = robustness(mean_gate(threshold=0.1), tiles)[0]  # 30 of 255 passes too
    assert row.figures == {"accuracy": 1.0, "recall": 1.0, "precision": 0.5, "roc_auc": 1.0}
    assert robustness(mean_gate(threshold=0.1), tiles, threshold=0.9)[0].figures["recall"] == 0.0


def test_bands_are_found_by_name(labelled_tiles: MakeTiles, mean_gate: Any) -> None:
    tiles = bright_and_dark(labelled_tiles)
    assert scores(mean_gate("blue"), tiles)[:, 0].tolist() == pytest.approx([150 / 255, 30 / 255] * 3)


def test_a_gate_may_know_more_than_the_tiles(labelled_tiles: MakeTiles, mean_gate: Any) -> None:
    assert scores(mean_gate(classes=("z", "a")), bright_and_dark(labelled_tiles)).shape == (6, 1)


@pytest.mark.parametrize("wrong", [{"band": "nir"}, {"classes": ("z",)}])
def test_tiles_for_another_gate_are_refused(wrong: Any, labelled_tiles: MakeTiles, mean_gate: Any) -> None:
    with pytest.raises(BadInput, match=r"tiles are labelled a and have red, green, blue\. Load them for this model"):
        robustness(mean_gate(**wrong), bright_and_dark(labelled_tiles))


def test_a_rule_bends_by_its_sensor(labelled_tiles: MakeTiles) -> None:
    """NDWI is a ratio: another exposure does not change it, other gains in its two bands do."""
    pixels = np.zeros((4, 2, 16, 16), np.uint16)
    pixels[:, 0], pixels[:2, 1], pixels[2:, 1] = 1000, 950, 1200
    water = np.array([[1], [1], [0], [0]])
    tiles = labelled_tiles(pixels, water, classes=("water",), bands=("green", "nir"))
    found = rows_of(robustness(RuleGate(RULES["ndwi"]), tiles))
    assert found["darker", "strong"].figures["accuracy"] == 1.0
    assert found["sensor shift", "strong"].figures["precision"] == 0.5  # 1150 against 0.85 x 1200: water everywhere
    assert "green, nir in uint16" in found["JPEG", "mild"].skipped


def test_few_of_many_tiles_are_measured(labelled_tiles: MakeTiles, mean_gate: Any) -> None:
    tiles = bright_and_dark(labelled_tiles, 100)
    some = evenly(tiles, 10)
    assert [sample.name for sample in some.samples] == [f"{11 * i}.png" for i in range(10)]
    gate = mean_gate()
    rows = robustness(gate, bright_and_dark(labelled_tiles, 130), most_tiles=65)
    assert gate.calls == 2 * sum(not row.skipped for row in rows)  # two batches of up to 64


def test_any_model_can_be_bent_by_what_it_measures() -> None:
    """The hook: the measure gets the change, not the pixels."""
    asked: list[Change] = []

    def measure(change: Change) -> dict[str, float | None]:
        asked.append(change)
        return {"dice": 0.9 - 0.1 * len(asked), "area_bias": None}

    step = Disturbance(name="darker", step="mild", parameters="x 0.8", change=lambda stack: brightness(stack, 0.8))
    left_out = Disturbance(name="JPEG", step="mild", parameters="", change=step.change, skipped="no")
    rows = bend(measure, [step, left_out])
    assert [row.name for row in rows] == ["undisturbed", "darker", "JPEG"]
    assert asked[1] is step.change
    assert len(asked) == 2
    assert rows[1].change == {"dice": pytest.approx(-0.1), "area_bias": None}
    assert rows[2].skipped == "no"


def test_spread_is_numpys_over_valid_pixels(labelled_tiles: MakeTiles) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    valid = np.ones((5, 8, 8), bool)
    valid[:, :3] = False
    found = band_spread(labelled_tiles(pixels, np.ones((5, 1)), valid=valid))
    assert found == pytest.approx([pixels[:, i, 3:].std() for i in range(3)])


def test_a_model_without_gradient_says_so() -> None:
    row = without_gradient("ndwi")
    assert (row.name, row.figures) == ("FGSM", {})
    assert "ndwi is not a network" in row.skipped
