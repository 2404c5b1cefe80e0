"""Labelled tiles in, a bundle out that a run can use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray

from classifiers.bundle import Bundle, load_bundle, read_weights
from classifiers.labels.sample import LabelledTiles, Split
from classifiers.network_gate import NetworkGate
from classifiers.torch_gate import build_gate
from classifiers.torch_runtime import TorchRuntime, load_weights
from classifiers.training import train_gate as module
from classifiers.training.draft import cores
from classifiers.training.lesson import EpochReport, FakeWatcher
from classifiers.training.settings import DataSettings, FitSettings, ModelSettings, NetworkSettings, TrainingRecipe
from classifiers.training.train_gate import train_gate
from tiling.errors import BadInput
from tiling.stack import TileStack

Make = Callable[..., LabelledTiles]
Parts = Callable[[LabelledTiles], Split]
Recipe = Callable[..., TrainingRecipe]
FEW = FitSettings(epochs=5, batch=8, precision="float32", average=0.5, rate=3e-3)


def scores_of(bundle: Bundle, stack: TileStack) -> NDArray[np.float32]:
    """As a run with torch scores, on the threads there are."""
    return NetworkGate(bundle, TorchRuntime(load_weights(build_gate(bundle), bundle), bundle)).score(stack)


def test_a_gate_is_trained_measured_written_and_exported(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe, folder: Path
) -> None:
    tiles = coloured(64)
    split = thirds(tiles)
    zoomed = NetworkSettings(architecture="test_resnet", zoom=2)  # it can not be exported for tiles as small as these
    recipe = tiny_recipe(
        fit=FEW,
        network=zoomed,
        model=ModelSettings(name="colours", job="Tells red from green.", not_tested="anything real", licence="CC0-1.0"),
    )
    watch = FakeWatcher()
    bundle = train_gate(tiles, split, recipe, folder, watch, command="tilegate train gate tiles --recipe colours")
    assert [report.epoch for report in watch.reports] == [1, 2, 3, 4, 5]
    assert bundle == load_bundle(folder, folder)
    assert bundle.metrics["accuracy"] == 1
    assert bundle.metrics["tiles"] == 16
    assert set(bundle.exports) == {"model"}
    assert bundle.drift["openvino-f32"].tiles == 16
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "bundle.json", "model.bin", "model.safetensors", "model.xml"
    ]  # fmt: skip
    card = (folder / "README.md").read_text()
    assert "Tells red from green." in card
    assert "    tilegate train gate tiles --recipe colours\n" in card
    assert bundle.sha256 in card
    assert "Never tested on: anything real" in card
    assert max(len(line) for line in card.splitlines() if not line.startswith("|")) <= 100


def test_the_evidence_is_what_the_shipped_weights_say(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_exported", lambda bundle, *_: bundle)
    tiles = coloured(64, ("bright",), exclusive=False)
    split = thirds(tiles)
    bundle = train_gate(tiles, split, tiny_recipe(fit=FEW), folder, FakeWatcher())
    assert {values.dtype for values in safetensors.torch.load(read_weights(bundle)).values()} == {
        torch.float16,
        torch.int64,
    }
    scores = scores_of(bundle, tiles.stack(split.test))
    evidence = bundle.calibration
    assert evidence is not None
    assert np.array(evidence.scores) == pytest.approx(scores, abs=1e-6)
    assert np.array(evidence.labels).tolist() == tiles.labels[split.test].tolist()
    assert evidence.tiles == tuple(tiles.samples[i].name for i in split.test)
    positive = tiles.labels[split.test, 0] > 0
    assert bundle.threshold is not None
    assert (scores[positive, 0] >= bundle.threshold).mean() >= 0.99
    assert bundle.threshold <= 0.5
    assert bundle.domain is not None
    assert bundle.domain.tiles == len(split.train)


def test_whole_weights_where_half_is_off(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_exported", lambda bundle, *_: bundle)
    tiles = coloured()
    recipe = tiny_recipe(network=NetworkSettings(architecture="test_resnet", half=False))
    bundle = train_gate(tiles, thirds(tiles), recipe, folder, FakeWatcher())
    assert torch.float16 not in {values.dtype for values in safetensors.torch.load(read_weights(bundle)).values()}


def test_a_stopped_training_goes_on_and_ends_in_the_same_bundle(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_exported", lambda bundle, *_: bundle)
    tiles = coloured()

    class Stopped(Exception):
        pass

    class Stopper:
        def epoch(self, report: EpochReport) -> None:
            raise Stopped

    whole = train_gate(tiles, thirds(tiles), tiny_recipe(), tmp_path / "whole", FakeWatcher())
    with pytest.raises(Stopped):
        train_gate(tiles, thirds(tiles), tiny_recipe(), tmp_path / "stopped", Stopper())
    assert not (tmp_path / "stopped" / "bundle.json").exists()
    other = tiny_recipe(fit=replace(tiny_recipe().fit, rate=0.5))
    with pytest.raises(BadInput, match=r"fit.rate \(0.001 there, 0.5 here\)"):
        train_gate(tiles, thirds(tiles), other, tmp_path / "stopped", FakeWatcher())
    again = train_gate(tiles, thirds(tiles), tiny_recipe(), tmp_path / "stopped", FakeWatcher())
    assert (again.sha256, again.contract_sha256) == (whole.sha256, whole.contract_sha256)


def test_a_parent_is_never_less_probable_than_its_child(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_exported", lambda bundle, *_: bundle)
    tiles = coloured(64, ("red", "green", "blue"))
    recipe = tiny_recipe(fit=FEW, data=DataSettings(parents={"red": "warm", "green": "any", "warm": "any"}))
    bundle = train_gate(tiles, thirds(tiles), recipe, folder, FakeWatcher())
    assert bundle.classes == ("red", "green", "blue", "warm", "any")
    assert bundle.hyperparameters["parents"] == (3, 4, -1, 4, -1)
    red, green, _, warm, any_ = scores_of(bundle, coloured(200, ("red",), seed=5).stack(range(200))).T
    assert (warm >= red).all()
    assert (any_ >= np.maximum(warm, green)).all()
    assert bundle.metrics["roc_auc"] > 0.9


def test_the_halo_is_cut_off(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_exported", lambda bundle, *_: bundle)
    tiles = coloured(tile_px=10, halo_px=3)
    bundle = train_gate(tiles, thirds(tiles), tiny_recipe(), folder, FakeWatcher())
    assert bundle.input_px == 10
    core = cores(tiles)
    assert core.side_px == core.pixels.shape[-1] == 10
    assert (core.pixels == tiles.pixels[:, :, 3:13, 3:13]).all()


def test_a_network_that_can_not_be_exported_is_a_bundle_all_the_same(
    coloured: Make,
    thirds: Parts,
    tiny_recipe: Recipe,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused(*_: Any) -> None:
        raise BadInput("tiny: exported, it does not answer as torch does")

    monkeypatch.setattr(module, "export_bundle", refused)
    tiles = coloured()
    with caplog.at_level(logging.WARNING, "tilegate"):
        bundle = train_gate(tiles, thirds(tiles), tiny_recipe(), folder, FakeWatcher())
    assert "does not answer as torch does" in caplog.text
    assert bundle == load_bundle(folder, folder)
    assert bundle.exports == {}


def test_too_little_is_told_before_anything_is_learnt(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe, folder: Path
) -> None:
    tiles = coloured()
    watch = FakeWatcher()
    none = np.array([], np.intp)
    with pytest.raises(BadInput, match=r"0 test tiles of 24 in 12 groups"):
        train_gate(tiles, replace(thirds(tiles), test=none), tiny_recipe(), folder, watch)
    absent = replace(tiles, labels=tiles.labels * np.array([1, 0], np.float32))
    with pytest.raises(BadInput, match=r"of 12 training tiles none holds green"):
        train_gate(absent, thirds(tiles), tiny_recipe(), folder, watch)
    alone = replace(tiles, classes=("red",), exclusive=False, labels=np.ones((24, 1), np.float32))
    with pytest.raises(BadInput, match=r"of 12 training tiles all hold red"):
        train_gate(alone, thirds(tiles), tiny_recipe(), folder, watch)
    with pytest.raises(BadInput, match="no network named 'resnet0'"):
        train_gate(tiles, thirds(tiles), tiny_recipe(network=NetworkSettings(architecture="resnet0")), folder, watch)
    assert watch.reports == []
    assert not folder.exists()
