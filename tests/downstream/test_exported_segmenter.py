"""Exported U-Nets: torch is the truth; drift as numpy counts it; int8 is taken or refused by what it does to masks."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch

from classifiers.bundle import Bundle, load_bundle, read_weights, write_bundle
from classifiers.export import export_bundle
from classifiers.machine import bf16_flags
from downstream.network_segmenter import open_network_segmenter
from downstream.torch_segmenter import build_segmenter, pruned
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
needs_bf16 = pytest.mark.skipif(not bf16_flags(), reason="this CPU has no bf16")


def tiles(count: int, side: int = 64, halo: int = 0, seed: int = 0) -> TileStack:
    """Noise; a corner of the second tile holds no data."""
    full = side + 2 * halo
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, full, full), dtype=np.uint8)
    valid = np.ones((count, full, full), bool)
    valid[1:2, :20, :30] = False
    grid = TileGrid(shape_px=(side, side * count), tile_px=side, halo_px=halo)
    return TileStack(tiles=tuple(grid.tile(0, i) for i in range(count)), pixels=pixels, valid=valid)


def by_hand(stack: TileStack) -> torch.Tensor:
    """Network input, written another way: band by band."""
    planes = [(stack.pixels[:, i].astype(np.float64) - MEAN[i]) / STD[i] for i in range(3)]
    return torch.tensor(np.stack([np.where(stack.valid, p, 0) for p in planes], axis=1), dtype=torch.float32)


def unet(channels: int = 1) -> torch.nn.Module:
    """Random weights, its output shifted so that about half of the pixels are mapped."""
    torch.manual_seed(0)
    network = pruned(smp.Unet(encoder_weights=None, in_channels=3, classes=channels, **UNET), 3).eval()
    with torch.no_grad():
        network.segmentation_head[0].bias -= network(by_hand(tiles(2))).median()
    return network


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
    return write_bundle(Bundle(**(plain | changes)), folder / "tiny", weights, "# tiny\n")


def exported(bundle: Bundle, *stacks: TileStack, **more: Any) -> Bundle:
    return export_bundle(bundle, build_segmenter(bundle), stacks, **more)


@pytest.mark.parametrize("side", [64, 70])
def test_float32_labels_are_torchs(tmp_path: Path, side: int) -> None:
    network, stack = unet(), tiles(3, side, seed=1)
    found = open_network_segmenter(exported(make(tmp_path, network), tiles(2)), "openvino-f32").segment(stack)
    edge = np.minimum(np.arange(-(-side // 32) * 32), side - 1)
    with torch.inference_mode():
        logits = network(by_hand(stack)[:, :, edge][:, :, :, edge]).numpy()[:, 0, :side, :side]
    clear = np.abs(logits) > 1e-3
    np.testing.assert_array_equal(found.labels[clear], ((logits > 0) & stack.valid)[clear])
    assert clear.mean() > 0.99
    assert 0.2 < found.labels.mean() < 0.8
    assert not found.labels[~stack.valid].any()


def test_several_classes_of_a_softmax(tmp_path: Path) -> None:
    network, stack = unet(3), tiles(2, seed=1)
    bundle = exported(make(tmp_path, network, activation="softmax", classes=("a", "b")), tiles(2))
    found = open_network_segmenter(bundle, "openvino-f32").segment(stack)
    with torch.inference_mode():
        logits = network(by_hand(stack)).numpy()
    low, high = np.sort(logits, axis=1)[:, 1:].transpose(1, 0, 2, 3)
    clear = high - low > 1e-3
    np.testing.assert_array_equal(found.labels[clear], np.where(stack.valid, logits.argmax(axis=1), 0)[clear])


@needs_bf16
def test_the_drift_that_is_stored_is_that_of_the_masks(tmp_path: Path) -> None:
    """Counted over valid pixels of the cores, as areas are."""
    stacks = [tiles(2, 48, halo=8, seed=seed) for seed in (1, 2)]
    bundle = exported(make(tmp_path, unet()), *stacks)
    counted = np.concatenate([stack.valid[:, 8:-8, 8:-8] for stack in stacks])
    torchs, bf16 = (
        np.concatenate([open_network_segmenter(bundle, name).segment(s).labels[:, 8:-8, 8:-8] for s in stacks]) == 1
        for name in ("torch", "openvino-bf16")
    )
    drift = bundle.drift["openvino-bf16"]
    assert drift.tiles == 4
    assert drift.iou == (torchs & bf16).sum() / (torchs | bf16).sum()
    assert drift.area == pytest.approx(bf16.sum() / torchs.sum() - 1, rel=1e-12)
    assert drift.flipped == (torchs != bf16).sum() / counted.sum()
    assert drift.flipped > 0, "nothing flipped proves nothing"


@pytest.mark.parametrize("name", ["openvino-f32", pytest.param("openvino-bf16", marks=needs_bf16)])
def test_threads_may_share_it_and_get_the_same_bits(tmp_path: Path, name: Any) -> None:
    bundle, stack = exported(make(tmp_path, unet()), tiles(2)), tiles(8, seed=3)
    whole = open_network_segmenter(bundle, name).segment(stack).labels
    segmenter = open_network_segmenter(bundle, name)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: segmenter.segment(stack.pick([i % 8], range(3))).labels[0], range(32)))
    for i, labels in enumerate(parts):
        np.testing.assert_array_equal(labels, whole[i % 8])


def landscape(count: int, seed: int) -> TileStack:
    """Forest green to the left, sand to the right, as the shipped segmenter knows them; the border wanders."""
    random = np.random.default_rng(seed)
    pixels = random.integers(-4, 5, (count, 3, 128, 128))
    for tile, border in zip(pixels, random.integers(32, 96, count), strict=True):
        tile[:, :, :border] += np.array([22, 39, 46])[:, None, None]
        tile[:, :, border:] += np.array([110, 95, 95])[:, None, None]
    stack = tiles(count, 128)
    return replace(stack, pixels=pixels.astype(np.uint8), valid=np.ones_like(stack.valid))


def test_int8_that_holds_is_kept_with_its_drift(tmp_path: Path) -> None:
    shipped = load_bundle("forest-unet", ROOT / "downstream" / "bundles")
    bundle = write_bundle(shipped, tmp_path / "x", read_weights(shipped), "# x\n")
    judged = landscape(6, seed=1)
    bundle = exported(bundle, judged, calibration=[landscape(12, seed=2)])
    assert set(bundle.exports) == {"model", "model-int8"}
    assert load_bundle(bundle.path, tmp_path) == bundle
    plain, int8 = (open_network_segmenter(bundle, name).segment(judged).labels for name in ("torch", "openvino-int8"))
    drift = bundle.drift["openvino-int8"]
    assert drift.iou == (plain & int8).sum() / (plain | int8).sum()
    assert drift.iou >= 0.98
    assert abs(int(int8.sum()) / int(plain.sum()) - 1) <= 0.015
    sizes = [(bundle.path / name).stat().st_size for name in ("model-int8.bin", "model.bin")]
    assert sizes[0] < 0.8 * sizes[1]


def test_int8_that_drifts_is_refused_and_told(tmp_path: Path) -> None:
    """Random weights leave half of the pixels near one half: any rounding moves them."""
    bundle = exported(make(tmp_path, unet()), tiles(4, seed=1), calibration=[tiles(2, seed=2)])
    assert set(bundle.exports) == {"model"}
    assert not (bundle.path / "model-int8.xml").exists()
    drift = bundle.drift["openvino-int8"]
    assert drift.iou is not None
    assert drift.area is not None
    assert drift.iou < 0.98 or abs(drift.area) > 0.015
    assert "int8 was refused" in (bundle.path / "README.md").read_text()
    assert f"| openvino-int8 | {drift.iou:.4f} |" in (bundle.path / "README.md").read_text()


def test_importing_and_exporting_tell_nobody(tmp_path: Path) -> None:
    """OpenVINO reports its import from a child process, and both it and NNCF leave a client's number at home."""
    bundle = make(tmp_path, unet())
    code = """
import sys
from pathlib import Path
seen = Path(sys.argv[2])
def watch(event, given):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"}:
        with seen.open("a") as file:  # children of a fork write here, too
            file.write(f"{event} {given}")
sys.addaudithook(watch)
import numpy as np
from classifiers.bundle import load_bundle
from classifiers.export import export_bundle
from downstream.torch_segmenter import build_segmenter, pruned
from tiling.grid import TileGrid
from tiling.stack import TileStack
bundle = load_bundle(Path(sys.argv[1]), Path())
tile = TileGrid(shape_px=(64, 64), tile_px=64).tile(0, 0)
pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)
stack = TileStack(tiles=(tile,), pixels=pixels, valid=np.ones((1, 64, 64), bool))
export_bundle(bundle, build_segmenter(bundle), [stack], calibration=[stack])
"""
    home, seen = tmp_path / "home", tmp_path / "seen"
    home.mkdir()
    plain = {key: value for key, value in os.environ.items() if key not in {"CI", "NNCF_CI", "NNCF_DEV"}}
    command = [sys.executable, "-c", code, str(bundle.path), str(seen)]
    subprocess.run(command, check=True, cwd=ROOT, env=plain | {"HOME": str(home)})
    assert not seen.exists(), seen.read_text()
    assert not (home / "intel").exists()
