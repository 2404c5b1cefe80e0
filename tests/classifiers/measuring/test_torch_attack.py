"""FGSM against gradients taken by hand, and what it may not touch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from classifiers.bundle import Bundle
from classifiers.labels.sample import LabelledTiles
from classifiers.measuring.robustness import scores
from classifiers.measuring.torch_attack import fgsm, gradient_sign, step_of, stepped
from classifiers.network_gate import NetworkGate
from classifiers.torch_gate import build_gate, torch_gate
from classifiers.torch_runtime import load_weights
from tiling.errors import BadInput
from tiling.stack import TileStack

MakeGate = Callable[..., Bundle]
Noise = Callable[..., TileStack]
MEAN, STD = (100.0, 50.0, 60.0), (20.0, 10.0, 15.0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def as_labelled(stack: TileStack, bundle: Bundle, make: Callable[..., LabelledTiles]) -> LabelledTiles:
    """Labelled as the gate itself answers, so that it is right about every tile."""
    told = NetworkGate(bundle, torch_gate(bundle, threads=1)).score(stack)
    labels = told > 0.5 if bundle.activation == "sigmoid" else told == told.max(axis=1, keepdims=True)
    exclusive = bundle.activation == "softmax"
    return make(stack.pixels, labels, classes=bundle.classes, valid=stack.valid, exclusive=exclusive)


@pytest.mark.parametrize(("activation", "classes"), [("sigmoid", ("a", "b")), ("softmax", ("a", "b", "c"))])
def test_the_sign_is_that_of_the_gradient_in_pixels(
    activation: str, classes: tuple[str, ...], tiny_gate: MakeGate, noise: Noise
) -> None:
    bundle, stack = tiny_gate(activation=activation, classes=classes), noise(3)
    network = load_weights(build_gate(bundle), bundle)
    labels = np.eye(3, len(classes), dtype=np.float32)
    pixels = torch.tensor(stack.pixels.astype(np.float32), requires_grad=True)
    planes = [(pixels[:, i] - MEAN[i]) / STD[i] * torch.from_numpy(stack.valid) for i in range(3)]
    logits = network(torch.stack(planes, dim=1))
    if activation == "softmax":
        loss = -(logits.log_softmax(dim=1) * torch.from_numpy(labels)).sum()
    else:
        p = logits.sigmoid()
        loss = -(torch.from_numpy(labels) * p.log() + (1 - torch.from_numpy(labels)) * (1 - p).log()).sum()
    loss.backward()
    assert pixels.grad is not None
    found = gradient_sign(network, bundle, stack, labels, range(len(classes)))
    same = (found == pixels.grad.sign().numpy())[np.repeat(stack.valid[:, None], 3, axis=1)]
    assert same.mean() > 0.999, "all but the smallest gradients, which rounding turns"


def test_some_of_the_classes_can_be_labelled(tiny_gate: MakeGate, noise: Noise) -> None:
    bundle, stack = tiny_gate(classes=("a", "b")), noise(2)
    network = load_weights(build_gate(bundle), bundle)
    only = gradient_sign(network, bundle, stack, np.ones((2, 1), np.float32), [1])
    logits_of_b = torch.from_numpy(
        ((stack.pixels - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]).astype(np.float32)
    )
    logits_of_b[1, :, :20, :30] = 0
    logits_of_b.requires_grad_()
    (slope,) = torch.autograd.grad(-network(logits_of_b)[:, 1].sum(), logits_of_b)  # the loss falls as the logit rises
    assert (only == slope.sign().numpy()).mean() > 0.999


@pytest.mark.parametrize("level", [1, 4])
def test_a_step_is_so_many_levels_and_stays_in_range(level: int, noise: Noise) -> None:
    stack = noise(2)
    uphill = np.random.default_rng(0).integers(-1, 2, stack.pixels.shape).astype(np.float32)
    found = stepped(stack, uphill, np.full(3, float(level)))
    expected = np.clip(stack.pixels.astype(int) + level * uphill.astype(int), 0, 255)
    expected[1, :, :20, :30] = stack.pixels[1, :, :20, :30]
    assert found.pixels.dtype == np.uint8
    np.testing.assert_array_equal(found.pixels, expected)


def test_epsilon_follows_the_spread_where_values_are_not_8_bit(tiny_gate: MakeGate) -> None:
    bundle = tiny_gate()
    assert step_of(bundle, 2).tolist() == [2, 2, 2]
    assert step_of(replace(bundle, dtype="uint16"), 2).tolist() == pytest.approx([8 * s / 255 for s in STD])


@pytest.mark.parametrize(("activation", "classes"), [("sigmoid", ("a",)), ("softmax", ("a", "b", "c"))])
@pytest.mark.parametrize("hyperparameters", [{}, {"global_pool": "max"}])
def test_the_larger_the_step_the_less_is_right(
    activation: str,
    classes: tuple[str, ...],
    hyperparameters: Any,
    tiny_gate: MakeGate,
    noise: Noise,
    labelled_tiles: Any,
) -> None:
    bundle = tiny_gate(activation=activation, classes=classes, hyperparameters=hyperparameters)
    tiles = as_labelled(noise(20, side=32), bundle, labelled_tiles)
    rows = fgsm(bundle, tiles, levels=(1, 64))
    accuracy = [row.figures["accuracy"] for row in rows]
    assert accuracy[1] < 0.5, "it was right about every tile"
    assert accuracy[1] <= accuracy[0] <= 1
    assert rows[1].change["accuracy"] == pytest.approx(accuracy[1] - 1)
    assert rows[0].parameters == "epsilon 1/255 of the range, white box"


def test_it_looks_through_the_wrappers(tiny_gate: MakeGate, noise: Noise, labelled_tiles: Any) -> None:
    wrapped = {"zoom": 2, "parents": (-1, 0)}
    plain = tiny_gate(classes=("a", "b"))
    bundle = replace(plain, hyperparameters=wrapped)
    network = build_gate(bundle)
    names = {name.removeprefix("network.network.") for name in network.state_dict()}
    assert names == set(build_gate(plain).state_dict())
    stack = noise(2, side=32)
    sign = gradient_sign(network.eval(), bundle, stack, np.ones((2, 2), np.float32), [0, 1])
    assert np.abs(sign[0]).mean() > 0.9


def test_tiles_of_another_gate_are_refused(tiny_gate: MakeGate, noise: Noise, labelled_tiles: Any) -> None:
    bundle = tiny_gate()
    tiles = labelled_tiles(noise(2).pixels, np.ones((2, 1)), classes=("water",))
    with pytest.raises(BadInput, match="tiny scores forest from red, green, blue; these tiles are labelled water"):
        fgsm(bundle, tiles)


def test_undisturbed_figures_are_the_gates_own(tiny_gate: MakeGate, noise: Noise, labelled_tiles: Any) -> None:
    bundle = tiny_gate()
    tiles = as_labelled(noise(4, side=32), bundle, labelled_tiles)
    row = fgsm(bundle, tiles, levels=(0,))[0]
    told = scores(NetworkGate(bundle, torch_gate(bundle, threads=1)), tiles)
    assert row.figures["accuracy"] == float(((told > 0.5) == tiles.labels).mean()) == 1.0
    assert row.change["accuracy"] == 0
