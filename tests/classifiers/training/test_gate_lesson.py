"""What a gate learns from, and is scored by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from classifiers.labels.sample import LabelledTiles, Split
from classifiers.preprocess import normalise
from classifiers.training.draft import draft_bundle
from classifiers.training.gate_lesson import GateLesson, gate_score, logits_of, mixed, rare_first
from classifiers.training.settings import AugmentSettings, FitSettings, TrainingRecipe

Make = Callable[..., LabelledTiles]
Parts = Callable[[LabelledTiles], Split]
Recipe = Callable[..., TrainingRecipe]
STILL = AugmentSettings(flips=False, rotations=False, brightness=0, colour=0)


class Brightness(nn.Module):
    """Logits are the means of the bands: knows the classes of `coloured`."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))
        self.classes = classes

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.gain * pixels.mean(dim=(2, 3))[:, : self.classes]


def lesson_of(tiles: LabelledTiles, split: Split, recipe: TrainingRecipe) -> GateLesson:
    return GateLesson(tiles, split, draft_bundle(tiles, split, recipe), recipe)


def test_a_batch_is_of_training_tiles_normalised_as_in_a_run(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe
) -> None:
    tiles = coloured()
    tiles.valid[13, :3] = False
    split = replace(thirds(tiles), train=np.array([20, 13, 2]))
    recipe = tiny_recipe(augment=STILL)
    batch = lesson_of(tiles, split, recipe).batch(np.array([1, 2]), np.random.default_rng(0))
    expected = normalise(tiles.stack([13, 2]), draft_bundle(tiles, split, recipe))
    assert (batch.pixels.numpy() == expected).all()
    assert (batch.truth.numpy() == tiles.labels[[13, 2]]).all()
    assert (batch.pixels[0, :, :3] == 0).all()


