"""The values a model sees: the numbers of the file, or reflectance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from classifiers.protocol import ModelId
from tiling.radiometry import Radiometry
from tiling.stack import TileStack


def as_seen(stack: TileStack, model: ModelId, radiometry: Radiometry | None, bands: Sequence[int]) -> TileStack:
    """A stack of a model's bands in the values it wants. bands: where they stand among those of `radiometry`."""
    if radiometry is None or model.sees == "numbers":
        return stack
    return replace(stack, pixels=radiometry.reflectance(stack.pixels, bands))


def dtype_seen(dtype: str, model: ModelId, radiometry: Radiometry | None) -> str:
    """Numpy dtype of what a model sees of pixels of a type."""
    return dtype if radiometry is None or model.sees == "numbers" else "float32"
