"""Trained weights made ready to ship: rounded to half precision, calibrated, written without pickle."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import safetensors.torch
import torch
from torch import nn

from classifiers.torch_layers import innermost
from tiling.errors import BadInput


def last_layer(network: nn.Module) -> nn.Linear | nn.Conv2d:
    """The layer whose answers are a gate's logits. Raises BadInput where there is not exactly one."""
    inner = innermost(network)
    get: Any = getattr(inner, "get_classifier", None)
    found = get() if get else None
    if not isinstance(found, nn.Linear | nn.Conv2d):
        raise BadInput(
            f"{type(inner).__name__} has no single last layer that a temperature could be folded into "
            f"({type(found).__name__}); choose another network.architecture"
        )
    return found


def undecided(network: nn.Module, learnt: Collection[nn.Parameter]) -> None:
    """Let a head that was not learnt before answer 0 to everything: timm's first guesses are sure, and wrong.

    Only above learnt layers: others would not learn from a head of zeros. learnt: as load_pretrained gives them.
    """
    layer, known = last_layer(network), {id(parameter) for parameter in learnt}
    if known and id(layer.weight) not in known:
        for parameter in layer.parameters(recurse=False):
            nn.init.zeros_(parameter)


def cooled(network: nn.Module, temperature: float) -> None:
    """Divide all logits by the temperature, in place: weight and bias of the last layer (Guo et al. 2017, eq. 9)."""
    layer = last_layer(network)
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            parameter.div_(temperature)


def halved(network: nn.Module) -> None:
    """Round all weights, in place, to those that float16 can write; they stay float32. Raises BadInput if one can not."""
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if values.is_floating_point():
                rounded = values.half().to(values.dtype)
                if not bool(rounded.isfinite().all()):
                    raise BadInput(f"{name} holds weights beyond 65504: train with network.half = false")
                values.copy_(rounded)


def weights_of(network: nn.Module, *, half: bool) -> bytes:
    """A safetensors file of them."""
    state = network.state_dict()
    return bytes(
        safetensors.torch.save(
            {
                name: (values.half() if half and values.is_floating_point() else values).contiguous()
                for name, values in state.items()
            }
        )
    )
