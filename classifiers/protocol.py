"""The seam of the gate: one method, its fake, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tiling.info import PixelSize
from tiling.stack import TileStack

Sees = Literal["numbers", "reflectance"]
"""What a model's pixels are: the file's numbers, or float32 reflectance where a file or recipe says how to make it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelId:
    """Which model, to the bit."""

    name: str
    """Name of a rule or bundle."""
    sha256: str
    """Of bundle.json, which holds the weights' hash; or of the rule and its parameters."""
    pixel_size: PixelSize | None = None
    """Pixel size it was trained at; None for rules, which take any."""
    pixel_size_range: tuple[float, float] = (0.8, 1.25)
    """Shares of `pixel_size` it is valid for."""
    threshold: float | None = None
    """Gates: the threshold its evidence recommends."""
    dtype: str | None = None
    """numpy dtype of the pixels it was trained on; None for rules, which take any."""
    sees: Sees = "numbers"
    """What its pixels are."""

    def takes(self, size: PixelSize) -> bool:
        """Whether pixels of this size look as they did in training; a tile's side is rounded, so give it a percent."""
        if self.pixel_size is None:
            return True
        low, high = self.pixel_size_range
        ratios = (size.y / self.pixel_size.y, size.x / self.pixel_size.x)
        return size.unit == self.pixel_size.unit and min(ratios) >= low * 0.99 and max(ratios) <= high * 1.01


class Classifier(Protocol):
    """Scores tiles. Cheap."""

    model: ModelId
    """Who scores."""
    bands: tuple[str, ...]
    """Bands it needs, in order."""
    classes: tuple[str, ...]
    """What it scores."""

    def score(self, stack: TileStack) -> NDArray[np.float32]:
        """(n, classes) in [0, 1]: how much each tile is of each class."""


class FakeClassifier:
    """Scores every tile alike, or by a table of tile ids: for tests and dry runs."""

    def __init__(self, probability: float | dict[str, float] = 1.0, bands: tuple[str, ...] = ("grey",)) -> None:
        """probability: of the one class "any", for all tiles or by tile id (0 where absent)."""
        self._probability = probability
        self.bands = bands
        self.classes: tuple[str, ...] = ("any",)
        self.model = ModelId(name="fake", sha256=f"fake-{probability}")

    def score(self, stack: TileStack) -> NDArray[np.float32]:
        """See Classifier."""
        p = self._probability
        scores = [p.get(tile.id, 0.0) if isinstance(p, dict) else p for tile in stack.tiles]
        return np.array(scores, np.float32)[:, None]


_: type[Classifier] = FakeClassifier
