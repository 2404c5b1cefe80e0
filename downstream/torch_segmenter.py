"""Segmenters in torch: a U-Net of segmentation-models-pytorch, from a bundle."""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
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
    return Zoomed(network, zoom, dense=True) if zoom > 1 else network
