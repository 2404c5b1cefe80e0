"""How masks bend, against a segmenter whose every answer is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from classifiers.labels.sample import LabelledTiles
from classifiers.protocol import ModelId
from downstream.training.mask_robustness import mask_robustness
from tiling.stack import MaskStack, TileStack

Squares = Callable[..., np.ndarray]


class Darker:
    """Maps what is darker than 180 in red; keeps how many tiles it was handed."""

    model = ModelId(name="darker", sha256="")
    bands, classes = ("red",), ("thing",)

    def __init__(self) -> None:
        self.seen = 0

    def segment(self, stack: TileStack) -> MaskStack:
        self.seen += len(stack)
        return MaskStack(tiles=stack.tiles, labels=(stack.pixels[:, 0] < 180).astype(np.uint8), classes=self.classes)


@pytest.fixture(name="tiles")
def tiles_(labelled: Callable[..., LabelledTiles], squares: Squares) -> LabelledTiles:
    """Ground at 200, a square of a quarter of the tile at 160, noise of 6 at most."""
    return labelled(squares(6, 32))


def test_undisturbed_all_is_right_and_darkness_maps_everything(tiles: LabelledTiles) -> None:
    rows = {(row.name, row.step): row for row in mask_robustness(Darker(), tiles)}
    first = rows["undisturbed", ""]
    assert first.figures == {"dice": 1, "recall": 1, "precision": 1, "area_bias": 0}
    dark = rows["darker", "strong"]  # x 0.6: all of it is below 180, a quarter of it rightly
    assert dark.figures["recall"] == 1
    assert dark.figures["precision"] == pytest.approx(0.25)
    assert dark.figures["dice"] == pytest.approx(2 * 0.25 / 1.25)
    assert dark.change["area_bias"] == pytest.approx(3)
    bright = rows["brighter", "strong"]  # x 1.4: nothing is below 180
    assert bright.figures["dice"] == 0
    assert bright.change["area_bias"] == -1


def test_what_moves_pixels_is_a_row_with_the_reason(tiles: LabelledTiles) -> None:
    turned = [row for row in mask_robustness(Darker(), tiles) if row.name == "rotation"]
    assert turned
    assert all("masks do not move" in row.skipped and not row.figures for row in turned)


def test_of_many_tiles_some_are_taken(tiles: LabelledTiles) -> None:
    segmenter = Darker()
    rows = mask_robustness(segmenter, tiles, most_tiles=2)
    assert segmenter.seen == 2 * sum(not row.skipped for row in rows)
