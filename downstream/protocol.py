"""The seam of the expensive step: one method and its fake."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from classifiers.protocol import ModelId
from tiling.stack import MaskStack, TileStack


class Segmenter(Protocol):
    """Labels every pixel of tiles. Expensive."""

    model: ModelId
    """Who segments."""
    bands: tuple[str, ...]
    """Bands it needs, in order."""
    classes: tuple[str, ...]
    """Names of labels 1, 2, …"""

    def segment(self, stack: TileStack) -> MaskStack:
        """Labels of the same tiles, halo still on."""


class FakeSegmenter:
    """Gives every pixel the same label."""

    def __init__(self, label: int = 1, bands: tuple[str, ...] = ("grey",)) -> None:
        """label: 0 = background, 1 = the one class "any"."""
        self._label = label
        self.bands = bands
        self.classes: tuple[str, ...] = ("any",)
        self.model = ModelId(name="fake", sha256=f"fake-{label}")

    def segment(self, stack: TileStack) -> MaskStack:
        """See Segmenter."""
        labels = np.full(stack.valid.shape, self._label, np.uint8)
        return MaskStack(tiles=stack.tiles, labels=labels, classes=self.classes)


_: type[Segmenter] = FakeSegmenter
