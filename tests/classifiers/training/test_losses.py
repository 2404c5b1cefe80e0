"""Losses against those of torch and segmentation-models-pytorch."""

from __future__ import annotations

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from classifiers.training.losses import balance, gate_loss, mask_loss
from classifiers.training.settings import FitSettings
from tiling.errors import BadInput


def random_logits(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2


def some_masks(classes: int) -> torch.Tensor:
    return torch.randint(0, classes + 1, (2, 6, 5), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


INDEX = torch.tensor([0, 2, 1, 1, 2])
ONE_HOT = functional.one_hot(INDEX, 3).float()
OVERLAPPING = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]])


def test_cross_entropy_of_exclusive_classes_is_torchs() -> None:
    logits = random_logits(5, 3)
    for smoothing in (0.0, 0.2):
        loss = gate_loss(FitSettings(smoothing=smoothing), exclusive=True)(logits, ONE_HOT)
        assert loss == pytest.approx(
            functional.cross_entropy(logits, INDEX, label_smoothing=smoothing).item(), rel=1e-5
        )


def test_cross_entropy_of_mixed_labels_is_torchs() -> None:
    logits, mixture = random_logits(5, 3), 0.3 * ONE_HOT + 0.7 * ONE_HOT.flip(0)
    loss = gate_loss(FitSettings(), exclusive=True)(logits, mixture)
    assert loss == pytest.approx(functional.cross_entropy(logits, mixture).item(), rel=1e-5)


def test_cross_entropy_of_overlapping_classes_is_torchs() -> None:
    logits = random_logits(5, 3)
    loss = gate_loss(FitSettings(), exclusive=False)(logits, OVERLAPPING)
    assert loss == pytest.approx(functional.binary_cross_entropy_with_logits(logits, OVERLAPPING).item(), rel=1e-5)


def test_class_weights_are_torchs_with_one_over_the_frequency() -> None:
    logits, counts = random_logits(5, 3), ONE_HOT.sum(0).numpy().astype(float)
    loss = gate_loss(FitSettings(), exclusive=True, balance=balance(counts, 5))(logits, ONE_HOT)
    weight = torch.from_numpy(1 / counts).float()
    assert loss == pytest.approx(functional.cross_entropy(logits, INDEX, weight=weight).item(), rel=1e-5)


def test_a_balanced_class_counts_half_where_it_is_and_half_where_it_is_not() -> None:
    logits, truth = random_logits(6, 1), torch.tensor([[1.0], [0], [0], [0], [0], [0]])
    loss = gate_loss(FitSettings(), exclusive=False, balance=balance(np.array([1.0]), 6))(logits, truth)
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    assert loss == pytest.approx((each[:1].mean() + each[1:].mean()).item() / 2, rel=1e-5)


def test_the_focal_loss_is_that_of_smp() -> None:
    logits = random_logits(5, 3)
    ours = gate_loss(FitSettings(loss="focal", focal_gamma=3), exclusive=False)(logits, OVERLAPPING)
    theirs = smp.losses.FocalLoss("multilabel", gamma=3)(logits, OVERLAPPING)
    assert ours == pytest.approx(theirs.item(), rel=1e-4)


def test_without_gamma_the_focal_loss_is_cross_entropy() -> None:
    logits = random_logits(5, 3)
    focal = gate_loss(FitSettings(loss="focal", focal_gamma=0), exclusive=True)(logits, ONE_HOT)
    assert focal == pytest.approx(functional.cross_entropy(logits, INDEX).item(), rel=1e-5)


def test_masks_of_several_classes_are_cross_entropy_with_background_first() -> None:
    logits, masks = random_logits(2, 4, 6, 5), some_masks(3)
    masks[0, :2] = 255
    loss = mask_loss(FitSettings(), exclusive=True)(logits, masks)
    assert loss == pytest.approx(functional.cross_entropy(logits, masks.long(), ignore_index=255).item(), rel=1e-5)


def test_masks_of_one_class_are_binary() -> None:
    logits, masks = random_logits(2, 1, 6, 5), some_masks(1)
    loss = mask_loss(FitSettings(), exclusive=False)(logits, masks)
    truth = (masks == 1).float()[:, None]
    assert loss == pytest.approx(functional.binary_cross_entropy_with_logits(logits, truth).item(), rel=1e-5)


def test_dice_is_that_of_smp() -> None:
    logits, masks = random_logits(2, 1, 60, 50), torch.ones(2, 60, 50, dtype=torch.uint8)
    masks[:, :30] = 0
    masks[1, :, 40:] = 255
    ours = mask_loss(FitSettings(loss="dice"), exclusive=False)(logits, masks)
    theirs = smp.losses.DiceLoss("binary", ignore_index=255, smooth=1)(logits, masks[:, None].long())
    assert ours == pytest.approx(theirs.item(), rel=1e-4)
    both = mask_loss(FitSettings(loss="cross-entropy + dice"), exclusive=False)(logits, masks)
    alone = mask_loss(FitSettings(), exclusive=False)(logits, masks)
    assert both == pytest.approx((ours + alone).item(), rel=1e-5)


def test_tversky_is_that_of_smp() -> None:
    logits, masks = random_logits(2, 1, 60, 50), torch.ones(2, 60, 50, dtype=torch.uint8)
    masks[:, :20] = 0
    ours = mask_loss(FitSettings(loss="tversky", tversky_miss=0.8), exclusive=False)(logits, masks)
    theirs = smp.losses.TverskyLoss("binary", alpha=0.2, beta=0.8, smooth=1)(logits, masks[:, None].long())
    assert ours == pytest.approx(theirs.item(), rel=1e-4)


@given(
    loss=st.sampled_from(["cross-entropy", "focal", "dice", "tversky", "cross-entropy + dice"]), exclusive=st.booleans()
)
def test_unlabelled_pixels_do_not_count(loss: str, exclusive: bool) -> None:
    logits, masks = random_logits(2, 3, 6, 5).requires_grad_(), some_masks(2)
    masks[0, 3:] = 255
    measure = mask_loss(FitSettings(loss=loss), exclusive=exclusive)  # type: ignore[arg-type]
    value = measure(logits, masks)
    value.backward()
    assert (logits.grad[0, :, 3:] == 0).all()
    assert (logits.grad[0, :, :3] != 0).any()
    other = logits.detach().clone()
    other[0, :, 3:] = 50
    assert measure(other, masks).item() == pytest.approx(value.item(), rel=1e-6)


def test_a_batch_without_a_labelled_pixel_teaches_nothing() -> None:
    logits, masks = random_logits(1, 2, 4, 4).requires_grad_(), torch.full((1, 4, 4), 255, dtype=torch.uint8)
    loss = mask_loss(FitSettings(loss="cross-entropy + dice"), exclusive=True)(logits, masks)
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad == 0).all()


def test_gates_have_no_overlap() -> None:
    with pytest.raises(BadInput, match='"dice" is for masks'):
        gate_loss(FitSettings(loss="dice"), exclusive=True)
