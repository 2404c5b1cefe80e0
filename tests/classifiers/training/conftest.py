"""Tiles of 16 px that a tiny network can learn: a class is a colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from classifiers.labels.sample import LabelledTiles, Sample, Split
from classifiers.training.settings import AugmentSettings, FitSettings, ModelSettings, NetworkSettings, TrainingRecipe
from tiling.info import PixelSize

SIDE = 16


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def coloured() -> Callable[..., LabelledTiles]:
    """(count, classes, exclusive, seed) -> tiles of noise; tile i is of class i % classes and brighter in that band.

    Not exclusive: every (classes + 1)th tile is of none.
    """

    def make(
        count: int = 24,
        classes: tuple[str, ...] = ("red", "green"),
        *,
        exclusive: bool = True,
        seed: int = 0,
        **changes: Any,
    ) -> LabelledTiles:
        random = np.random.default_rng(seed)
        kind = np.arange(count) % (len(classes) + (not exclusive))
        labels = np.eye(len(classes) + 1, dtype=np.float32)[kind][:, : len(classes)]
        pixels = random.integers(60, 120, (count, 3, SIDE, SIDE))
        pixels[:, : len(classes)] += (90 * labels[:, :3, None, None]).astype(np.int64)
        plain: dict[str, Any] = {
            "samples": tuple(Sample(name=f"scene{i // 2}/{i}.png", group=f"scene{i // 2}") for i in range(count)),
            "classes": classes,
            "exclusive": exclusive,
            "bands": ("red", "green", "blue"),
            "pixel_size": PixelSize(y=10, x=10, unit="m"),
            "tile_px": SIDE,
            "halo_px": 0,
            "pixels": pixels.astype(np.uint8),
            "valid": np.ones((count, SIDE, SIDE), bool),
            "labels": labels,
            "fractions": labels.copy(),
        }
        return LabelledTiles(**(plain | changes))

    return make


@pytest.fixture
def thirds() -> Callable[[LabelledTiles], Split]:
    """The first half trains, a quarter validates, a quarter tests."""

    def make(tiles: LabelledTiles) -> Split:
        parts = np.split(np.arange(len(tiles)), [len(tiles) // 2, len(tiles) * 3 // 4])
        return Split(train=parts[0], validation=parts[1], test=parts[2])

    return make


@pytest.fixture
def tiny_recipe() -> Callable[..., TrainingRecipe]:
    """(network, augment, fit, …) -> a recipe for a network of a third of a million weights."""

    def make(**changes: Any) -> TrainingRecipe:
        plain: dict[str, Any] = {
            "kind": "gate",
            "model": ModelSettings(name="tiny"),
            "network": NetworkSettings(architecture="test_resnet"),
            "augment": AugmentSettings(),
            "fit": FitSettings(epochs=2, batch=4, precision="float32", average=0.5),
        }
        return TrainingRecipe(**(plain | changes))

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trained"
