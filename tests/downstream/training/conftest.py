"""Labelled tiles made of arrays: dark things on bright ground."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from classifiers.labels.sample import UNLABELLED, LabelledTiles, Sample
from tiling.info import PixelSize

MakeTiles = Callable[..., LabelledTiles]


def labelled(masks: np.ndarray, halo_px: int = 0, **changes: Any) -> LabelledTiles:
    """Tiles of the masks (n, side, side): class i is 40 i darker than the ground; a little noise, three groups."""
    count, side = len(masks), masks.shape[1]
    classes: tuple[str, ...] = changes.pop("classes", ("thing",))
    noise = np.random.default_rng(5).integers(-6, 7, (count, 3, side, side))
    pixels = np.clip(200 - 40 * np.where(masks == UNLABELLED, 0, masks)[:, None] + noise, 0, 255).astype(np.uint8)
    inner = masks[:, halo_px : side - halo_px, halo_px : side - halo_px]
    shares = [
        (inner == i + 1).sum((1, 2)) / np.maximum((inner != UNLABELLED).sum((1, 2)), 1) for i in range(len(classes))
    ]
    fractions = np.stack(shares, axis=1).astype(np.float32)
    plain: dict[str, Any] = {
        "samples": tuple(Sample(name=f"tile{i}", group=f"scene{i % 3}") for i in range(count)),
        "classes": classes,
        "exclusive": False,
        "bands": ("red", "green", "blue"),
        "pixel_size": PixelSize(y=10, x=10, unit="m"),
        "tile_px": side - 2 * halo_px,
        "halo_px": halo_px,
        "pixels": pixels,
        "valid": np.ones((count, side, side), bool),
        "labels": (fractions >= 0.01).astype(np.float32),
        "fractions": fractions,
        "masks": masks.astype(np.uint8),
    }
    return LabelledTiles(**(plain | changes))


@pytest.fixture(name="labelled", scope="session")
def labelled_() -> MakeTiles:
    """(masks (n, side, side), halo_px, …) -> tiles."""
    return labelled


def squares(count: int, side: int, classes: int = 1, seed: int = 0) -> np.ndarray:
    """(count, side, side) masks with a square of each class somewhere."""
    random = np.random.default_rng(seed)
    masks = np.zeros((count, side, side), np.uint8)
    for mask in masks:
        for label in range(1, classes + 1):
            y, x = random.integers(0, side // 2, 2)
            mask[y : y + side // 2, x : x + side // 2] = label
    return masks


@pytest.fixture(name="squares", scope="session")
def squares_() -> Callable[..., np.ndarray]:
    """(count, side, classes, seed) -> masks."""
    return squares


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same bits whatever the machine, and no crowd on a small one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
