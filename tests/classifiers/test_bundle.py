"""Bundles: what is written is read back, and everything that is not a whole, unchanged bundle is refused by name."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from classifiers.bundle import (
    Bundle,
    Calibration,
    load_bundle,
    read_weights,
    write_bundle,
)
from classifiers.bundle_schema import to_json
from classifiers.preprocess import normalise
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import PixelSize
from tiling.stack import TileStack

WEIGHTS = safetensors.numpy.save({"w": np.arange(6, dtype=np.float32)})
ROOT = Path(__file__).resolve().parents[2]
CALIBRATION = Calibration(
    tiles=("a r0c0", "a r0c1"), scores=((0.9,), (0.25,)), labels=((1,), (0,)), fractions=((0.4,), (0.0,))
)


def draft(**changes: Any) -> Bundle:
    plain: dict[str, Any] = {
        "name": "tiny-gate",
        "path": Path(),
        "architecture": "test_resnet",
        "hyperparameters": {"global_pool": "max"},
        "task": "classification",
        "activation": "sigmoid",
        "bands": ("red", "green"),
        "classes": ("forest",),
        "pixel_size": PixelSize(y=40, x=40, unit="m"),
        "pixel_size_range": (0.8, 1.25),
        "input_px": 64,
        "dtype": "uint8",
        "mean": (100.0, 50.0),
        "std": (20.0, 10.0),
        "threshold": 0.25,
        "calibration": CALIBRATION,
        "licence": "CC-BY-4.0",
        "training_data": "made up",
        "pretrained_source": None,
        "metrics": {"recall": 1.0},
        "sha256": "",
        "contract_sha256": "",
    }
    return Bundle(**(plain | changes))


UNET = {
    "architecture": "Unet",
    "hyperparameters": {
        "encoder_name": "tu-mobilenetv3_small_050",
        "encoder_depth": 3,
        "decoder_channels": (16, 8, 8),
    },
    "task": "segmentation",
    "activation": "softmax",
    "classes": ("forest", "water"),
    "threshold": None,
    "calibration": None,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole bundle."""
    return write_bundle(draft(), tmp_path / "tiny-gate", WEIGHTS, "# tiny\n{sha256}\n").path


def edit(folder: Path, change: Any) -> None:
    """Change bundle.json in place."""
    path = folder / "bundle.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("changes", [{}, UNET, {"hyperparameters": {}, "activation": "softmax", "dtype": "float32"}])
def test_what_is_written_is_read_back(tmp_path: Path, changes: dict[str, Any]) -> None:
    before = draft(**changes)
    after = write_bundle(before, tmp_path / "x", WEIGHTS, "card")
    for field in fields(Bundle):
        if field.name not in {"path", "sha256", "contract_sha256"}:
            assert getattr(after, field.name) == getattr(before, field.name), field.name
    assert after.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert after.contract_sha256 == hashlib.sha256((tmp_path / "x" / "bundle.json").read_bytes()).hexdigest()
    assert read_weights(after) == WEIGHTS
    assert load_bundle("x", tmp_path) == load_bundle(tmp_path / "x", Path("elsewhere"))


def test_writing_again_changes_no_byte(tmp_path: Path) -> None:
    first = write_bundle(draft(metrics={"tiles": 3}, mean=(100, 50)), tmp_path / "x", WEIGHTS, "card")
    assert write_bundle(first, tmp_path / "y", WEIGHTS, "card").contract_sha256 == first.contract_sha256


def test_json_speaks_mlm(folder: Path) -> None:
    values = json.loads((folder / "bundle.json").read_text())
    assert values["mlm:tasks"] == ["scene-classification"]
    assert values["mlm:input"][0]["input"]["shape"] == [-1, 2, 64, 64]
    assert values["mlm:input"][0]["value_scaling"][1] == {"type": "z-score", "mean": 50.0, "stddev": 10.0}
    assert values["mlm:output"][0]["classification:classes"] == [{"value": 0, "name": "forest"}]
    assert values["mlm:pretrained"] is False


