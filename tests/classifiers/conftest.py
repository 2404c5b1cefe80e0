"""Tiny gates with weights of their own, and tiles of noise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from classifiers.bundle import Bundle, write_bundle
from classifiers.export import export_bundle
from classifiers.torch_gate import build_gate
from classifiers.torch_layers import Turned, Zoomed
from tiling.grid import TileGrid
from tiling.info import PixelSize
from tiling.stack import TileStack

MakeGate = Callable[..., Bundle]


def noise(count: int, side: int = 64, seed: int = 0) -> TileStack:
    """A corner of the second tile holds no data."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    valid = np.ones((count, side, side), bool)
    valid[1:2, :20, :30] = False
    grid = TileGrid(shape_px=(side, side * count), tile_px=side)
    return TileStack(tiles=tuple(grid.tile(0, i) for i in range(count)), pixels=pixels, valid=valid)


@pytest.fixture(name="noise")
def noise_() -> Callable[..., TileStack]:
    """(count, side, seed) -> tiles."""
    return noise


@pytest.fixture
def tiny_gate(tmp_path: Path) -> MakeGate:
    """(architecture, hyperparameters, half weights, …) -> a bundle of random weights without an export."""
    return gates_in(tmp_path)


@pytest.fixture(scope="session")
def exported_once(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Not to be changed: copy it."""
    bundle = gates_in(tmp_path_factory.mktemp("exported"))(threshold=0.5)
    return export_bundle(bundle, build_gate(bundle), [noise(2)])


@pytest.fixture
def exported_gate(exported_once: Bundle, tmp_path: Path) -> Bundle:
    """A copy of an exported bundle, to be damaged."""
    return replace(exported_once, path=Path(shutil.copytree(exported_once.path, tmp_path / "exported")))


def gates_in(folder: Path) -> MakeGate:
    """See tiny_gate."""

    def make(name: str = "test_resnet", *, half: bool = False, **changes: Any) -> Bundle:
        classes = changes.get("classes", ("forest",))
        torch.manual_seed(0)
        own = dict(changes.get("hyperparameters", {}))
        zoom, views = own.pop("zoom", 0), own.pop("views", 0)
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=len(classes), **own)
        network = Zoomed(network, zoom) if zoom else network
        network = Turned(network, views) if views else network
        network = network.half() if half else network
        plain: dict[str, Any] = {
            "name": "tiny",
            "path": Path(),
            "architecture": name,
            "hyperparameters": {},
            "task": "classification",
            "activation": "sigmoid",
            "bands": ("red", "green", "blue"),
            "classes": classes,
            "pixel_size": PixelSize(y=40, x=40, unit="m"),
            "pixel_size_range": (0.8, 1.25),
            "input_px": 64,
            "dtype": "uint8",
            "mean": (100.0, 50.0, 60.0),
            "std": (20.0, 10.0, 15.0),
            "threshold": None,
            "calibration": None,
            "licence": "CC0-1.0",
            "training_data": "none",
            "pretrained_source": None,
            "metrics": {},
            "sha256": "",
            "contract_sha256": "",
        }
        weights = safetensors.torch.save(network.state_dict())
        return write_bundle(Bundle(**(plain | changes)), folder / "tiny", weights, "# tiny\n")

    return make
