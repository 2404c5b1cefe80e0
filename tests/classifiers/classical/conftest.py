"""Tiles of stripes, dots and plain colour, and classical gates that have learnt them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifiers.bundle import Bundle
from classifiers.labels.sample import LabelledTiles, Sample, Split
from classifiers.training.settings import ClassicalSettings, DataSettings, FitSettings, ModelSettings, TrainingRecipe
from tiling.info import PixelSize

SIDE = 24
KINDS = ("stripes", "dots", "plain")


def picture(kind: str, random: np.random.Generator) -> np.ndarray:
    """(3, SIDE, SIDE) uint8."""
    grey = np.zeros((SIDE, SIDE))
    if kind == "stripes":
        grey += 40 * np.sin(np.arange(SIDE) * random.uniform(1, 1.4))
    if kind == "dots":
        grey[::2, ::2] = 60 * (random.random((SIDE // 2, SIDE // 2)) < 0.15)
        grey[1::2], grey[:, 1::2] = grey[::2], grey[:, ::2]
    if random.random() < 0.5:
        grey = grey.T
    noisy = grey + random.normal(0, 4, (3, SIDE, SIDE)) + np.array([90, 120, 100])[:, None, None]
    return np.clip(noisy, 0, 255).astype(np.uint8)


def tiles_of(count: int = 90, *, exclusive: bool = True, classes: tuple[str, ...] = KINDS) -> LabelledTiles:
    """Kinds in turn; groups of two tiles. Not exclusive: `classes` is what a tile is told to be, of KINDS."""
    random = np.random.default_rng(5)
    kinds = [KINDS[i % 3] for i in range(count)]
    labels = np.array([[kind == name for name in classes] for kind in kinds], np.float32)
    return LabelledTiles(
        samples=tuple(Sample(name=f"{i:03d}.png", group=f"g{i // 2}") for i in range(count)),
        classes=classes,
        exclusive=exclusive,
        bands=("red", "green", "blue"),
        pixel_size=PixelSize(y=10, x=10, unit="m"),
        tile_px=SIDE,
        halo_px=0,
        pixels=np.stack([picture(kind, random) for kind in kinds]),
        valid=np.ones((count, SIDE, SIDE), bool),
        labels=labels,
        fractions=labels,
    )


def split_of(count: int = 90) -> Split:
    """Every fifth group is for the test, every sixth for validation."""
    groups = np.arange(count) // 2
    part = np.where(groups % 5 == 0, 2, np.where(groups % 6 == 1, 1, 0))
    train, validation, test = (np.flatnonzero(part == i) for i in range(3))
    return Split(train=train, validation=validation, test=test)


def recipe_of(
    features: tuple[Any, ...] = ("colour", "lbp"), classifier: Any = "logistic", **changes: Any
) -> TrainingRecipe:
    plain: dict[str, Any] = {
        "kind": "gate",
        "model": ModelSettings(name="textures", job="Says what a tile is covered with."),
        "classical": ClassicalSettings(features=features, classifier=classifier),
        "fit": FitSettings(seed=3),
        "data": DataSettings(),
    }
    return TrainingRecipe(**(plain | changes))


@pytest.fixture(scope="session", name="trained")
def trained_(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """(features, classifier) -> a bundle, trained once for all tests: do not write into its folder."""
    from classifiers.classical.train_classical import train_classical

    made: dict[Any, Bundle] = {}

    def train(features: tuple[Any, ...] = ("colour", "lbp"), classifier: Any = "logistic") -> Bundle:
        key = (features, classifier)
        if key not in made:
            folder: Path = tmp_path_factory.mktemp("classical") / "textures"
            made[key] = train_classical(tiles_of(), split_of(), recipe_of(features, classifier), folder)
        return made[key]

    return train


@pytest.fixture(scope="session", name="textures")
def textures_() -> Callable[..., LabelledTiles]:
    """See tiles_of."""
    return tiles_of


@pytest.fixture(scope="session", name="parts")
def parts_() -> Callable[..., Split]:
    """See split_of."""
    return split_of


@pytest.fixture(scope="session", name="recipe")
def recipe_() -> Callable[..., TrainingRecipe]:
    """See recipe_of."""
    return recipe_of
