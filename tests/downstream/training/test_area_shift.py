"""The border is where as much is mapped as there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifiers.labels.sample import UNLABELLED, LabelledTiles, Part, Split
from classifiers.torch_runtime import TorchRuntime
from classifiers.training.settings import ModelSettings, NetworkSettings, TrainingRecipe
from downstream.network_segmenter import NetworkSegmenter
from downstream.torch_segmenter import build_segmenter
from downstream.training.area_shift import Margins, agreed, last_layer, margins, shift_to_area
from downstream.training.segment_tiles import count_tiles
from downstream.training.train_segmenter import draft_segmenter

MakeTiles = Callable[..., LabelledTiles]


def untrained(tiles: LabelledTiles, zoom: int = 1) -> tuple[Any, Any]:
    every = np.arange(len(tiles))
    network = NetworkSettings(architecture="test_resnet", decoder_channels=(8, 8, 8), zoom=zoom)
    recipe = TrainingRecipe(kind="segmenter", model=ModelSettings(name="tiny"), network=network)
    draft = draft_segmenter(tiles, Split(train=every, validation=every, test=every), recipe)
    torch.manual_seed(0)
    return build_segmenter(draft).eval(), draft


@pytest.mark.parametrize(("zoom", "classes"), [(1, ("thing",)), (2, ("thing",)), (1, ("a", "b"))])
def test_the_area_mapped_is_that_of_the_masks(labelled: MakeTiles, squares: Any, zoom: int, classes: Any) -> None:
    masks = squares(6, 48, len(classes))
    masks[0, :9] = UNLABELLED
    tiles = labelled(masks, halo_px=8, classes=classes)
    valid = tiles.valid.copy()
    valid[1, 20:] = False
    tiles = replace(tiles, valid=valid, samples=tuple(replace(each, group="scene") for each in tiles.samples))
    split = Split(train=np.array([5]), validation=np.array([0, 1, 3]), test=np.array([2, 4]))
    network, draft = untrained(tiles, zoom)
    segmenter = NetworkSegmenter(draft, TorchRuntime(network, draft, device="cpu"))

    def bias(part: Part) -> float:
        _, mapped, true, _ = count_tiles(segmenter, tiles, split.of(part)).sum(axis=(0, 1))
        return float(mapped / true - 1)

    before, test = bias("validation"), bias("test")
    assert abs(before) > 0.2, "it would have mapped another area"
    biases = last_layer(network).bias.detach().clone()
    figures = shift_to_area(network, draft, tiles, split, half=False)
    moved = (last_layer(network).bias - biases).tolist()
    sign = 1 if len(classes) > 1 else -1
    assert moved == pytest.approx([sign * figures["logit_shift"], *[0] * (len(moved) - 1)], abs=1e-6)
    assert figures["area_bias_validation_unshifted"] == pytest.approx(before)
    assert figures["area_bias_unshifted"] == pytest.approx(test)
    assert figures["area_bias_validation"] == pytest.approx(bias("validation"), abs=2e-3)
    assert abs(bias("validation")) < 2e-3  # but for pixels that lie on the border


def borders_of(tiles: LabelledTiles, groups: tuple[str, ...]) -> tuple[float, float, float]:
    """Border of all tiles together, median of the groups', and by how much the bias was moved."""
    named = tuple(replace(each, group=group) for each, group in zip(tiles.samples, groups, strict=True))
    tiles, network, draft = replace(tiles, samples=named), *untrained(tiles)
    every = np.arange(len(groups))
    together = margins(network, draft, tiles, every).border()
    each = [margins(network, draft, tiles, every[np.array(groups) == name]).border() for name in sorted(set(groups))]
    split = Split(train=np.array([0]), validation=every, test=np.array([0]))
    return together, sorted(each)[1], shift_to_area(network, draft, tiles, split, half=False)["logit_shift"]


def test_a_group_the_network_does_not_understand_moves_none_of_the_others(labelled: MakeTiles, squares: Any) -> None:
    masks = squares(6, 48)
    masks[4:] = 1 - masks[4:]  # nearly all of it, where a network of the other tiles maps little
    together, usual, found = borders_of(labelled(masks, halo_px=8), ("a", "a", "b", "b", "odd", "odd"))
    assert abs(together - usual) > 1e-3, "the odd group moves the sum"
    assert found == pytest.approx(min(together, usual, key=abs) if together * usual > 0 else 0, abs=1e-6)


@pytest.mark.parametrize(
    ("together", "groups", "border"),
    [
        (0.3, [0.1, 0.2, 5.0], 0.2),
        (0.1, [0.2, 0.3, 0.4], 0.1),
        (-0.3, [-0.2, -0.1, 0.0], -0.1),
        (0.3, [-0.1, -0.2, 4.0], 0),  # one group alone wants less to be mapped
        (0.0, [0.1], 0),
        (0.0, [], 0),
    ],
)
def test_the_border_is_moved_as_far_as_sum_and_median_agree(
    together: float, groups: list[float], border: float
) -> None:
    assert agreed(together, groups) == border


def test_the_border_is_rounded_as_it_is_stored(labelled: MakeTiles, squares: Any) -> None:
    tiles, every = labelled(squares(4, 32)), np.arange(4)
    network, draft = untrained(tiles)
    split = Split(train=every, validation=every, test=every)
    shift_to_area(network, draft, tiles, split, half=True)
    for values in network.state_dict().values():
        assert not values.is_floating_point() or torch.equal(values.half().float(), values)


@given(
    values=st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=40, unique=True),
    share=st.floats(0.01, 0.99),
)
def test_as_many_pixels_lie_above_the_border_as_are_true(values: list[float], share: float) -> None:
    true = max(1, min(len(values) - 1, round(share * len(values))))
    found = Margins(values=np.array(values, np.float32), true=true)
    gap = np.diff(np.sort(values))[len(values) - true - 1]
    if gap > 1e-5:
        assert found.bias(found.border()) == 0
    assert found.bias(6) == -1
    assert found.bias(-6) == pytest.approx(len(values) / true - 1)


@pytest.mark.parametrize("value", [0, 1, UNLABELLED])
def test_where_nobody_knows_nothing_is_shifted(labelled: MakeTiles, squares: Any, value: int) -> None:
    masks = squares(4, 32)
    masks[:2] = value
    tiles = labelled(masks)
    network, draft = untrained(tiles)
    bias = last_layer(network).bias.detach().clone()
    split = Split(train=np.array([3]), validation=np.array([0, 1]), test=np.array([2]))
    figures = shift_to_area(network, draft, tiles, split, half=False)
    assert figures["logit_shift"] == 0
    assert ("area_bias_validation" in figures) == (value == 1), "of nothing there is no share"
    assert torch.equal(last_layer(network).bias, bias)
