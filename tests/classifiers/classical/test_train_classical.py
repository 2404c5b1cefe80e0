"""Training of classical gates, from tiles to a bundle that says what it is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from classifiers.bundle import Bundle, load_bundle
from classifiers.classical.learn import MOST_BYTES, stored
from classifiers.classical.train_classical import train_classical
from classifiers.network_gate import open_network_gate
from classifiers.training.settings import DataSettings, FitSettings, ModelSettings, NetworkSettings, TrainingRecipe
from tiling.errors import BadInput

Trained = Callable[..., Bundle]
ALL = ("colour", "lbp", "glcm", "hog", "words", "fisher")


@pytest.mark.parametrize("classifier", ["logistic", "svm", "knn", "tree", "forest"])
def test_every_classifier_learns_textures(trained: Trained, textures: Any, parts: Any, classifier: str) -> None:
    bundle, tiles, test = trained(ALL, classifier), textures(), parts().test
    scores = open_network_gate(load_bundle(bundle.path, Path()), "numpy").score(tiles.stack(test))
    truth = tiles.labels[test].argmax(axis=1)
    assert accuracy_score(truth, scores.argmax(axis=1)) >= 0.9
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert bundle.metrics["accuracy"] == pytest.approx(accuracy_score(truth, scores.argmax(axis=1)))
    assert bundle.calibration is not None
    np.testing.assert_allclose(bundle.calibration.scores, scores, atol=1e-5)
    assert bundle.calibration.tiles == tuple(tiles.samples[i].name for i in test)


@pytest.mark.parametrize("feature", ALL)
def test_every_feature_learns_something_alone(trained: Trained, feature: str) -> None:
    """Thrice as often right as a guess, or nearly."""
    assert trained((feature,), "logistic").metrics["accuracy"] > 0.75


def test_the_bundle_is_small_and_nothing_in_it_runs(trained: Trained) -> None:
    folder = trained(ALL, "forest").path
    assert {path.name for path in folder.iterdir()} == {"bundle.json", "model.safetensors", "README.md"}
    assert (folder / "model.safetensors").stat().st_size < MOST_BYTES
    with pytest.raises(BadInput, match=r"this knn takes 2,097,.* at most 2,097,152 .*near.examples, \(1, 2097152\)"):
        stored({"near.examples": np.zeros((1, 2**21), np.uint8)}, "knn")


def test_the_same_tiles_give_the_same_bytes(
    trained: Trained, textures: Any, parts: Any, recipe: Any, tmp_path: Path
) -> None:
    again = train_classical(textures(), parts(), recipe(ALL, "forest"), tmp_path / "textures")
    assert again.contract_sha256 == trained(ALL, "forest").contract_sha256


def test_one_class_of_its_own(textures: Any, parts: Any, recipe: Any, tmp_path: Path) -> None:
    tiles, split = textures(exclusive=False, classes=("dots",)), parts()
    bundle = train_classical(tiles, split, recipe(classifier="svm"), tmp_path / "dots")
    assert (bundle.activation, bundle.classes) == ("sigmoid", ("dots",))
    scores = open_network_gate(bundle, "numpy").score(tiles.stack(split.test))
    assert roc_auc_score(tiles.labels[split.test], scores) == bundle.metrics["roc_auc"] > 0.95
    assert bundle.threshold is not None


def test_a_child_is_never_more_probable_than_its_parent(textures: Any, parts: Any, recipe: Any, tmp_path: Path) -> None:
    tiles, split = textures(exclusive=False, classes=("stripes", "dots")), parts()
    data = DataSettings(parents={"stripes": "pattern", "dots": "pattern"})
    bundle = train_classical(tiles, split, recipe(classifier="forest", data=data), tmp_path / "kinds")
    assert bundle.classes == ("stripes", "dots", "pattern")
    assert bundle.hyperparameters["parents"] == (2, 2, -1)
    scores = open_network_gate(bundle, "numpy").score(tiles.stack(range(90)))
    assert (scores[:, 2] >= scores[:, :2].max(axis=1)).all()
    assert roc_auc_score(tiles.labels[split.test].any(axis=1), scores[split.test, 2]) > 0.9


def test_temperature_is_folded_in(trained: Trained, textures: Any, parts: Any) -> None:
    """Of the validation tiles: no other makes their labels likelier."""
    from scipy.special import log_softmax

    from classifiers.classical.arrays import read_arrays
    from classifiers.classical.numpy_runtime import ClassicalRuntime
    from classifiers.preprocess import normalise

    bundle, tiles, validation = trained(("colour",), "tree"), textures(), parts().validation
    arrays = dict(read_arrays(bundle))
    assert float(arrays["temperature"]) == pytest.approx(bundle.metrics["temperature"])
    logits = ClassicalRuntime(bundle, arrays).infer(normalise(tiles.stack(validation), bundle))
    count = len(validation)
    soft = tiles.labels[validation] * (1 - 1 / (count + 2)) + 1 / (count + 2) / 3

    def likelihood(factor: float) -> float:
        return float((soft * log_softmax(logits * factor, axis=1)).sum())

    assert likelihood(1) >= max(likelihood(0.9), likelihood(1.1)) - 1e-6


def test_the_card_says_what_it_is(trained: Trained) -> None:
    bundle = trained(ALL, "forest")
    card = (bundle.path / "README.md").read_text()
    for words in (
        "Says what a tile is covered with.",
        "random forest of 100 trees",
        "bag of",
        "Fisher vectors",
        bundle.sha256,
    ):
        assert words in card
    assert "torch" not in card


def test_classes_can_be_weighed(textures: Any, parts: Any, recipe: Any, tmp_path: Path) -> None:
    told = FitSettings(seed=3, class_weights=True)
    with pytest.raises(BadInput, match="weigh no classes"):
        train_classical(textures(), parts(), recipe(classifier="knn", fit=told), tmp_path / "knn")
    assert not (tmp_path / "knn").exists()
    bundle = train_classical(textures(), parts(), recipe(classifier="tree", fit=told), tmp_path / "tree")
    assert bundle.metrics["accuracy"] > 0.8


def test_settings_of_networks_are_not_used(
    trained: Trained, textures: Any, parts: Any, recipe: Any, tmp_path: Path
) -> None:
    other = recipe(network=NetworkSettings(architecture="no-such", zoom=3, pretrained="imagenet"))
    bundle = train_classical(textures(), parts(), other, tmp_path / "textures")
    assert bundle.contract_sha256 == trained().contract_sha256
    assert bundle.pretrained_source is None


def test_what_can_not_be_learnt_says_why(textures: Any, parts: Any, recipe: Any, tmp_path: Path) -> None:
    network = TrainingRecipe(kind="gate", model=ModelSettings(name="x"))
    with pytest.raises(BadInput, match=r"no \[classical\]"):
        train_classical(textures(), parts(), network, tmp_path / "x")
    tiles = textures()
    none = replace(tiles, labels=np.where(tiles.labels[:, 1:2] > 0, [[1, 0, 0]], tiles.labels).astype(np.float32))
    with pytest.raises(BadInput, match="none holds dots"):
        train_classical(none, parts(), recipe(), tmp_path / "x")
