"""Weights made ready to ship."""

from __future__ import annotations

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from classifiers.torch_layers import Coherent, Zoomed
from classifiers.training.weights import cooled, halved, last_layer, undecided, weights_of
from tiling.errors import BadInput

TILES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def tiny(name: str = "test_resnet") -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model(name, num_classes=3)
    nn.init.normal_(last_layer(made).bias)
    return made


WRAPPED = {
    "bare": tiny,
    "zoomed": lambda: Zoomed(tiny(), 2),
    "coherent": lambda: Coherent(Zoomed(tiny(), 2), (-1, 0, 1)),
    "lite0": lambda: tiny("tf_efficientnet_lite0"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_temperature_divides_the_logits(kind: str) -> None:
    network = WRAPPED[kind]().eval()
    with torch.no_grad():
        before = network(TILES)
        cooled(network, 2.5)
        assert (network(TILES) * 2.5).numpy() == pytest.approx(before.numpy(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_head_above_learnt_layers_starts_undecided(kind: str) -> None:
    network = WRAPPED[kind]().eval()
    with torch.no_grad():
        before = network(TILES)
        undecided(network, [])
        undecided(network, list(network.parameters()))
        assert torch.equal(network(TILES), before)
        undecided(network, list(network.parameters())[:5])
        assert (network(TILES) == 0).all()


def test_a_network_without_one_last_layer_is_refused() -> None:
    with pytest.raises(BadInput, match="no single last layer"):
        last_layer(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(BadInput, match="no single last layer"):
        last_layer(timm.create_model("test_resnet", num_classes=0))


def test_rounded_weights_are_what_is_stored() -> None:
    network = tiny().eval()
    halved(network)
    with torch.no_grad():
        expected = network(TILES)
    state = safetensors.torch.load(weights_of(network, half=True))
    assert {values.dtype for values in state.values()} == {torch.float16, torch.int64}
    other = tiny().eval()
    other.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(other(TILES), expected)


def test_whole_weights_are_stored_as_they_are() -> None:
    network = tiny()
    state = safetensors.torch.load(weights_of(network, half=False))
    assert all(torch.equal(state[name], values) for name, values in network.state_dict().items())


def test_weights_too_large_for_half_are_told() -> None:
    network = tiny()
    with torch.no_grad():
        last_layer(network).bias[1] = 70000
    with pytest.raises(BadInput, match=r"fc.bias holds weights beyond 65504.*network.half = false"):
        halved(network)
