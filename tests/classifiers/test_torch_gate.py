"""A gate on torch against the network called by hand, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from classifiers.answers import NotFinite
from classifiers.bundle import Bundle, load_bundle, write_bundle
from classifiers.network_gate import NetworkGate
from classifiers.torch_gate import torch_gate
from classifiers.torch_runtime import use_threads
from tiling.errors import BadInput, TilegateError
from tiling.grid import TileGrid
from tiling.info import PixelSize
from tiling.stack import TileStack

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = (100.0, 50.0, 60.0), (20.0, 10.0, 15.0)


def make(folder: Path, network: torch.nn.Module, **changes: Any) -> Bundle:
    plain: dict[str, Any] = {
        "name": "tiny",
        "path": Path(),
        "architecture": "test_resnet",
        "hyperparameters": {},
        "task": "classification",
        "activation": "sigmoid",
        "bands": ("red", "green", "blue"),
        "classes": ("forest",),
        "pixel_size": PixelSize(y=40, x=40, unit="m"),
        "pixel_size_range": (0.8, 1.25),
        "input_px": 64,
        "dtype": "uint8",
        "mean": MEAN,
        "std": STD,
        "threshold": 0.5,
        "calibration": None,
        "licence": "CC0-1.0",
        "training_data": "none",
        "pretrained_source": None,
        "metrics": {},
        "sha256": "",
        "contract_sha256": "",
    }
    weights = safetensors.torch.save(network.state_dict())
    return write_bundle(Bundle(**(plain | changes)), folder / "tiny", weights, "")


def on_torch(bundle: Bundle, **how: Any) -> NetworkGate:
    return NetworkGate(bundle, torch_gate(bundle, **how))


def network(name: str = "test_resnet", classes: int = 1, **arguments: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=classes, **arguments).eval()


def tiles(count: int, side: int = 64, seed: int = 0) -> TileStack:
    """Noise; a corner of the second tile holds no data."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    valid = np.ones((count, side, side), bool)
    valid[1:2, :20, :30] = False
    grid = TileGrid(shape_px=(side, side * count), tile_px=side)
    return TileStack(tiles=tuple(grid.tile(0, i) for i in range(count)), pixels=pixels, valid=valid)


def by_hand(stack: TileStack) -> torch.Tensor:
    """Network input, written another way: band by band."""
    planes = [(stack.pixels[:, i].astype(np.float64) - MEAN[i]) / STD[i] for i in range(3)]
    return torch.tensor(np.stack([np.where(stack.valid, p, 0) for p in planes], axis=1), dtype=torch.float32)


@pytest.mark.parametrize(("activation", "classes"), [("sigmoid", ("forest",)), ("softmax", ("a", "b", "c"))])
def test_scores_are_the_networks(tmp_path: Path, activation: str, classes: tuple[str, ...]) -> None:
    net, stack = network(classes=len(classes)), tiles(5)
    gate = on_torch(make(tmp_path, net, activation=activation, classes=classes), device="cpu", batch_tiles=2)
    with torch.inference_mode():
        logits = net(by_hand(stack))
    powers = np.exp(logits.numpy())
    expected = powers / (1 + powers) if activation == "sigmoid" else powers / powers.sum(axis=1, keepdims=True)
    found = gate.score(stack)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std() > 1e-4, "scores that do not depend on the pixels prove nothing"


def test_what_lies_outside_the_data_changes_nothing(tmp_path: Path) -> None:
    gate, stack = on_torch(make(tmp_path, network())), tiles(2)
    before = gate.score(stack)
    stack.pixels[1, :, :20, :30] = 255
    np.testing.assert_array_equal(gate.score(stack), before)


