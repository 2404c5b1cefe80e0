"""Gates in torch: any timm classifier, from a bundle."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from classifiers.answers import require_task
from classifiers.bundle import Bundle
from classifiers.torch_layers import Coherent, Turned, Zoomed
from classifiers.torch_runtime import TorchRuntime, load_weights, use_threads
from tiling.errors import BadInput


def torch_gate(
    bundle: Bundle, *, device: str | None = None, threads: int | None = None, batch_tiles: int | None = None
) -> TorchRuntime:
    """The bundle's network with its weights. threads: see use_threads; device and batch_tiles: see TorchRuntime."""
    require_task(bundle, "classification")
    use_threads(threads)
    return TorchRuntime(load_weights(build_gate(bundle), bundle), bundle, device=device, batch_tiles=batch_tiles)


def build_gate(bundle: Bundle) -> nn.Module:
    """The bundle's network with random weights, without the network's pretrained ones: nothing is downloaded."""
    if not timm.is_model(bundle.architecture):
        raise BadInput(
            f"{bundle.path}: timm {timm.__version__} has no network named {bundle.architecture!r}; "
            "timm.list_models() lists those it has"
        )
    arguments: dict[str, Any] = dict(bundle.hyperparameters, in_chans=len(bundle.bands), num_classes=bundle.channels)
    zoom, views, parents = arguments.pop("zoom", 1), arguments.pop("views", 1), arguments.pop("parents", ())
    network: nn.Module = timm.create_model(bundle.architecture, pretrained=False, **arguments)
    if zoom > 1:
        network = Zoomed(network, zoom)
    if views > 1:
        network = Turned(network, views)
    return Coherent(network, parents) if parents else network
