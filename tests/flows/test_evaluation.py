"""Evaluating rules and bundles: figures against numpy, refusals as in a run, and what a reader is warned of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from PIL import Image

from classifiers.labels.sample import UNLABELLED, LabelledTiles, Sample
from classifiers.protocol import FakeClassifier, ModelId
from flows.evaluation.figures import FIGURES, calibration_figures, gate_evaluated, grouped
from flows.evaluation.tiles import aligned, grouped_as_learnt, require_fit
from flows.models import find_bundle
from flows.training.recipe import load_training_recipe
from flows.training.stages import let_go
from tiling.errors import BadInput
from tiling.info import PixelSize

WATER = 'data.classes.water=["1"]'


@pytest.fixture(autouse=True)
def _forget():
    yield
    let_go()


@pytest.fixture
def scene(make_scene, tmp_path):
    """DATA/images and DATA/masks: lakes of 256 px, drawn a little too small; (DATA, truth, what NDWI says)."""
    found = make_scene(shape=(256, 256))
    y, x = np.mgrid[:256, :256]
    truth = ((y - 60) ** 2 + (x - 70) ** 2 < 40**2) | ((y - 240) ** 2 + (x - 200) ** 2 < 18**2)
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/masks").mkdir()
    found.path.rename(tmp_path / "data/images/scene.tif")
    Image.fromarray(truth.astype(np.uint8)).save(tmp_path / "data/masks/scene.png")
    return tmp_path / "data", truth, found.water


def tiles_of(mask, side=64):
    return mask.reshape(256 // side, side, 256 // side, side).swapaxes(1, 2).reshape(-1, side, side)


def test_a_rule_as_segmenter(scene, tilegate):
    data, truth, found = scene
    seen = tilegate("evaluate", "segmenter", "ndwi", data, "--json", "--set", WATER, "--set", "data.tile_px=64")
    assert seen.code == 0, seen.err
    both, either = (truth & found).sum(), (truth | found).sum()
    assert seen.json["iou"] == pytest.approx(both / either)
    assert seen.json["dice"] == pytest.approx(2 * both / (truth.sum() + found.sum()))
    assert seen.json["area_bias"] == pytest.approx(found.sum() / truth.sum() - 1)
    assert seen.json["accuracy"] == pytest.approx((truth == found).mean())
    assert sum(point["true"] for point in seen.json["areas"]) == pytest.approx(truth.sum() / 100)
    assert seen.json["area_unit"] == "ha"
    assert (seen.json["tiles"], seen.json["roc_auc"], seen.json["bundle"]["name"]) == (16, None, "ndwi")


def test_another_cut_of_a_rule(scene, tilegate):
    data, truth, _ = scene
    options = ("--json", "--set", WATER, "--set", "data.tile_px=64")
    every = tilegate("evaluate", "segmenter", "ndwi", data, *options, "--cut", "-1").json
    assert every["precision"] == pytest.approx(truth.mean())
    refused = tilegate("evaluate", "segmenter", "forest", data, *options, "--cut", "0.5")
    assert (refused.code, "is for rules" in refused.err) == (2, True), refused.err


def test_a_rule_as_gate(scene, tilegate, tmp_path):
    data, truth, found = scene
    options = ("--set", WATER, "--set", "data.tile_px=32", "--set", "data.holds=0.1")
    seen = tilegate("evaluate", "gate", "ndwi", data, "--json", "--out", tmp_path / "page", *options)
    assert seen.code == 0, seen.err
    wet = tiles_of(truth, 32).mean(axis=(1, 2)) >= 0.1
    share = tiles_of(found, 32).mean(axis=(1, 2))
    pairs = (share[wet][:, None] > share[~wet]) + 0.5 * (share[wet][:, None] == share[~wet])
    assert seen.json["roc_auc"] == pytest.approx(pairs.mean())
    assert seen.json["accuracy"] == pytest.approx(((share >= 0.5) == wet).mean())
    assert seen.json["recall_table"]["water"][-1]["recall"] == 1
    assert set(FIGURES) < set(seen.json)
    assert json.loads((tmp_path / "page/evaluation.json").read_text()) == seen.json
    page = (tmp_path / "page/evaluation.html").read_text()
    assert "<svg" in page
    assert "data:image/png;base64" in page
    assert 'src="http' not in page


def test_a_rule_is_measured_where_every_tile_is_of_its_class(scene, tilegate):
    """Nothing is to be learnt: 256 px of lakes as one tile, which NDWI calls water by its share."""
    data, _, found = scene
    options = ("--json", "--set", WATER, "--set", "data.tile_px=256")
    seen = tilegate("evaluate", "gate", "ndwi", data, *options)
    assert seen.code == 0, seen.err
    assert (seen.json["tiles"], seen.json["roc_auc"]) == (1, None)
    assert seen.json["accuracy"] == float(found.mean() >= 0.5)


def test_lines_for_people(scene, tilegate):
    data, *_ = scene
    seen = tilegate("evaluate", "segmenter", "ndwi", data, "--set", WATER, "--set", "data.tile_px=64")
    assert "ndwi on 16 tiles" in seen.out
    assert "  iou        0." in seen.out


def test_robustness_has_a_row_for_each_disturbance_and_says_why_none_for_an_attack(scene, tilegate):
    data, *_ = scene
    seen = tilegate(
        "evaluate", "gate", "ndwi", data, "--json", "--robustness", "--set", WATER, "--set", "data.tile_px=64"
    )
    assert seen.code == 0, seen.err
    rows = seen.json["robustness"]
    assert rows[0]["name"] == "undisturbed"
    assert len({row["name"] for row in rows}) > 5
    assert "not a network" in seen.json["fgsm"][0]["skipped"]


def test_a_segmenter_bends_too(scene, tilegate, tmp_path):
    data, *_ = scene
    small = ("--set", WATER, "--set", "data.tile_px=64")
    seen = tilegate("evaluate", "segmenter", "ndwi", data, "--json", "--robustness", "--out", tmp_path / "page", *small)
    assert seen.code == 0, seen.err
    rows = {(row["name"], row["step"]): row for row in seen.json["robustness"]}
    assert rows["undisturbed", ""]["figures"]["dice"] == seen.json["dice"]
    assert rows["brighter", "strong"]["change"]["dice"] == pytest.approx(0, abs=0.01)  # an index is a ratio
    assert "masks do not move" in rows["rotation", "strong"]["skipped"]
    assert "How it bends" in (tmp_path / "page/evaluation.html").read_text()


def test_a_rule_runs_on_nothing(scene, tilegate):
    data, *_ = scene
    seen = tilegate("evaluate", "gate", "ndwi", data, "--runtime", "torch", "--set", WATER)
    assert (seen.code, "ndwi is a rule" in seen.err) == (2, True)


def test_a_part_is_that_of_the_recipe(scene, tilegate, tmp_path):
    data, *_ = scene
    (tmp_path / "wet.toml").write_text(
        'kind = "gate"\n[model]\nname = "wet"\n[data]\nclasses = { water = ["1"] }\ntile_px = 16\nblock_tiles = 2\n'
    )
    command = ("evaluate", "gate", "ndwi", data, "--json", "--recipe", tmp_path / "wet.toml")
    parts = {part: tilegate(*command, "--part", part).json["tiles"] for part in ("all", "train", "validation", "test")}
    assert parts["all"] == 256
    assert parts["train"] + parts["validation"] + parts["test"] == 256
    assert 30 < parts["test"] < 80
    seen = tilegate("evaluate", "gate", "ndwi", data, "--part", "test")
    assert (seen.code, "--recipe" in seen.err) == (2, True)


def test_a_rule_that_is_fitted_is_fitted_to_all_tiles(tmp_path, tilegate):
    for name, colour in (("tissue", (180, 60, 140)), ("glass", (240, 238, 240))):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            noise = np.random.default_rng(i).integers(-10, 10, (32, 32, 3))
            Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(tmp_path / f"data/{name}/{i}.png")
    options = ("--set", 'data.classes.tissue=["tissue"]', "--set", "data.pixel_size=4", "--set", "data.unit=um")
    seen = tilegate("evaluate", "gate", "tissue", tmp_path / "data", "--json", *options)
    assert seen.code == 0, seen.err
    assert seen.json["accuracy"] == 1
    assert seen.json["pixel_size"] == "4 x 4 um"


def test_a_job_finds_its_gate_and_its_segmenter():
    assert find_bundle("forest", "gate").name == "forest-gate"
    assert find_bundle("forest", "segmenter").name == "forest-unet"
    assert find_bundle("forest-gate", "gate") == find_bundle("forest", "gate")
    assert find_bundle("ndwi", "gate") is None
    with pytest.raises(BadInput, match="forest-gate"):
        find_bundle("lava", "gate")


def test_folders_named_as_people_do_fit_a_bundle_of_one_class(tmp_path, tilegate):
    bundle = find_bundle("forest", "gate")
    for name in ("forest", "not forest"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng(i).integers(20, 90, (bundle.input_px, bundle.input_px, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"data/{name}/{i}.png")
    seen = tilegate("evaluate", "gate", "forest", tmp_path / "data", "--json")
    assert seen.code == 0, seen.err
    assert seen.json["classes"] == ["forest"]
    assert seen.json["tiles"] == 6
    assert seen.json["threshold"] == bundle.threshold
    assert any("pixel size" in note for note in seen.json["notes"])


def test_groups_are_those_the_bundle_was_made_with(tmp_path, monkeypatch):
    bundle = find_bundle("forest", "gate")
    recipe = load_training_recipe("idc")
    monkeypatch.setattr("flows.evaluation.tiles.made_with", lambda _: recipe)
    tiles = labelled(
        names=["0/8863_idx5_x1_y1_class0.png", "1/8863_idx5_x51_y1_class1.png", "1/9_idx5_x1_y1_class1.png"]
    )
    assert grouped_as_learnt(tiles, bundle).groups.tolist() == ["8863", "8863", "9"]
    assert grouped_as_learnt(labelled(), bundle).groups.tolist() == [str(i) for i in range(8)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gate", "lava", "DATA"), "Shipped bundles:"),
        (("gate", "./nowhere", "DATA"), "does not exist"),
        (("gate", "ndwi", "nowhere"), "nowhere does not exist"),
        (("gate", "ndvi", "DATA", "--set", WATER, "--set", "data.tile_px=64"), "needs band red"),
        (("gate", "ndwi", "DATA", "--set", "data.clases=1"), "unknown key data.clases; known: classes"),
        (("gate", "ndwi", "DATA", "--recipe", "lava"), "no training recipe lava"),
        (("gate", "forest", "DATA", "--set", WATER), "forest-gate"),
        (("segmenter", "forest-gate/../../", "DATA"), "does not exist"),
    ],
)
def test_bad_input(scene, tilegate, arguments, message):
    seen = tilegate("evaluate", *(scene[0] if word == "DATA" else word for word in arguments))
    assert seen.code == 2
    assert message in seen.err
    assert "Traceback" not in seen.err


def labelled(classes=("a", "b"), labels=None, n=8, exclusive=True, groups=None, masks=None, names=None):
    n = len(names) if names else n
    labels = np.eye(len(classes), dtype=np.float32)[np.arange(n) % len(classes)] if labels is None else labels
    return LabelledTiles(
        samples=tuple(
            Sample(name=names[i] if names else str(i), group=str(groups[i] if groups else i)) for i in range(n)
        ),
        classes=classes,
        exclusive=exclusive,
        bands=("grey",),
        pixel_size=PixelSize(y=10, x=10, unit="m"),
        tile_px=4,
        halo_px=0,
        pixels=np.zeros((n, 1, 4, 4), np.uint8),
        valid=np.ones((n, 4, 4), bool),
        labels=labels,
        fractions=labels,
        masks=masks,
    )


MODEL = ModelId(name="model", sha256="")


def test_exclusive_classes_that_the_data_has_not_are_held_by_no_tile():
    found = aligned(labelled(("b", "a")), MODEL, ("a", "b", "c"))
    assert found.classes == ("a", "b", "c")
    assert found.labels[0].tolist() == [0, 1, 0]
    assert "labelled c" in found.notes[0]


def test_other_classes_that_the_data_has_not_are_left_out():
    masks = np.array([[[0, 1], [2, UNLABELLED]]], np.uint8)
    found = aligned(labelled(("c", "a"), exclusive=False, n=1, masks=masks), MODEL, ("a", "b", "c"))
    assert found.classes == ("a", "c")
    assert found.masks.tolist() == [[[0, 2], [1, UNLABELLED]]]
    with pytest.raises(BadInput, match="labelled a, lava"):
        aligned(labelled(("a", "lava")), MODEL, ("a", "b"))
    assert aligned(labelled(("wet",), exclusive=False), MODEL, ("water",)).classes == ("water",)


def test_tiles_a_model_was_not_made_for_are_refused():
    size = PixelSize(y=40, x=40, unit="m")
    require_fit(labelled(), MODEL, ("grey",))
    with pytest.raises(BadInput, match=r'data.bands=\[\["nir", 1\]\]'):
        require_fit(labelled(), MODEL, ("nir",))
    with pytest.raises(BadInput, match="uint8 values; model was trained on uint16"):
        require_fit(labelled(), ModelId(name="model", sha256="", dtype="uint16"), ("grey",))
    with pytest.raises(BadInput, match=r"10 x 10 m; model is valid for 0.8 to 1.25 times 40 x 40 m"):
        require_fit(labelled(), ModelId(name="model", sha256="", pixel_size=size), ("grey",))


def binned(probability, labels, bins=15):
    """Guo et al. 2017, eq. 3, one bin after the other."""
    confidence, right = probability.max(axis=1), labels[np.arange(len(labels)), probability.argmax(axis=1)]
    total = 0.0
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_calibration_is_told_without_the_gates_own_temperature_too():
    random = np.random.default_rng(2)
    tiles = labelled(("a", "b", "c"), n=600)
    logits = tiles.labels + random.normal(0, 1, (600, 3))  # as likely as they say: the log of two normal densities
    found = calibration_figures(softmax(logits).astype(np.float32), tiles, 2.5)
    assert found["ece_before"] == pytest.approx(binned(softmax(2.5 * logits), tiles.labels), abs=2e-3)
    sharp = calibration_figures(softmax(3 * logits).astype(np.float32), tiles, None)
    assert "ece_before" not in sharp
    assert 2.5 < sharp["temperature"] < 3.5
    assert sharp["ece_scaled"] < binned(softmax(3 * logits), tiles.labels) / 2


def test_groups_are_told_where_they_say_something():
    assert grouped(labelled(groups=[0, 0, 0, 0, 1, 1, 1, 1]))
    assert not grouped(labelled())
    assert not grouped(labelled(groups=[0] * 8))
    many = gate_evaluated(FakeClassifier(0.7), labelled(("any",), exclusive=False, n=4, groups=[0, 0, 1, 1]))
    assert set(many.figures["per_group"]) == {"0", "1"}


def test_a_scene_in_other_values_is_refused(scene, tilegate):
    """As in a run: 16 bits are not what a bundle of 8 bits has seen."""
    data, *_ = scene
    with rasterio.open(data / "images/scene.tif") as file:
        pixels, profile = file.read(), file.profile
    profile.update(dtype="uint16", count=3)
    with rasterio.open(data / "images/scene.tif", "w", **profile) as file:
        file.write(np.stack([*pixels, pixels[0]]).astype("uint16") * 200)
    changes = ("data.classes.forest=['1']", "data.bands=[['red',1],['green',2],['blue',3]]", "data.tile_px=64")
    seen = tilegate("evaluate", "segmenter", "forest", data, *(w for c in changes for w in ("--set", c)))
    assert (seen.code, "uint16 values; forest-unet was trained on uint8" in seen.err) == (2, True), seen.err