def test_hyperparameters_reach_the_network(tmp_path: Path) -> None:
    net, stack = network(global_pool="max"), tiles(3)
    gate = on_torch(make(tmp_path, net, hyperparameters={"global_pool": "max"}))
    with torch.inference_mode():
        np.testing.assert_allclose(gate.score(stack), net(by_hand(stack)).sigmoid().numpy(), atol=1e-5)


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    gate, whole = on_torch(make(tmp_path, network().half())), on_torch(make(tmp_path, network()))
    np.testing.assert_allclose(gate.score(tiles(3)), whole.score(tiles(3)), atol=2e-3)


def test_any_side_for_convolutions_one_side_for_transformers(tmp_path: Path) -> None:
    assert on_torch(make(tmp_path, network())).score(tiles(2, side=50)).shape == (2, 1)
    vit = make(
        tmp_path,
        network("vit_tiny_patch16_224", img_size=32),
        architecture="vit_tiny_patch16_224",
        hyperparameters={"img_size": 32},
    )
    gate = on_torch(vit)
    assert gate.score(tiles(2, side=32)).shape == (2, 1)
    with pytest.raises(BadInput, match="takes tiles of 32 x 32 px only, these are 64 x 64 px"):
        gate.score(tiles(2))


def test_numbers_that_are_none_name_their_tiles(tmp_path: Path) -> None:
    net = network()
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    with pytest.raises(NotFinite, match=r"tiny gave NaN or infinity for 2 of 2 tiles: r0000c0000, r0000c0001"):
        on_torch(make(tmp_path, net)).score(tiles(2))
    assert issubclass(NotFinite, FloatingPointError)
    assert issubclass(NotFinite, TilegateError)


def test_only_the_tile_with_nan_is_blamed(tmp_path: Path) -> None:
    gate, stack = on_torch(make(tmp_path, network(), dtype="float32")), tiles(3)
    pixels = stack.pixels.astype(np.float32)
    pixels[1, :, :10, :10] = np.nan  # not valid: harmless
    pixels[2, 0, 40, 40] = np.nan
    with pytest.raises(NotFinite, match=r"for 1 of 3 tiles: r0000c0002\."):
        gate.score(TileStack(tiles=stack.tiles, pixels=pixels, valid=stack.valid))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a", "b")}, "does not fit test_resnet with 2 outputs and 3 bands"),
        ({"architecture": "test_efficientnet"}, "does not fit test_efficientnet"),
        ({"architecture": "no_such_net"}, "no network named 'no_such_net'"),
        ({"bands": ("red",), "mean": (1.0,), "std": (1.0,)}, "with 1 outputs and 1 bands"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        on_torch(make(tmp_path, network(), **changes))


def test_a_segmenter_is_no_gate(tmp_path: Path) -> None:
    unet = {"encoder_name": "resnet18", "encoder_depth": 3, "decoder_channels": (8, 8, 8)}
    bundle = make(tmp_path, network(), task="segmentation", architecture="Unet", hyperparameters=unet)
    with pytest.raises(BadInput, match="does segmentation; a bundle for classification is needed"):
        on_torch(bundle)


def test_threads_are_set_where_the_environment_says_one() -> None:
    use_threads(2)
    assert torch.get_num_threads() == 2
    use_threads(1)
    assert torch.get_num_threads() == 1


def test_the_shipped_gate_tells_forest_from_bare_ground() -> None:
    """Flat colours: the darkest green of the data set's forests, and sand."""
    gate = on_torch(load_bundle("forest-gate", ROOT / "classifiers" / "bundles"), device="cpu")
    colours = np.array([[22, 39, 46], [110, 95, 95]], np.uint8)[:, :, None, None]
    noise = np.random.default_rng(0).integers(-2, 3, (2, 3, 64, 64))
    stack = tiles(2)
    pixels = (colours + noise).astype(np.uint8)
    scores = gate.score(TileStack(tiles=stack.tiles, pixels=pixels, valid=np.ones_like(stack.valid)))[:, 0]
    assert gate.model.threshold is not None
    assert scores[0] >= gate.model.threshold
    assert scores[0] > scores[1]