def test_the_model_is_known_to_the_bit(tmp_path: Path) -> None:
    """Another normalisation with the same weights is another model: a resume must not mix them."""
    one = write_bundle(draft(), tmp_path / "one", WEIGHTS, "")
    other = write_bundle(draft(mean=(101.0, 50.0)), tmp_path / "other", WEIGHTS, "")
    assert one.sha256 == other.sha256
    assert one.model.sha256 != other.model.sha256
    assert (one.model.name, one.model.threshold, one.model.pixel_size) == ("tiny-gate", 0.25, one.pixel_size)


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors", "README.md"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BadInput, match=f"lacks {name}"):
        load_bundle(folder, folder)


def test_changed_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(WEIGHTS[:-1] + b"\x01")
    with pytest.raises(BadInput, match=r"model\.safetensors: sha256 is .* bundle\.json says"):
        load_bundle(folder, folder)


def test_weights_changed_after_loading_are_refused(folder: Path) -> None:
    bundle = load_bundle(folder, folder)
    (folder / "model.safetensors").write_bytes(WEIGHTS + b"\x00")
    with pytest.raises(BadInput, match="sha256"):
        read_weights(bundle)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "MODEL.PKL"])
def test_pickles_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(BadInput, match=f"{name} instead of .*refused"):
        load_bundle(folder, folder)


def test_a_renamed_pickle_is_refused(folder: Path) -> None:
    bad = pickle.dumps({"w": [1.0, 2.0]})
    (folder / "model.safetensors").write_bytes(bad)
    edit(folder, lambda values: values.update({"tilegate:sha256": hashlib.sha256(bad).hexdigest()}))
    with pytest.raises(BadInput, match="not a safetensors file"):
        load_bundle(folder, folder)
    with pytest.raises(BadInput, match="not a safetensors file"):
        write_bundle(draft(), folder, bad, "")


def test_a_missing_pixel_size_is_refused_with_an_example(folder: Path) -> None:
    edit(folder, lambda values: values.pop("tilegate:pixel_size"))
    with pytest.raises(BadInput, match=r'tilegate:pixel_size is missing.*"unit": "m"'):
        load_bundle(folder, folder)


def change_input(**changes: Any) -> Any:
    return lambda values: values["mlm:input"][0].update(changes)


def change_output(**changes: Any) -> Any:
    return lambda values: values["mlm:output"][0].update(changes)


SCORES = {"tiles": ["a", "b"], "scores": [[0.9], [0.1]], "labels": [[1], [0]], "fractions": [[0.5], [0]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update({"tilegate:treshold": 1}), "unknown key tilegate:treshold"),
        (lambda v: v["mlm:hyperparameters"].update({"checkpoint_path": "x"}), r"unknown key .*\.checkpoint_path"),
        (lambda v: v.update({"tilegate:schema": 2}), "schema: .* reads 1"),
        (lambda v: v.pop("tilegate:schema"), "tilegate:schema is missing"),
        (lambda v: v.pop("mlm:name"), "mlm:name is missing"),
        (lambda v: v.update({"mlm:name": "../x"}), "mlm:name: must be a plain name"),
        (lambda v: v.update({"mlm:architecture": "hf-hub:a/b"}), "mlm:architecture: must be a plain name"),
        (lambda v: v.update({"mlm:architecture": 3}), "mlm:architecture: Input should be a valid string"),
        (lambda v: v.update({"mlm:framework": "Keras"}), "mlm:framework: Input should be 'PyTorch'"),
        (lambda v: v.update({"mlm:tasks": ["detection"]}), r"mlm:tasks\.0: Input should be 'scene-"),
        (lambda v: v.update({"mlm:input": v["mlm:input"] * 2}), "mlm:input: .* at most 1 item"),
        (lambda v: v["mlm:input"][0]["input"].update({"shape": [1, 2, 64, 64]}), r"shape .* must be \[-1, 2"),
        (lambda v: v["mlm:input"][0]["input"].update({"shape": []}), r"input\.shape\.0 is missing"),
        (change_input(bands=["red", "red"]), "bands: the names must differ"),
        (change_input(value_scaling=[]), "value_scaling has 0 entries for 2 bands"),
        (change_input(value_scaling=[{"type": "z-score", "mean": 1, "stddev": 0}] * 2), "stddev: .*given: 0"),
        (change_input(value_scaling=[{"type": "min-max", "minimum": 0, "maximum": 1}] * 2), "should be 'z-score'"),
        (change_output(**{"classification:classes": []}), "classes: .* at least 1 item"),
        (change_output(**{"classification:classes": [{"value": 1, "name": "a"}]}), "values 0, 1, 2"),
        (change_output(post_processing_function={"format": "python", "expression": "os:system"}), "torch:sigmoid"),
        (lambda v: v["tilegate:pixel_size"].update({"y": 0}), "must be positive"),
        (lambda v: v["tilegate:pixel_size"].update({"y": float("nan")}), "finite number"),
        (lambda v: v["tilegate:pixel_size"].update({"unit": "ft"}), "unit: Input should be 'm' or 'um'"),
        (lambda v: v.update({"tilegate:pixel_size_range": [1.25, 0.8]}), r"range\.0: .* less than or equal to 1 "),
        (lambda v: v.update({"tilegate:threshold": 1.5}), "threshold: .* less than or equal to 1 .*1.5"),
        (lambda v: v.update({"tilegate:threshold": True}), "threshold: Input should be a valid number"),
        (lambda v: v.update({"tilegate:sha256": "../../x"}), "64 hexadecimal digits"),
        (lambda v: v.update({"tilegate:dtype": "complex64"}), "dtype: Input should be 'uint8', "),
        (lambda v: v.update({"tilegate:metrics": {"f1": "good"}}), r"metrics\.f1: Input should be a valid number"),
        (lambda v: v.update({"tilegate:calibration": SCORES | {"labels": [[1]]}}), "2 tiles has .2, 1, 2. scores"),
        (
            lambda v: v.update({"tilegate:calibration": SCORES | {"labels": [[1], [0.5]]}}),
            r"labels\.1\.0: .* valid integer",
        ),
        (lambda v: v.update({"tilegate:calibration": SCORES | {"scores": [[1, 0], [0, 1]]}}), "1 values per tile"),
    ],
)
def test_wrong_contracts_are_refused_by_key(folder: Path, change: Any, message: str) -> None:
    edit(folder, change)
    with pytest.raises(BadInput, match=message) as refusal:
        load_bundle(folder, folder)
    assert "bundle.json" in str(refusal.value)


