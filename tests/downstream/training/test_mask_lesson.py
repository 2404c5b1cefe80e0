"""What a segmenter is shown and how it is judged, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from classifiers.labels.sample import UNLABELLED, LabelledTiles, Split
from classifiers.training.settings import (
    AugmentSettings,
    FitSettings,
    ModelSettings,
    NetworkSettings,
    TrainingRecipe,
)
from downstream.training.mask_lesson import MaskLesson, labelled_pixels, mean_dice
from downstream.training.train_segmenter import draft_segmenter

MakeTiles = Callable[..., LabelledTiles]
EVEN = AugmentSettings(brightness=0, colour=0, edge=0.5)


def lesson_of(tiles: LabelledTiles, **fit: Any) -> MaskLesson:
    """Trained on all tiles but the last, judged by the last."""
    last = len(tiles) - 1
    split = Split(train=np.arange(last), validation=np.array([last]), test=np.array([last]))
    recipe = TrainingRecipe(
        kind="segmenter",
        model=ModelSettings(name="tiny"),
        network=NetworkSettings(architecture="test_resnet", decoder_channels=(8, 8, 8)),
        augment=EVEN,
        fit=FitSettings(**fit),
    )
    return MaskLesson(tiles, split, draft_segmenter(tiles, split, recipe), recipe)


class Darkness(nn.Module):
    """Maps what is darker than the mean: of one class."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return -pixels.mean(dim=1, keepdim=True)


def test_the_truth_stays_with_its_pixels(labelled: MakeTiles, squares: Any) -> None:
    masks = squares(9, 80)
    masks[:, :, :7] = UNLABELLED
    lesson = lesson_of(labelled(masks, halo_px=8))
    batch = lesson.batch(np.arange(8), np.random.default_rng(2))
    assert (batch.pixels.shape, batch.pixels.dtype) == ((8, 3, 64, 64), torch.float32)
    assert (batch.truth.shape, batch.truth.dtype) == ((8, 64, 64), torch.uint8)
    known = batch.truth != UNLABELLED
    dark = batch.pixels.mean(dim=1) < 0
    assert torch.equal(dark[known], batch.truth[known] == 1)
    blank = (batch.pixels == 0).all(dim=1)
    assert blank.any()
    assert not known[blank].any(), "what holds no data is not learned"


def test_pixels_without_data_are_not_learned(labelled: MakeTiles, squares: Any) -> None:
    tiles = labelled(squares(3, 32))
    valid = tiles.valid.copy()
    valid[:, 10:20] = False
    lesson = lesson_of(replace(tiles, valid=valid))
    truth = lesson.batch(np.array([0, 1]), np.random.default_rng(0)).truth
    assert int((truth == UNLABELLED).sum()) >= 2 * 10 * 32


def test_odd_tiles_are_padded_as_in_a_run_and_the_padding_is_not_learned(labelled: MakeTiles, squares: Any) -> None:
    lesson = lesson_of(labelled(squares(4, 50)))
    batch = lesson.batch(np.arange(3), np.random.default_rng(0))
    assert batch.pixels.shape == (3, 3, 64, 64)
    assert bool((batch.truth[:, 50:] == UNLABELLED).all())
    assert bool((batch.truth[:, :, 50:] == UNLABELLED).all())
    assert torch.equal(batch.pixels[:, :, 50], batch.pixels[:, :, 49])


@pytest.mark.parametrize("loss", ["cross-entropy", "focal", "dice", "tversky", "cross-entropy + dice"])
@pytest.mark.parametrize("classes", [("a",), ("a", "b")])
def test_unlabelled_pixels_change_no_loss(labelled: MakeTiles, squares: Any, loss: str, classes: Any) -> None:
    lesson = lesson_of(labelled(squares(3, 32, len(classes)), classes=classes), loss=loss, class_weights=True)
    truth = torch.randint(0, len(classes) + 1, (2, 8, 8), dtype=torch.uint8)
    truth[:, :4] = UNLABELLED
    logits = torch.randn(2, len(classes) + (len(classes) > 1), 8, 8)
    first = lesson.loss(logits, truth)
    logits[:, :, :4] = 9
    assert lesson.loss(logits, truth).item() == pytest.approx(first.item(), rel=1e-5)
    logits[:, :, 4:] = 9
    assert lesson.loss(logits, truth).item() != pytest.approx(first.item(), rel=1e-3)


def test_the_score_is_the_dice_of_the_cores(labelled: MakeTiles, squares: Any) -> None:
    tiles = labelled(squares(5, 48), halo_px=8)
    assert tiles.masks is not None
    wrong = tiles.masks.copy()
    wrong[-1, :8] = 1 - wrong[-1, :8]  # in the halo: it is not counted
    assert lesson_of(replace(tiles, masks=wrong)).score(Darkness()) == 1
    wrong[-1, 8:12, 8:40] = 1 - wrong[-1, 8:12, 8:40]
    core = (slice(8, 40), slice(8, 40))
    found, true = tiles.masks[-1][core] == 1, wrong[-1][core] == 1
    expected = 2 * (found & true).sum() / (found.sum() + true.sum())
    assert lesson_of(replace(tiles, masks=wrong)).score(Darkness()) == pytest.approx(expected)


def test_dice_by_hand() -> None:
    counts = np.array([[[3, 4, 6, 20], [0, 0, 0, 20]], [[1, 2, 4, 20], [0, 0, 0, 20]]])
    assert mean_dice(counts) == pytest.approx((8 / 16 + 1) / 2)
    counts[0, 1] = [0, 5, 0, 20]
    assert mean_dice(counts) == pytest.approx(8 / 16 / 2)


def test_pixels_are_counted_per_class(labelled: MakeTiles) -> None:
    masks = np.array([[[0, 1, 2, UNLABELLED], [2, 2, 1, 0]], [[0, 0, 0, 0]] * 2], np.uint8).repeat(2, axis=1)
    tiles = labelled(masks, classes=("a", "b"))
    valid = tiles.valid.copy()
    valid[:, 0, 0] = False
    np.testing.assert_array_equal(labelled_pixels(replace(tiles, valid=valid), np.array([0])), [3, 4, 6])
    assert not labelled_pixels(tiles, np.array([], np.intp)).any()


def test_tiles_of_rare_classes_are_drawn_more_often(labelled: MakeTiles) -> None:
    masks = np.zeros((6, 32, 32), np.uint8)
    masks[:4, :16] = 1
    masks[0, 16:] = 2
    tiles = labelled(np.concatenate([masks, masks[:1]]), classes=("common", "rare"))
    np.testing.assert_array_equal(lesson_of(tiles).odds, np.ones(6))
    np.testing.assert_allclose(lesson_of(tiles, oversample=True).odds, [1, 1 / 4, 1 / 4, 1 / 4, 1 / 2, 1 / 2])
