"""Segmenters in torch: a U-Net of segmentation-models-pytorch, from a bundle."""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import nn

from classifiers.answers import require_task
from classifiers.bundle import Bundle
from classifiers.torch_layers import Zoomed
from classifiers.torch_runtime import TorchRuntime, load_weights, use_threads
from tiling.errors import BadInput


def torch_segmenter(
    bundle: Bundle, *, device: str | None = None, threads: int | None = None, batch_tiles: int | None = None
) -> TorchRuntime:
    """The bundle's network with its weights. threads: see use_threads; device and batch_tiles: see TorchRuntime."""
    require_task(bundle, "segmentation")
    use_threads(threads)
    return TorchRuntime(load_weights(build_segmenter(bundle), bundle), bundle, device=device, batch_tiles=batch_tiles)


def build_segmenter(bundle: Bundle) -> nn.Module:
    """The bundle's network with random weights, without its encoder's pretrained ones: nothing is downloaded."""
    if bundle.architecture != "Unet":
        raise BadInput(f"{bundle.path}: the architecture is {bundle.architecture!r}; only Unet is supported")
    arguments: dict[str, Any] = dict(bundle.hyperparameters, in_channels=len(bundle.bands), classes=bundle.channels)
    zoom = arguments.pop("zoom", 1)
    try:
        network: nn.Module = smp.Unet(encoder_weights=None, **arguments)
    except (KeyError, RuntimeError, ValueError) as error:
        raise BadInput(
            f"{bundle.path}: segmentation-models-pytorch {smp.__version__} can not build a Unet of "
            f"{dict(bundle.hyperparameters)}: {error}"
        ) from error
    network = pruned(network, len(bundle.bands))
    return Zoomed(network, zoom, dense=True) if zoom > 1 else network


def pruned(network: nn.Module, bands: int) -> nn.Module:
    """The network without the layers that change no answer: encoders keep, and run, those below the deepest level used."""
    answer: torch.Tensor = network.eval()(torch.zeros(1, bands, 64, 64))
    parameters = list(network.parameters())
    slopes = torch.autograd.grad(answer.sum(), parameters, allow_unused=True)
    idle = {parameter for parameter, slope in zip(parameters, slopes, strict=True) if slope is None}
    _drop(network, idle)
    return network.train()


def _drop(module: nn.Module, idle: set[nn.Parameter]) -> None:
    for name, child in module.named_children():
        own = list(child.parameters())
        if own and idle.issuperset(own):
            setattr(module, name, nn.Identity())
        elif not idle.isdisjoint(own):
            _drop(child, idle)
