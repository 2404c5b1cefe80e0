"""From labelled tiles to a bundle: it finds dark squares, its figures are those of a re-run, and it can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from classifiers.bundle import load_bundle, read_weights
from classifiers.labels.sample import UNLABELLED, LabelledTiles, Split
from classifiers.training.lesson import EpochReport, FakeWatcher
from classifiers.training.settings import (
    AugmentSettings,
    DataSettings,
    FitSettings,
    ModelSettings,
    NetworkSettings,
    TrainingRecipe,
)
from downstream.network_segmenter import open_network_segmenter
from downstream.training.segment_tiles import count_tiles, map_tiles
from downstream.training.train_segmenter import draft_segmenter, encoder_name, require_answers, train_segmenter
from tiling.errors import BadInput

MakeTiles = Callable[..., LabelledTiles]
SPLIT = Split(train=np.arange(8), validation=np.arange(8, 10), test=np.arange(10, 14))


def recipe(**changes: Any) -> TrainingRecipe:
    plain: dict[str, Any] = {
        "kind": "segmenter",
        "model": ModelSettings(name="dark", licence="CC0-1.0", training_data="Squares.", not_tested="circles."),
        "data": DataSettings(classes={"thing": ("1-65535",)}),
        "network": NetworkSettings(architecture="test_resnet", decoder_channels=(16, 16, 8)),
        "augment": AugmentSettings(edge=0.2),
        "fit": FitSettings(epochs=4, steps=8, batch=4, rate=5e-3, average=0.8, loss="cross-entropy + dice"),
    }
    return TrainingRecipe(**(plain | changes))


def test_a_bundle_with_the_figures_of_a_re_run(tmp_path: Path, labelled: MakeTiles, squares: Any) -> None:
    tiles, watch = labelled(squares(14, 48), halo_px=8), FakeWatcher()
    made = train_segmenter(tiles, SPLIT, recipe(), tmp_path / "dark", watch, command="tilegate train segmenter X")
    bundle = load_bundle(tmp_path / "dark", tmp_path)
    assert bundle == made
    assert [report.epoch for report in watch.reports] == [1, 2, 3, 4]
    assert not (tmp_path / "dark" / ".training").exists()
    counts = count_tiles(open_network_segmenter(bundle, "torch"), tiles, SPLIT.test)
    both, mapped, true, pixels = (int(n) for n in counts.sum(axis=(0, 1)))
    assert bundle.metrics["f1"] == bundle.metrics["dice"] == pytest.approx(2 * both / (mapped + true))
    assert bundle.metrics["area_bias"] == pytest.approx(mapped / true - 1)
    assert bundle.metrics["pixels"] == pixels == 4 * 32 * 32
    assert bundle.metrics["f1"] > 0.95
    assert {"logit_shift", "area_bias_unshifted", "iou", "precision", "recall", "accuracy", "tiles"} <= set(
        bundle.metrics
    )
    assert (bundle.task, bundle.activation, bundle.input_px, bundle.channels) == ("segmentation", "sigmoid", 32, 1)
    assert bundle.labels == {"thing": ("1-65535",)}
    assert bundle.hyperparameters["encoder_name"] == "tu-test_resnet"
    assert b'"F32"' not in read_weights(bundle)
    assert bundle.drift["openvino-f32"].tiles == 4
    found = map_tiles(open_network_segmenter(bundle, "openvino-f32"), tiles, SPLIT.test)
    assert (found != map_tiles(open_network_segmenter(bundle, "torch"), tiles, SPLIT.test)).mean() < 1e-3
    card = (tmp_path / "dark" / "README.md").read_text()
    rows = {row.split("|")[1].strip(): row.split("|")[3:6] for row in card.splitlines() if row.startswith("| scene")}
    assert sorted(rows) == ["scene0", "scene1", "scene2"]
    core = np.s_[:, 8:40, 8:40]
    assert tiles.masks is not None
    ours = tiles.masks[core][SPLIT.test][tiles.groups[SPLIT.test] == "scene1"]
    assert rows["scene1"][0].strip() == f"{100 * (ours == 1).mean():.1f} %"
    for told in ("tilegate train segmenter X", "Never tested on: circles.", "Squares.", "CC0-1.0", bundle.sha256):
        assert told in card
    assert f"| F1 (Dice) | {bundle.metrics['f1']:.4f} |" in card


def test_several_classes_enlarged_from_patch_labels(tmp_path: Path, labelled: MakeTiles) -> None:
    masks = np.arange(14, dtype=np.uint8).repeat(32 * 32).reshape(14, 32, 32) % 3
    tiles = labelled(masks, classes=("grey", "black"))
    tiles = replace(tiles, exclusive=True, masks=None)
    network = NetworkSettings(architecture="test_resnet", decoder_channels=(16, 8, 8), zoom=2, half=False)
    settings = recipe(network=network, data=DataSettings(), augment=AugmentSettings(brightness=0))
    bundle = train_segmenter(tiles, SPLIT, settings, tmp_path / "dark", FakeWatcher())
    assert (bundle.activation, bundle.channels, bundle.hyperparameters["zoom"]) == ("softmax", 3, 2)
    assert "model" in bundle.exports
    assert bundle.metrics["dice"] > 0.9
    card = (tmp_path / "dark" / "README.md").read_text()
    assert "Nobody drew masks" in card
    assert "| scene1 | black |" in card
    assert b'"F16"' not in read_weights(bundle)


class Stop(Exception):
    """Somebody pulled the plug."""


class Impatient(FakeWatcher):
    def epoch(self, report: EpochReport) -> None:
        super().epoch(report)
        if report.epoch == 2:
            raise Stop


def test_stopped_it_goes_on_to_the_same_weights(tmp_path: Path, labelled: MakeTiles, squares: Any) -> None:
    tiles = labelled(squares(14, 32))
    whole = train_segmenter(tiles, SPLIT, recipe(), tmp_path / "whole", FakeWatcher())
    with pytest.raises(Stop):
        train_segmenter(tiles, SPLIT, recipe(), tmp_path / "stopped", Impatient())
    assert not (tmp_path / "stopped" / "bundle.json").exists(), "what is not done is no bundle"
    watch = FakeWatcher()
    assert train_segmenter(tiles, SPLIT, recipe(), tmp_path / "stopped", watch).sha256 == whole.sha256
    assert [report.epoch for report in watch.reports] == [3, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": DataSettings(parents={"thing": "x"})}, "data.parents is for gates"),
        ({"network": NetworkSettings(architecture="no-such")}, "can not build a Unet"),
        ({"network": NetworkSettings(architecture="test_resnet", decoder_channels=(8, 8))}, "encoder_depth"),
        ({"model": ModelSettings(name="a/b")}, "must be a plain name"),
    ],
)
def test_a_recipe_that_can_not_be_is_refused_before_training(
    tmp_path: Path, labelled: MakeTiles, squares: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        train_segmenter(labelled(squares(14, 32)), SPLIT, recipe(**changes), tmp_path / "dark", FakeWatcher())
    assert not (tmp_path / "dark").exists()


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        (0, slice(0, 10), "no training pixel is thing"),
        (1, slice(0, 10), "no training pixel is background"),
        (UNLABELLED, slice(0, 10), "8 of 14 tiles are for train, without a labelled pixel"),
        (UNLABELLED, slice(10, 14), "4 of 14 tiles are for test, without a labelled pixel"),
    ],
)
def test_tiles_that_teach_nothing_are_refused(
    tmp_path: Path, labelled: MakeTiles, squares: Any, value: int, where: slice, message: str
) -> None:
    masks = squares(14, 32)
    masks[where] = value
    with pytest.raises(BadInput, match=message):
        train_segmenter(labelled(masks), SPLIT, recipe(), tmp_path / "dark", FakeWatcher())


def test_classes_that_overlap_are_refused(tmp_path: Path, labelled: MakeTiles, squares: Any) -> None:
    tiles = labelled(squares(14, 32, 2), classes=("a", "b"))
    with pytest.raises(BadInput, match="a, b can not overlap"):
        train_segmenter(tiles, SPLIT, recipe(data=DataSettings(exclusive=False)), tmp_path / "x", FakeWatcher())
    both = replace(tiles, masks=None, labels=np.ones((14, 2), np.float32))
    with pytest.raises(BadInput, match="14 of 14 tiles are of several classes, such as tile0"):
        train_segmenter(both, SPLIT, recipe(data=DataSettings()), tmp_path / "x", FakeWatcher())


class OneSide(nn.Module):
    """Takes 32 px only, as some transformers do; answers with one channel."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.shape[2] == 32, "Input height doesn't match model (32)"
        return pixels[:, :1]


def test_networks_of_one_side_are_found_before_training(labelled: MakeTiles, squares: Any) -> None:
    tiles = labelled(squares(14, 48), halo_px=8)
    draft = draft_segmenter(tiles, SPLIT, recipe())
    with pytest.raises(BadInput, match=r"tu-test_resnet does not take tiles of 64 px \(Input height"):
        require_answers(OneSide(), draft, tiles)
    require_answers(OneSide(), draft, labelled(squares(14, 32)))
    with pytest.raises(BadInput, match="answered with shape"):
        require_answers(OneSide(), replace(draft, classes=("a", "b")), labelled(squares(14, 32)))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mobilenetv3_small_050", "tu-mobilenetv3_small_050"),
        ("tu-resnet18", "tu-resnet18"),
        ("efficientnet-b0", "efficientnet-b0"),
    ],
)
def test_encoders_are_written_as_smp_does(given: str, name: str) -> None:
    assert encoder_name(given) == name
