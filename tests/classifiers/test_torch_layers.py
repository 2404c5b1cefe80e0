"""What networks are wrapped in, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.torch_layers import Coherent, Turned, Zoomed, descendants, innermost

TILES = np.random.default_rng(3).random((3, 1, 5, 5), np.float32)


class Corner(nn.Module):
    """Logits (n, 2) that depend on how a tile lies: a sum along its first row, a product down its first column."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack([pixels[:, 0, 0].sum(1), pixels[:, 0, :, 0].prod(1)], 1)


def corner(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([tiles[:, 0, 0].sum(1), tiles[:, 0, :, 0].prod(1)], 1)


def ways(tiles: NDArray[np.float32], views: int) -> list[NDArray[np.float32]]:
    turns = {2: (0, 2), 4: range(4), 8: range(4)}[views]
    laid = [np.rot90(tiles, turn, axes=(2, 3)) for turn in turns]
    return laid + [way[..., ::-1] for way in laid] if views == 8 else laid


@pytest.mark.parametrize("views", [2, 4, 8])
def test_the_answer_is_the_mean_of_the_ways_a_tile_can_lie(views):
    network = Turned(Corner(), views).eval()
    expected = np.mean([corner(way) for way in ways(TILES, views)], axis=0)
    np.testing.assert_allclose(network(torch.from_numpy(TILES)).numpy(), expected, rtol=1e-6)
    for way in ways(TILES, views):
        found = network(torch.from_numpy(np.ascontiguousarray(way))).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_while_it_learns_it_looks_once():
    found = Turned(Corner(), 8).train()(torch.from_numpy(TILES)).numpy()
    np.testing.assert_allclose(found, corner(TILES), rtol=1e-6)


def test_a_parent_is_at_least_as_likely_as_what_is_below_it():
    below = descendants((-1, 0, 1, -1))
    assert below.tolist() == [[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    network = Coherent(nn.Flatten(), (-1, 0, 1, -1))
    found = network(torch.tensor([[-3.0, -2.0, 5.0, 1.0]])[:, :, None, None])
    assert found.tolist() == [[5, 5, 5, 1]]


def test_wrappings_come_off():
    inside = Corner()
    assert innermost(Coherent(Turned(Zoomed(inside, 2), 4), (-1, -1))) is inside
