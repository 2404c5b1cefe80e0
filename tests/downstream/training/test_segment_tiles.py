"""What is counted of a segmenter on labelled tiles, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.labels.sample import UNLABELLED, LabelledTiles
from classifiers.protocol import ModelId
from classifiers.rules import find_rule
from downstream.protocol import FakeSegmenter
from downstream.rule_segmenter import RuleSegmenter
from downstream.training.segment_tiles import TILES_AT_ONCE, count_tiles, map_tiles
from tiling.errors import BadInput
from tiling.stack import MaskStack, TileStack

MakeTiles = Callable[..., LabelledTiles]
BANDS = ("red", "green", "nir")


class Painter:
    """Gives each tile the labels that its first band holds, and keeps how many tiles it was handed."""

    model = ModelId(name="painter", sha256="")

    def __init__(self, bands: tuple[str, ...], classes: tuple[str, ...]) -> None:
        self.bands, self.classes, self.calls = bands, classes, list[int]()

    def segment(self, stack: TileStack) -> MaskStack:
        self.calls.append(len(stack))
        labels = np.where(stack.valid, stack.pixels[:, 0], 0).astype(np.uint8)
        return MaskStack(tiles=stack.tiles, labels=labels, classes=self.classes)


@given(seed=st.integers(0, 10_000), halo_px=st.integers(0, 3), count=st.integers(0, 4))
def test_cores_are_counted_where_they_are_labelled_and_valid(
    labelled: MakeTiles, seed: int, halo_px: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    side = 5 + 2 * halo_px
    masks = random.choice([0, 1, 2, UNLABELLED], (count, side, side)).astype(np.uint8)
    painted = random.integers(0, 3, (count, 3, side, side)).astype(np.uint8)
    valid = random.random((count, side, side)) < 0.8
    tiles = labelled(masks, halo_px, classes=("a", "b"), pixels=painted, valid=valid)
    found = count_tiles(Painter(("red",), ("a", "b")), tiles)
    core = (slice(None), slice(halo_px, side - halo_px), slice(halo_px, side - halo_px))
    mask, drawn, known = masks[core], painted[:, 0][core], valid[core] & (masks[core] != UNLABELLED)
    assert (found.shape, found.dtype) == ((count, 2, 4), np.int64)
    for tile in range(count):
        for label in (1, 2):
            pairs = list(zip(mask[tile][known[tile]], drawn[tile][known[tile]], strict=True))
            expected = [
                sum(m == d == label for m, d in pairs),
                sum(d == label for _, d in pairs),
                sum(m == label for m, _ in pairs),
                len(pairs),
            ]
            assert found[tile, label - 1].tolist() == expected


def test_rules_are_measured_by_their_bands_names(labelled: MakeTiles) -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(1, 200, (3, 3, 8, 8)).astype(np.uint16)
    masks = random.integers(0, 2, (3, 8, 8)).astype(np.uint8)
    tiles = labelled(masks, classes=("water",), bands=BANDS, pixels=pixels)
    rule = find_rule("ndwi")
    assert rule is not None
    wet = pixels[:, 1] > pixels[:, 2]  # (green - nir) / (green + nir) > 0
    found = count_tiles(RuleSegmenter(rule), tiles)[:, 0]
    np.testing.assert_array_equal(found[:, 0], (wet & (masks == 1)).sum((1, 2)))
    np.testing.assert_array_equal(found[:, 1], wet.sum((1, 2)))
    np.testing.assert_array_equal(found[:, 2], masks.sum((1, 2)))
    np.testing.assert_array_equal(found[:, 3], [64, 64, 64])


def test_classes_are_matched_by_name_and_others_are_background(labelled: MakeTiles) -> None:
    painted = np.array([[0, 1], [2, 3]], np.uint8)
    tiles = labelled(np.zeros((1, 2, 2)), classes=("a", "b"), pixels=np.repeat(painted[None, None], 3, axis=1))
    found = map_tiles(Painter(("red",), ("b", "c", "a")), tiles, np.array([0]))
    np.testing.assert_array_equal(found, [[[0, 2], [0, 1]]])


def test_chosen_tiles_are_counted_in_their_order_and_in_handfuls(labelled: MakeTiles) -> None:
    masks, drawn = np.random.default_rng(0).integers(0, 2, (2, 2 * TILES_AT_ONCE + 1, 8, 8)).astype(np.uint8)
    painted = np.repeat(drawn[:, None], 3, axis=1)
    tiles = labelled(masks, pixels=painted)
    painter = Painter(("red",), ("thing",))
    whole = count_tiles(painter, tiles)
    assert painter.calls == [TILES_AT_ONCE, TILES_AT_ONCE, 1]
    assert len(np.unique(whole, axis=0)) > 10
    order = np.array([20, 3, 31])
    np.testing.assert_array_equal(count_tiles(painter, tiles, order), whole[order])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": None}, "have no masks"),
        ({"bands": ("a", "b", "c")}, r"fake needs the bands red; these tiles have a, b, c\. Name the bands"),
        ({"classes": ("forest",)}, r"fake maps any; these tiles are labelled with forest\. Say which values"),
    ],
)
def test_what_does_not_fit_is_refused(labelled: MakeTiles, changes: dict[str, Any], message: str) -> None:
    tiles = replace(labelled(np.zeros((1, 4, 4)), classes=("any",)), **changes)
    with pytest.raises(BadInput, match=message):
        count_tiles(FakeSegmenter(bands=("red",)), tiles)
