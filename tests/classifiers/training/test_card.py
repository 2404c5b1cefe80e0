"""Cards say what was measured, and what nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from classifiers.labels.sample import LabelledTiles, Sample, Skipped, Split
from classifiers.measuring.gate_metrics import gate_metrics
from classifiers.training.card import gate_card, told, wrap
from classifiers.training.draft import draft_bundle
from classifiers.training.measure_gate import measure
from classifiers.training.settings import DataSettings, ModelSettings, NetworkSettings, TrainingRecipe

Make = Callable[..., LabelledTiles]


@pytest.fixture
def card(
    coloured: Make, thirds: Callable[..., Split], tiny_recipe: Callable[..., TrainingRecipe]
) -> Callable[..., str]:
    """(tiles, command, recipe changes) -> the card of a gate that errs on every eleventh tile."""

    def make(tiles: LabelledTiles, command: str = "", **changes: Any) -> str:
        split, recipe = thirds(tiles), tiny_recipe(**changes)
        draft = replace(draft_bundle(tiles, split, recipe), threshold=0.4)
        logits = tiles.labels[split.test] * 6 - 3
        logits[::11] *= -1
        measured = measure(logits.astype(np.float32), tiles, split, 1.5, 0.9)
        return gate_card(draft, measured, told(tiles, split, recipe, command), 1_234_567)

    return make


def rows(card: str, start: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines() if line.startswith(f"| {start}")
    ]


def test_the_figures_are_those_of_the_test_tiles(coloured: Make, card: Callable[..., str]) -> None:
    text = card(coloured(160, ("bright",), exclusive=False))
    assert rows(text, "accuracy") == [["accuracy", "0.9000"]]
    assert rows(text, "test") == [["test", "40", "20", "bright 20"]]
    assert rows(text, "train") == [["train", "80", "40", "bright 40"]]
    (row,) = [row for row in rows(text, "bright") if "1" in row[1].split(", ")]
    assert row[3].startswith("1.000 (0.832 to 1.000, 20 of 20)")  # 0.025 ** (1 / 20)
    assert "1.23 million weights" in text
    assert "Clopper and Pearson" in text
    assert "It was chosen on these same tiles" in text.replace("\n", " ")


def test_a_threshold_below_one_half_has_a_column_beside_it(
    coloured: Make, thirds: Callable[..., Split], tiny_recipe: Callable[..., TrainingRecipe]
) -> None:
    """One positive tile of 20 looks like nothing: to let it through, the threshold lets all through."""
    tiles = coloured(160, ("bright",), exclusive=False)
    split, recipe = thirds(tiles), tiny_recipe()
    draft, truth = draft_bundle(tiles, split, recipe), tiles.labels[split.test]
    logits = (truth * 6 - 3).astype(np.float32)
    logits[np.flatnonzero(truth[:, 0])[0]] = -3
    measured = measure(logits, tiles, split, 1.0, 1.0)
    text = gate_card(draft, measured, told(tiles, split, recipe, ""), 1)
    assert rows(text, "accuracy") == [["accuracy", "0.9750", "0.5000"]]
    assert rows(text, "recall") == [["recall", "0.9500", "1.0000"]]
    assert rows(text, "precision") == [["precision", "1.0000", "0.5000"]]
    assert rows(text, "figure") == [["figure", "at 0.5", "at 0.047"]]  # 1 / (1 + exp(3)) = 0.0474
    assert rows(text, "ROC-AUC")[0][2] == "the same"
    found = measured.metrics
    assert (found["accuracy"], found["recall"]) == (0.975, 0.95)
    assert (found["accuracy_at_threshold"], found["recall_at_threshold"]) == (0.5, 1)
    assert found["precision_at_threshold"] == 0.5
    evaluated = gate_metrics(truth, 1 / (1 + np.exp(-logits)), False)
    assert all(found[key] == pytest.approx(evaluated[key]) for key in ("accuracy", "precision", "recall", "f1", "ece"))


def test_each_class_of_several_has_its_row(coloured: Make, card: Callable[..., str]) -> None:
    text = card(coloured(160, ("red", "green", "blue")))
    assert [row[0] for row in rows(text, "") if len(row) == 6 and row[1].isdigit()] == ["red", "green", "blue"]
    assert "threshold" not in text[text.index("## Measured") : text.index("## Thresholds")]
    assert "the likeliest class" in text.replace("\n", " ")
    assert "mean over the classes" in text


def test_the_recipes_words_are_in_it(coloured: Make, card: Callable[..., str]) -> None:
    told = ModelSettings(
        name="x", job="Tells.", licence="CC-BY-4.0", training_data="By A. Author, CC BY 4.0.", not_tested="the moon",
        pixel_size_range=(0.5, 2),
    )  # fmt: skip
    changes = {
        "model": told,
        "data": DataSettings(group="scene\\d+"),
        "network": NetworkSettings(pretrained="imagenet", zoom=2),
    }
    text = card(
        coloured(skipped=(Skipped(name="a", why="b"),), notes=("One note.", "Another.")), "make this", **changes
    )
    flat = " ".join(text.split())
    for words in (
        "# x", "Tells.", "Licence of the weights: CC-BY-4.0.", "By A. Author, CC BY 4.0.", "Never tested on: the moon",
        "Pixels of 0.5 to 2 times 10 x 10 m; bands red, green, blue as uint8", "what `scene\\d+` finds in a file's name",
        "enlarges its input 2 times", "Apache-2.0", "1 files or tiles could not be used", "- One note. - Another.",
    ):  # fmt: skip
        assert words in flat
    assert "\n    make this\n" in text
    assert "{sha256}" in text


def test_what_nobody_said_is_told(coloured: Make, card: Callable[..., str]) -> None:
    flat = " ".join(card(coloured()).split())
    assert "Licence of the weights: unknown" in flat
    assert "nobody said what it was not tested on" in flat
    assert "the command was not recorded" in flat
    assert "started from random numbers" in flat


def test_held_out_groups_are_named_where_there_are_groups(coloured: Make, card: Callable[..., str]) -> None:
    assert "Held out for the figures above: scene10, scene11, scene9." in card(coloured())
    alone = coloured(samples=tuple(Sample(name=str(i), group=str(i)) for i in range(24)))
    text = " ".join(card(alone).split())
    assert "Every tile is a group of its own" in text
    assert "Held out for" not in text


def test_undefined_figures_are_told_as_such(coloured: Make, card: Callable[..., str]) -> None:
    tiles = coloured(40, ("red",), exclusive=False)
    tiles.labels[20:] = 0
    assert rows(card(tiles), "ROC-AUC") == [["ROC-AUC", "not defined"]]


def test_paragraphs_are_refilled_and_tables_left_alone() -> None:
    long = "| " + "x" * 200 + " |"
    text = wrap("# Title\n\nShort\nlines.\n\n" + long + "\n\n- " + "word " * 40 + "\n- two\n\n    code " + "y" * 120)
    assert "Short lines." in text
    assert long in text
    assert "    code " + "y" * 120 in text
    assert "\n  word" in text
    assert "\n- two" in text