def test_what_is_varied_is_not_the_data(coloured: Make, thirds: Parts, tiny_recipe: Recipe) -> None:
    tiles = coloured()
    before = tiles.pixels.copy()
    lesson = lesson_of(tiles, thirds(tiles), tiny_recipe(augment=AugmentSettings(brightness=0.5, cutout=1, mixup=1)))
    first, again, other = (lesson.batch(np.arange(6), np.random.default_rng(seed)).pixels for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (tiles.pixels == before).all()
    assert tiles.valid.all()


def test_the_score_is_that_of_validation_tiles(coloured: Make, thirds: Parts, tiny_recipe: Recipe) -> None:
    tiles = coloured()
    lesson = lesson_of(tiles, thirds(tiles), tiny_recipe())
    assert lesson.score(Brightness()) == pytest.approx(1, abs=1e-3)
    wrong = replace(tiles, labels=tiles.labels.copy())
    wrong.labels[thirds(tiles).validation[:3]] = 1 - wrong.labels[thirds(tiles).validation[:3]]
    assert lesson_of(wrong, thirds(tiles), tiny_recipe()).score(Brightness()) == pytest.approx(0.5, abs=1e-3)


@given(seed=st.integers(0, 500), count=st.integers(4, 60))
def test_scores_are_those_of_scikit_learn_within_a_thousandth(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = (random.random((count, 3)) > 0.5).astype(np.float32)
    labels[:2, 0] = 0, 1
    labels[:, 2] = 1  # nothing to tell apart
    logits = np.round(random.normal(0, 1, (count, 3)), 1).astype(np.float32)
    known = [i for i in range(3) if 0 < labels[:, i].sum() < count]
    areas = [sklearn.metrics.roc_auc_score(labels[:, i], logits[:, i]) for i in known]
    found = gate_score(logits, labels, exclusive=False)
    assert np.mean(areas) - 1e-3 <= found < np.mean(areas)
    one_hot = np.eye(3, dtype=np.float32)[random.integers(0, 3, count)]
    accuracy = sklearn.metrics.accuracy_score(one_hot.argmax(1), logits.argmax(1))
    found = gate_score(logits, one_hot, exclusive=True)
    assert accuracy - 1e-3 <= found < accuracy


def test_of_equal_scores_the_likelier_is_better() -> None:
    labels, logits = np.array([[1.0], [0.0]], np.float32), np.array([[1.0], [-1.0]], np.float32)
    assert gate_score(logits * 2, labels, exclusive=False) > gate_score(logits, labels, exclusive=False)


def test_a_score_of_nan_is_nan() -> None:
    labels = np.eye(2, dtype=np.float32)
    assert np.isnan(gate_score(np.full((2, 2), np.nan, np.float32), labels, exclusive=True))


def test_logits_of_many_tiles_are_in_order(coloured: Make, thirds: Parts, tiny_recipe: Recipe) -> None:
    tiles = coloured(600)
    draft = draft_bundle(tiles, thirds(tiles), tiny_recipe())
    chosen = np.random.default_rng(0).permutation(600)
    found = logits_of(Brightness(), draft, tiles, chosen)
    means = (tiles.pixels[chosen].mean(axis=(2, 3)) - draft.mean) / draft.std
    assert found == pytest.approx(4 * means[:, :2], abs=1e-3)


def test_all_classes_and_tiles_of_none_are_drawn_alike() -> None:
    labels = np.array([[1, 0]] * 12 + [[0, 1]] * 3 + [[0, 0]] * 6, np.float32)
    odds = rare_first(labels)
    assert [odds[:12].sum(), odds[12:15].sum(), odds[15:].sum()] == pytest.approx([1, 1, 1])
    assert rare_first(np.array([[1, 1], [1, 0], [1, 0]], np.float32)) == pytest.approx([1, 1 / 3, 1 / 3])


def test_oversampling_and_class_weights_are_asked_for(coloured: Make, thirds: Parts, tiny_recipe: Recipe) -> None:
    tiles = coloured(exclusive=False, count=60)
    tiles.labels[5:] = 0
    logits, truth = torch.tensor([[3.0, 3.0]]), torch.tensor([[1.0, 0.0]])
    plain = lesson_of(tiles, thirds(tiles), tiny_recipe())
    assert np.ptp(plain.odds) == 0
    fair = lesson_of(tiles, thirds(tiles), tiny_recipe(fit=FitSettings(oversample=True, class_weights=True)))
    assert fair.odds[0] > 5 * fair.odds[20]
    assert fair.loss(logits, truth) < 0.5 * plain.loss(logits, truth)  # the class that is there is rare


@given(seed=st.integers(0, 200), cutmix=st.booleans())
def test_mixtures_keep_pixels_and_labels_in_step(seed: int, cutmix: bool) -> None:
    """Each tile is all of one value, and its label says which."""
    values = np.arange(6, dtype=np.float32)
    pixels, truth = np.broadcast_to(values[:, None, None, None], (6, 2, 8, 8)).copy(), np.eye(6, dtype=np.float32)
    settings = AugmentSettings(cutmix=1.0) if cutmix else AugmentSettings(mixup=1.0)
    found, labels = mixed(pixels, truth, settings, np.random.default_rng(seed))
    assert found.dtype == labels.dtype == np.float32
    assert labels.sum(axis=1) == pytest.approx(1)
    assert found.mean(axis=(1, 2, 3)) == pytest.approx(labels @ values, abs=1e-4)
    if cutmix:
        assert set(np.unique(found)) <= set(values)


def test_without_mixtures_nothing_is_copied() -> None:
    pixels, truth = np.zeros((2, 3, 4, 4), np.float32), np.zeros((2, 1), np.float32)
    assert mixed(pixels, truth, AugmentSettings(), np.random.default_rng(0)) == (pixels, truth)


def test_with_both_mixtures_one_is_drawn() -> None:
    pixels = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None, None], (4, 1, 8, 8)).copy()
    settings, kinds = AugmentSettings(mixup=1, cutmix=1), set()
    for seed in range(20):
        found, _ = mixed(pixels, np.eye(4, dtype=np.float32), settings, np.random.default_rng(seed))
        kinds.add(set(np.unique(found)) <= {0.0, 1.0, 2.0, 3.0})
    assert kinds == {True, False}
