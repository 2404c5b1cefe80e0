"""A classical gate in a run: one runtime, no foreign library, the same bits in any company."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors.numpy

from classifiers.answers import NotFinite
from classifiers.bundle import Bundle, load_bundle, write_bundle
from classifiers.bundle_contract import RuntimeName
from classifiers.classical.arrays import read_arrays
from classifiers.classical.numpy_runtime import ClassicalRuntime, open_classical
from classifiers.network_gate import open_network_gate
from classifiers.preprocess import normalise
from classifiers.runtime import Machine, choose_runtime
from tiling.errors import BadInput
from tiling.stack import TileStack

Trained = Callable[..., Bundle]
GPU = Machine(bf16=True, cuda=True)
ALL = ("colour", "lbp", "glcm", "hog", "words", "fisher")

RUN = """
import sys
from pathlib import Path
import numpy as np
from classifiers.bundle import load_bundle
from classifiers.machine import bf16_flags
from classifiers.network_gate import open_network_gate
from classifiers.runtime import Machine, choose_runtime
from tiling.grid import TileGrid
from tiling.stack import TileStack
bundle = load_bundle(Path(sys.argv[1]), Path())
name = choose_runtime(bundle, "auto", Machine(bf16=bool(bf16_flags()), cuda=False))
pixels = np.load(sys.argv[2])
side = pixels.shape[2]
tiles = tuple(TileGrid(shape_px=(side, side * len(pixels)), tile_px=side).tile(0, i) for i in range(len(pixels)))
stack = TileStack(tiles=tiles, pixels=pixels, valid=np.ones((len(pixels), side, side), bool))
np.save(sys.argv[3], open_network_gate(bundle, name).score(stack))
print(sorted({"torch", "openvino", "sklearn", "skimage", "timm", "skops"} & set(sys.modules)))
"""


@pytest.mark.parametrize("classifier", ["logistic", "forest"])
def test_a_run_needs_numpy_alone(trained: Trained, textures: Any, tmp_path: Path, classifier: str) -> None:
    bundle, tiles = trained(ALL, classifier), textures()
    np.save(tmp_path / "pixels.npy", tiles.pixels[:4])
    command = [sys.executable, "-c", RUN, str(bundle.path), str(tmp_path / "pixels.npy"), str(tmp_path / "scores.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout.strip() == "[]"
    here = open_network_gate(bundle, "numpy").score(tiles.stack(range(4)))
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), here, atol=1e-6)


def test_auto_takes_numpy_and_nothing_else_can_be_had(trained: Trained) -> None:
    bundle = trained()
    for machine in (GPU, Machine(bf16=False, cuda=False)):
        assert choose_runtime(bundle, "auto", machine) == choose_runtime(bundle, "numpy", machine) == "numpy"
    for name in set(get_args(RuntimeName)) - {"numpy"}:
        with pytest.raises(BadInput, match=r"there is no network in it\. To be had here: numpy\."):
            choose_runtime(bundle, name, GPU)


def test_numpy_runs_no_network(trained: Trained) -> None:
    network = replace(trained(), architecture="test_resnet", hyperparameters={})
    with pytest.raises(BadInput, match=r"numpy can not be had .* this is a network\. To be had here: torch\."):
        choose_runtime(network, "numpy", GPU)
    with pytest.raises(BadInput, match="numpy runs classical gates only"):
        open_classical(network)


@pytest.mark.parametrize("classifier", ["logistic", "svm", "knn", "tree", "forest"])
def test_the_bits_do_not_depend_on_the_other_tiles(trained: Trained, textures: Any, classifier: str) -> None:
    bundle, tiles = trained(ALL, classifier), textures()
    runtime = ClassicalRuntime(bundle, read_arrays(bundle))
    whole = runtime.infer(normalise(tiles.stack(range(9)), bundle))
    assert whole.dtype == np.float32
    for chosen in ([8, 0, 3], [5]):
        np.testing.assert_array_equal(runtime.infer(normalise(tiles.stack(chosen), bundle)), whole[chosen])


def test_pixels_outside_the_data_change_nothing(trained: Trained, textures: Any) -> None:
    gate, stack = open_network_gate(trained(), "numpy"), textures().stack([0, 1])
    stack.valid[1, :10] = False
    before = gate.score(stack)
    stack.pixels[1, :, :10] = 255
    np.testing.assert_array_equal(gate.score(stack), before)


def test_nan_names_its_tile(trained: Trained, textures: Any, tmp_path: Path) -> None:
    bundle, stack = trained(), textures().stack([0, 1, 2])
    weights, card = (bundle.path / "model.safetensors").read_bytes(), "# x\n"
    gate = open_network_gate(write_bundle(replace(bundle, dtype="float32"), tmp_path / "x", weights, card), "numpy")
    pixels = stack.pixels.astype(np.float32)
    pixels[1, 0, 5, 5] = np.nan
    with pytest.raises(NotFinite, match=r"for 1 of 3 tiles: r0001c0001"):
        gate.score(TileStack(tiles=stack.tiles, pixels=pixels, valid=stack.valid))


def changed(bundle: Bundle, folder: Path, change: Callable[[dict[str, Any]], None], **contract: Any) -> Bundle:
    """The bundle with other arrays or another contract."""
    arrays = dict(safetensors.numpy.load((bundle.path / "model.safetensors").read_bytes()))
    change(arrays)
    return write_bundle(replace(bundle, **contract), folder / "changed", safetensors.numpy.save(arrays), "# x\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("linear.weights"),
        lambda arrays: arrays.pop("temperature"),
        lambda arrays: arrays.pop("probe"),
        lambda arrays: arrays.update({"linear.weights": arrays["linear.weights"][:, :-1].copy()}),
        lambda arrays: arrays.update({"scale.mean": arrays["scale.mean"][:-1].copy()}),
        lambda arrays: arrays.update({name: arrays[name][:2].copy() for name in ("linear.weights", "linear.offset")}),
    ],
)
def test_arrays_that_do_not_fit_are_refused_when_opened(trained: Trained, tmp_path: Path, change: Any) -> None:
    with pytest.raises(BadInput, match=r"model.safetensors does not fit a logistic on colour, lbp with 3 classes"):
        open_network_gate(changed(trained(), tmp_path, change), "numpy")


def test_features_computed_otherwise_are_refused(trained: Trained, tmp_path: Path) -> None:
    """A later version that counts other patterns would give other scores without a word."""
    other = changed(trained(), tmp_path, lambda arrays: arrays["probe"].__setitem__(0, 9))
    with pytest.raises(BadInput, match=r"computes colour, lbp otherwise"):
        open_network_gate(other, "numpy")


def test_a_circle_of_nodes_is_refused(trained: Trained, tmp_path: Path) -> None:
    other = changed(trained(("colour",), "tree"), tmp_path, lambda arrays: arrays["tree.left"].__setitem__(0, 0))
    with pytest.raises(BadInput, match=r"does not fit a tree on colour .*point outside"):
        open_network_gate(other, "numpy")


def test_other_bytes_are_refused(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained().path, folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="sha256"):
        open_network_gate(load_bundle(folder, Path(), whole=False), "numpy")


def edited(bundle: Bundle, folder: Path, **changes: Any) -> Path:
    """A copy of the bundle with other keys in bundle.json."""
    shutil.copytree(bundle.path, folder)
    told = json.loads((folder / "bundle.json").read_text())
    for key, value in changes.items():
        told[key.replace("__", ":")] = value
    (folder / "bundle.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlm__hyperparameters": {"features": ["colour"]}}, "of classical, a gate, are features and classifier"),
        ({"mlm__hyperparameters": {"features": [], "classifier": "tree"}}, "features"),
        ({"mlm__hyperparameters": {"features": ["lbp", "lbp"], "classifier": "tree"}}, "names must differ"),
        ({"mlm__hyperparameters": {"features": ["sift"], "classifier": "tree"}}, "features"),
        ({"mlm__hyperparameters": {"features": ["lbp"], "classifier": "bayes"}}, "classifier"),
        ({"mlm__hyperparameters": {"features": ["lbp"], "classifier": "tree", "zoom": 2}}, "parents at most"),
        ({"mlm__hyperparameters": {"features": ["lbp"], "classifier": "tree", "parents": [1, 0, -1]}}, "no tree"),
        ({"mlm__framework": "PyTorch"}, "mlm:framework of classical is scikit-learn"),
        ({"mlm__architecture": "test_resnet"}, "mlm:framework of test_resnet is PyTorch"),
        (
            {"mlm__architecture": "test_resnet", "mlm__framework": "PyTorch"},
            "global_pool, img_size, zoom, views and parents",
        ),
    ],
)
def test_contracts_that_contradict_themselves(trained: Trained, tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_bundle(edited(trained(), tmp_path / "edited", **changes), Path())