@pytest.mark.parametrize(
    ("hyperparameters", "classes", "message"),
    [
        ({"encoder_name": "tu-hf-hub:a/b", "encoder_depth": 3, "decoder_channels": [8, 8, 8]}, None, "plain name"),
        ({"encoder_name": "resnet18", "encoder_depth": 4, "decoder_channels": [8, 8, 8]}, None, "3 entries"),
        ({"encoder_name": "resnet18", "decoder_channels": [8, 8, 8]}, None, "encoder_depth, .*, not deco"),
        (None, [{"value": 0, "name": "forest"}], "start with background"),
    ],
)
def test_wrong_segmenters_are_refused(tmp_path: Path, hyperparameters: Any, classes: Any, message: str) -> None:
    folder = write_bundle(draft(**UNET), tmp_path / "unet", WEIGHTS, "").path

    def change(values: dict[str, Any]) -> None:
        values["mlm:hyperparameters"] = hyperparameters or values["mlm:hyperparameters"]
        output = values["mlm:output"][0]
        output["classification:classes"] = classes or output["classification:classes"]

    edit(folder, change)
    with pytest.raises(BadInput, match=message):
        load_bundle(folder, tmp_path)


def test_what_is_not_json_is_refused(folder: Path) -> None:
    (folder / "bundle.json").write_text("{")
    with pytest.raises(BadInput, match=r"bundle\.json: Invalid JSON"):
        load_bundle(folder, folder)
    (folder / "bundle.json").write_text("[]")
    with pytest.raises(BadInput, match="Input should be an object"):
        load_bundle(folder, folder)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "shipped/../../secret", "a\\b", "https://x.org/gate", ""])
def test_names_can_not_leave_the_shipped_folder(tmp_path: Path, name: str) -> None:
    write_bundle(draft(), tmp_path / "shipped" / "tiny", WEIGHTS, "")
    with pytest.raises(BadInput, match=r"not the name of a shipped bundle .*: tiny\."):
        load_bundle(name, tmp_path / "shipped")


@pytest.mark.parametrize(("name", "limit"), [("bundle.json", 16 * 2**20), ("model.safetensors", 4 * 2**30)])
def test_files_larger_than_any_honest_one_are_not_read(folder: Path, name: str, limit: int) -> None:
    with (folder / name).open("r+b") as file:
        file.truncate(limit + 1)  # a hole: takes no room on the disk
    with pytest.raises(BadInput, match=rf"{name} has {limit + 1:,} bytes; at most {limit:,}"):
        load_bundle(folder, ROOT)


