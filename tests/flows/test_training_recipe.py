"""Training recipes: what comes with tilegate is sound, and what is wrong is named before anything is learnt."""

from __future__ import annotations

import json
import tomllib

import pytest

from classifiers.training.settings import AugmentSettings, ClassicalSettings, FitSettings, NetworkSettings
from flows.training.recipe import (
    ENCODER,
    as_json,
    bundled_training_recipes,
    load_training_recipe,
    training_recipe,
)
from flows.training.record import FILE
from tiling.errors import BadInput

PLAIN = {"kind": "gate", "model": {"name": "any"}}


@pytest.mark.parametrize("name", bundled_training_recipes())
def test_what_comes_with_tilegate_is_what_its_file_says(name):
    plain = tomllib.loads(bundled_training_recipes()[name].read_text())
    recipe = load_training_recipe(name)
    for table in ("model", "data", "fit", "network", "augment"):
        for key, value in plain.get(table, {}).items():
            assert as_json(recipe)[table][key] == value, f"{table}.{key}"
    assert len(recipe.model.training_data) > 50
    assert recipe.model.licence
    assert recipe.model.not_tested


@pytest.mark.parametrize("name", bundled_training_recipes())
def test_json_and_back_is_the_same_recipe(name):
    recipe = load_training_recipe(name, ("fit.epochs=3", "classical.classifier=svm") if name == "idc" else ())
    assert training_recipe(json.loads(json.dumps(as_json(recipe))), "json") == recipe


def test_defaults_are_the_settings_own():
    recipe = training_recipe(PLAIN, "plain")
    assert (recipe.fit, recipe.network, recipe.augment) == (FitSettings(), NetworkSettings(), AugmentSettings())
    assert training_recipe(PLAIN | {"kind": "segmenter"}, "plain").network.architecture == ENCODER
    own = PLAIN | {"kind": "segmenter", "network": {"architecture": "resnet18"}}
    assert training_recipe(own, "plain").network.architecture == "resnet18"


def test_changes_reach_every_table(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('kind = "gate"\n[model]\nname = "mine"\n')
    changes = ("fit.epochs=3", 'data.classes.idc=["1", "yes"]', "classical.classifier=svm", "model.recall=0.9")
    recipe = load_training_recipe(str(path), changes)
    assert recipe.fit.epochs == 3
    assert recipe.data.classes == {"idc": ("1", "yes")}
    assert recipe.classical == ClassicalSettings(classifier="svm")
    assert recipe.model.recall == 0.9


def test_the_record_beside_a_bundle_is_a_recipe(tmp_path):
    recipe = load_training_recipe("idc")
    (tmp_path / FILE).write_text(json.dumps({"recipe": as_json(recipe), "finished": True}))
    assert load_training_recipe(str(tmp_path / FILE)) == recipe
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(BadInput, match="not readable"):
        load_training_recipe(str(tmp_path / "other.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("fit.epoch=3", "unknown key fit.epoch; known: epochs, frozen_epochs"),
        ("speed=3", "unknown key speed; known: kind, model, data"),
        ("classical.features=['sift']", "classical.features"),
        ("classical.classifer=svm", "unknown key classical.classifer; known: features, classifier"),
        ("fit.epochs=0", "fit.epochs"),
        ("fit.rate=inf", "fit.rate"),
        ("fit.rate=nan", "fit.rate"),
        ("fit=3", "fit"),
        ("data.classes=3", "data.classes"),
        ("model.name='../up'", "plain name"),
        ("model.name=''", "plain name"),
        ("kind=judge", "kind"),
        ("fit.loss=dice", "is for masks"),
        ("split.test=0.9", "nothing is left"),
        ("fit.epochs", "key.sub=value"),
        ("fit.seed=-1", "fit.seed"),
        ("split.seed=-1", "split.seed"),
        ("fit.seed=4294967296", "fit.seed"),
        ("network.decoder_channels=[16, 8]", "network.decoder_channels"),
        ("data.images=/x/big.png", 'data.images: write a list, such as ["/x/big.png"]'),
        ("data.classes.Forest=Forest", 'data.classes.Forest: write a list, such as ["Forest"]'),
        ("data.bands=['red']", 'data.bands.0: write a list, such as ["red", 1]'),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(BadInput) as refused:
        load_training_recipe("idc", (change,))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"), [("classical.classifier=svm", "for gates"), ("augment.mixup=0.2", "no mask")]
)
def test_what_segmenters_can_not_do_is_named(change, message):
    with pytest.raises(BadInput, match=message):
        load_training_recipe("nuclei", (change,))


def test_unknown_recipes_are_told_with_those_there_are(tmp_path):
    with pytest.raises(BadInput, match=r"no training recipe lava: neither a file nor one of .*landcover"):
        load_training_recipe("lava")
    (tmp_path / "broken.toml").write_text("kind = [")
    with pytest.raises(BadInput, match="not readable"):
        load_training_recipe(str(tmp_path / "broken.toml"))
    with pytest.raises(BadInput, match=r"kind is missing|model is missing"):
        training_recipe({}, "nothing")
