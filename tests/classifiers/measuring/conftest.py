"""Labelled tiles in memory, and a gate that can be calculated by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.labels.sample import LabelledTiles, Sample
from classifiers.protocol import ModelId
from tiling.grid import TileGrid
from tiling.info import PixelSize
from tiling.stack import TileStack


def stack_of(pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> TileStack:
    side = pixels.shape[-1]
    grid = TileGrid(shape_px=(side, side * len(pixels)), tile_px=side)
    full = np.ones((len(pixels), *pixels.shape[2:]), bool) if valid is None else valid
    return TileStack(tiles=tuple(grid.tile(0, i) for i in range(len(pixels))), pixels=pixels, valid=full)


def labelled_tiles(pixels: NDArray[Any], labels: NDArray[Any], **changes: Any) -> LabelledTiles:
    count, _, side, _ = pixels.shape
    plain: dict[str, Any] = {
        "samples": tuple(Sample(name=f"{i}.png", group="one") for i in range(count)),
        "classes": tuple("abcdefghij"[: labels.shape[1]]),
        "exclusive": False,
        "bands": ("red", "green", "blue")[: pixels.shape[1]],
        "pixel_size": PixelSize(y=10, x=10, unit="m"),
        "tile_px": side,
        "halo_px": 0,
        "pixels": pixels,
        "valid": np.ones((count, side, side), bool),
        "labels": labels.astype(np.float32),
        "fractions": labels.astype(np.float32),
    }
    return LabelledTiles(**(plain | changes))


class MeanGate:
    """Scores class a by the mean of its one band over 255, and counts how often it is asked."""

    def __init__(self, band: str = "red", classes: tuple[str, ...] = ("a",), threshold: float | None = None) -> None:
        self.model = ModelId(name="mean", sha256="", threshold=threshold)
        self.bands, self.classes, self.calls = (band,), classes, 0

    def score(self, stack: TileStack) -> NDArray[np.float32]:
        self.calls += 1
        assert stack.pixels.shape[1] == 1
        means = [pixels[0][valid].mean() for pixels, valid in zip(stack.pixels, stack.valid, strict=True)]
        return np.repeat(np.array(means, np.float32)[:, None] / 255, len(self.classes), axis=1)


@pytest.fixture(name="stack_of")
def stack_of_() -> Callable[..., TileStack]:
    """(pixels (n, band, h, w), valid) -> tiles."""
    return stack_of


@pytest.fixture(name="labelled_tiles")
def labelled_tiles_() -> Callable[..., LabelledTiles]:
    """(pixels (n, band, h, w), labels (n, c), …) -> tiles of classes a, b, …"""
    return labelled_tiles


@pytest.fixture
def mean_gate() -> type[MeanGate]:
    """See MeanGate."""
    return MeanGate