def test_nothing_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="mean: Input should be a valid number"):
        write_bundle(draft(mean=("a", "b")), tmp_path / "x", WEIGHTS, "")
    with pytest.raises(BadInput, match="mean: Input should be a finite number"):
        write_bundle(draft(mean=(float("nan"), 1.0)), tmp_path / "x", WEIGHTS, "")
    with pytest.raises(BadInput, match=r"unknown key mlm:hyperparameters\.depth"):
        write_bundle(draft(hyperparameters={"depth": 1}), tmp_path / "x", WEIGHTS, "")
    assert not (tmp_path / "x").exists()


def test_unknown_names_list_the_known(tmp_path: Path) -> None:
    write_bundle(draft(), tmp_path / "tiny", WEIGHTS, "")
    with pytest.raises(BadInput, match=r"does not exist\. Shipped bundles: tiny\."):
        load_bundle("tinny", tmp_path)
    with pytest.raises(BadInput, match="is a file, a bundle is a folder"):
        load_bundle(tmp_path / "tiny" / "bundle.json", tmp_path)


def stack(pixels: Any, valid: Any) -> TileStack:
    """pixels: (n, band, h, w)."""
    tile = TileGrid(shape_px=pixels.shape[2:], tile_px=pixels.shape[2]).tile(0, 0)
    return TileStack(tiles=(tile,) * len(pixels), pixels=pixels, valid=valid)


def test_normalise_is_a_z_score_with_holes_at_the_mean() -> None:
    pixels = np.array([[[[100, 120], [80, 255]], [[50, 60], [45, 0]]]], np.uint8)
    valid = np.array([[[True, True], [True, False]]])
    found = normalise(stack(pixels, valid), draft())
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[[[0, 1], [-1, 0]], [[0, 1], [-0.5, 0]]]], np.float32))


def test_normalise_hides_nan_where_there_is_no_data() -> None:
    pixels = np.full((1, 2, 2, 2), np.nan, np.float32)
    found = normalise(stack(pixels, np.zeros((1, 2, 2), bool)), draft(dtype="float32"))
    np.testing.assert_array_equal(found, np.zeros((1, 2, 2, 2)))


def test_normalise_refuses_other_bands_and_values() -> None:
    valid = np.ones((1, 2, 2), bool)
    with pytest.raises(BadInput, match=r"needs 2 bands \(red, green\), these tiles have 3"):
        normalise(stack(np.zeros((1, 3, 2, 2), np.uint8), valid), draft())
    with pytest.raises(BadInput, match="trained on uint8 values, these are uint16"):
        normalise(stack(np.zeros((1, 2, 2, 2), np.uint16), valid), draft())


def test_calibration_counts_its_rows() -> None:
    with pytest.raises(ValueError, match="2 tiles"):
        replace(CALIBRATION, scores=((0.5,),))


@pytest.mark.parametrize(("room", "name"), [("classifiers", "forest-gate"), ("downstream", "forest-unet")])
def test_shipped_bundles_are_whole_and_their_cards_true(room: str, name: str) -> None:
    bundle = load_bundle(name, ROOT / room / "bundles")
    assert bundle.name == name
    assert to_json(bundle) == (bundle.path / "bundle.json").read_bytes()
    weights, card = (bundle.path / "model.safetensors").read_bytes(), (bundle.path / "README.md").read_text()
    assert hashlib.sha256(weights).hexdigest() in card
    assert "CC BY 4.0" in card
    assert len(weights) < 4_000_000
    assert "{" not in card, "an unfilled place in the card"


def test_shipped_gate_passes_nearly_all_held_out_forest() -> None:
    bundle = load_bundle("forest-gate", ROOT / "classifiers" / "bundles")
    assert bundle.calibration is not None
    assert bundle.threshold is not None
    scores, labels = np.array(bundle.calibration.scores)[:, 0], np.array(bundle.calibration.labels)[:, 0] == 1
    assert (scores[labels] >= bundle.threshold).mean() >= 0.99
    assert len(labels) == bundle.metrics["tiles"]
    np.testing.assert_array_equal(labels, np.array(bundle.calibration.fractions)[:, 0] >= 0.01)
