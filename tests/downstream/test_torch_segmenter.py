"""A segmenter on torch against the network called by hand, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch

from classifiers.answers import NotFinite
from classifiers.bundle import Bundle, load_bundle, write_bundle
from downstream.network_segmenter import NetworkSegmenter
from downstream.torch_segmenter import pruned, torch_segmenter
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import PixelSize
from tiling.stack import TileStack

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = (100.0, 50.0, 60.0), (20.0, 10.0, 15.0)
UNET: dict[str, Any] = {
    "encoder_name": "tu-mobilenetv3_small_050",
    "encoder_depth": 4,
    "decoder_channels": (16, 8, 8, 8),
}


def make(folder: Path, network: torch.nn.Module, **changes: Any) -> Bundle:
    plain: dict[str, Any] = {
        "name": "tiny",
        "path": Path(),
        "architecture": "Unet",
        "hyperparameters": UNET,
        "task": "segmentation",
        "activation": "sigmoid",
        "bands": ("red", "green", "blue"),
        "classes": ("forest",),
        "pixel_size": PixelSize(y=10, x=10, unit="m"),
        "pixel_size_range": (0.8, 1.25),
        "input_px": 64,
        "dtype": "uint8",
        "mean": MEAN,
        "std": STD,
        "threshold": None,
        "calibration": None,
        "licence": "CC0-1.0",
        "training_data": "none",
        "pretrained_source": None,
        "metrics": {},
        "sha256": "",
        "contract_sha256": "",
    }
    weights = safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()})
    return write_bundle(Bundle(**(plain | changes)), folder / "tiny", weights, "")


def on_torch(bundle: Bundle, **how: Any) -> NetworkSegmenter:
    return NetworkSegmenter(bundle, torch_segmenter(bundle, **how))


def network(channels: int = 1) -> torch.nn.Module:
    torch.manual_seed(0)
    return pruned(smp.Unet(encoder_weights=None, in_channels=3, classes=channels, **UNET), 3).eval()


def constant(*logits: float) -> torch.nn.Module:
    """A network that answers with the same logits everywhere."""
    net = network(len(logits))
    with torch.no_grad():
        net.segmentation_head[0].weight.zero_()
        net.segmentation_head[0].bias.copy_(torch.tensor(logits))
    return net


def tiles(count: int, height: int = 64, width: int = 64) -> TileStack:
    """Noise; a corner of the second tile holds no data."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    valid = np.ones((count, height, width), bool)
    valid[1:2, :20, :30] = False
    grid = TileGrid(shape_px=(64, 64 * count), tile_px=64)
    return TileStack(tiles=tuple(grid.tile(0, i) for i in range(count)), pixels=pixels, valid=valid)


def by_hand(stack: TileStack) -> torch.Tensor:
    """Network input, written another way: band by band."""
    planes = [(stack.pixels[:, i].astype(np.float64) - MEAN[i]) / STD[i] for i in range(3)]
    return torch.tensor(np.stack([np.where(stack.valid, p, 0) for p in planes], axis=1), dtype=torch.float32)


def test_labels_are_the_networks(tmp_path: Path) -> None:
    net, stack = network(), tiles(5)
    with torch.inference_mode():
        raw = net(by_hand(stack)).numpy()[:, 0]
    net.segmentation_head[0].bias.data -= float(np.median(raw))
    with torch.inference_mode():
        logits = net(by_hand(stack)).numpy()[:, 0]
    clear = np.abs(logits) > 1e-4
    expected = ((logits > 0) & stack.valid).astype(np.uint8)
    found = on_torch(make(tmp_path, net), device="cpu", batch_tiles=2).segment(stack)
    assert (found.labels.dtype, found.classes, found.tiles) == (np.uint8, ("forest",), stack.tiles)
    np.testing.assert_array_equal(found.labels[clear], expected[clear])
    assert 0.2 < expected.mean() < 0.8
    assert clear.mean() > 0.99


def test_odd_sides_are_padded_by_their_edge_and_cropped_back(tmp_path: Path) -> None:
    net, stack = network(), tiles(1, 70, 45)
    rows, cols = np.minimum(np.arange(96), 69), np.minimum(np.arange(64), 44)
    with torch.inference_mode():
        whole = net(by_hand(stack)[:, :, rows][:, :, :, cols]).numpy()[0, 0]
        net.segmentation_head[0].bias -= float(np.median(whole))
    logits = whole[:70, :45] - np.median(whole)
    found = on_torch(make(tmp_path, net)).segment(stack).labels[0]
    assert found.shape == (70, 45)
    clear = np.abs(logits) > 1e-4
    np.testing.assert_array_equal(found[clear], (logits > 0)[clear])


@pytest.mark.parametrize(
    ("logits", "activation", "classes", "label"),
    [
        ((5.0,), "sigmoid", ("a",), 1),
        ((-5.0,), "sigmoid", ("a",), 0),
        ((-1.0, 2.0), "sigmoid", ("a", "b"), 2),
        ((-1.0, -2.0), "sigmoid", ("a", "b"), 0),
        ((1.0, 0.0), "softmax", ("a",), 0),
        ((1.0, 0.0, 3.0), "softmax", ("a", "b"), 2),
    ],
)
def test_a_constant_network_gives_one_label(
    tmp_path: Path, logits: tuple[float, ...], activation: str, classes: tuple[str, ...], label: int
) -> None:
    stack = tiles(2)
    bundle = make(tmp_path, constant(*logits), activation=activation, classes=classes)
    np.testing.assert_array_equal(on_torch(bundle).segment(stack).labels, np.where(stack.valid, label, 0))


def test_numbers_that_are_none_name_their_tiles(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"tiny gave NaN or infinity for 2 of 2 tiles: r0000c0000, r0000c0001"):
        on_torch(make(tmp_path, constant(float("nan")))).segment(tiles(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a", "b")}, "does not fit Unet with 2 outputs"),
        ({"activation": "softmax"}, "does not fit Unet with 2 outputs"),
        ({"architecture": "Segformer"}, "only Unet is supported"),
        ({"hyperparameters": UNET | {"encoder_name": "no-such-encoder"}}, "can not build a Unet"),
        ({"hyperparameters": UNET | {"encoder_name": "tu-no_such_net"}}, "can not build a Unet"),
        ({"task": "classification", "architecture": "test_resnet", "hyperparameters": {}}, "does classification"),
    ],
)
def test_other_bundles_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        on_torch(make(tmp_path, network(), **changes))


def test_the_shipped_segmenter_maps_dark_green_and_not_sand() -> None:
    segmenter = on_torch(load_bundle("forest-unet", ROOT / "downstream" / "bundles"), device="cpu")
    pixels = np.random.default_rng(0).integers(-2, 3, (1, 3, 128, 256))
    pixels[..., :128] += np.array([22, 39, 46])[:, None, None]
    pixels[..., 128:] += np.array([110, 95, 95])[:, None, None]
    stack = tiles(1, 128, 256)
    forest = segmenter.segment(TileStack(tiles=stack.tiles, pixels=pixels.astype(np.uint8), valid=stack.valid))
    assert forest.labels[0, :, :112].mean() > 0.95
    assert forest.labels[0, :, 144:].mean() < 0.05


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_pruned_changes_no_answer(channels: int) -> None:
    torch.manual_seed(4)
    whole = smp.Unet(encoder_weights=None, in_channels=3, classes=channels, **UNET).eval()
    pixels = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        expected = whole(pixels)
    names = set(whole.state_dict())
    small = pruned(whole, 3).eval()
    assert set(small.state_dict()) < names
    with torch.inference_mode():
        assert torch.equal(small(pixels), expected)
