"""What a card says is what was counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from classifiers.labels.sample import LabelledTiles, Split
from classifiers.measuring.mask_metrics import mask_metrics
from classifiers.training.card import told
from classifiers.training.settings import ModelSettings, NetworkSettings, TrainingRecipe
from downstream.training.segment_tiles import Agreement
from downstream.training.segmenter_card import MOST_GROUPS, segmenter_card
from downstream.training.train_segmenter import draft_segmenter

MakeTiles = Callable[..., LabelledTiles]


def card(
    tiles: LabelledTiles, counts: Any, groups: list[str], shift: dict[str, float] | None = None, **network: Any
) -> str:
    every = np.arange(len(tiles))
    split = Split(train=every, validation=every, test=every)
    settings = NetworkSettings(architecture="test_resnet", decoder_channels=(8, 8, 8), **network)
    recipe = TrainingRecipe(kind="segmenter", model=ModelSettings(name="tiny"), network=settings)
    counts, named = np.array(counts, np.int64), np.array(groups)
    figures = mask_metrics(counts, tiles.classes, named)
    found = Agreement(counts=counts, groups=named, figures=figures)
    draft = replace(draft_segmenter(tiles, split, recipe), metrics={**found.metrics, **(shift or {})})
    return segmenter_card(draft, found, told(tiles, split, recipe, ""), 1_234_567, tiles.halo_px)


def test_groups_have_their_own_area_and_accuracy(labelled: MakeTiles, squares: Any) -> None:
    counts = [[[10, 20, 40, 100]], [[30, 30, 30, 100]], [[0, 5, 0, 50]]]
    shift = {
        "logit_shift": 0.25,
        "area_bias_validation_unshifted": 0.061,
        "area_bias_validation": 0.002,
        "area_bias_unshifted": -0.04,
    }
    text = card(labelled(squares(3, 32)), counts, ["a", "a", "b|c"], shift=shift)
    assert "| a | thing | 35.0 % | 25.0 % | 80.0 % |" in text  # 70 and 50 of 200; 40 wrong
    assert "| b/c | thing | 0.0 % | 10.0 % | 90.0 % |" in text
    assert "| area against the masks | -21.4 % |" in text  # 55 against 70
    prose = " ".join(text.split())
    assert "250 labelled pixels of 3 tiles" in prose
    assert "0.250 was taken off the logits: as far as the sum of the" in prose
    assert "Their area was +6.1 % off without it and is +0.2 % off with it" in prose
    assert "that of the held-out tiles was -4.0 % off without it" in prose
    assert "1.23 million weights" in prose
    assert "most wrong" not in prose


def test_of_many_groups_the_worst_are_told(labelled: MakeTiles, squares: Any) -> None:
    count = MOST_GROUPS + 5
    counts = [[[i, i, 50, 100]] for i in range(count)]  # the later, the better
    text = card(labelled(squares(count, 32)), counts, [f"g{i:02}" for i in range(count)])
    assert f"These {MOST_GROUPS} of {count} groups" in " ".join(text.split())
    rows = [
        line.split("|")[1].strip()
        for line in text.splitlines()
        if line.startswith(("| g0", "| g1", "| g2", "| g3", "| g4"))
    ]
    assert rows == [f"g{i:02}" for i in range(MOST_GROUPS)]
    assert "of the class above one half" in " ".join(text.split())


def test_several_classes_have_rows_of_their_own(labelled: MakeTiles, squares: Any) -> None:
    counts = [[[10, 20, 10, 100], [40, 40, 80, 100]]]
    text = card(labelled(squares(1, 32, 2), classes=("a", "b")), counts, ["x"], zoom=2)
    assert "| a | 0.6667 | 0.5000 | 0.5000 | 1.0000 | 0.9000 | +100.0 % |" in text
    assert "| x | b | 80.0 % | 40.0 % | 60.0 % |" in text
    assert "enlarges its input 2 times" in " ".join(text.split())
    assert "A pixel is of its likeliest class." in text
