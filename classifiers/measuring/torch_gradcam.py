"""Grad-CAM (Selvaraju et al. 2017): where the last feature map of a network speaks for a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from classifiers.answers import require_side, require_task
from classifiers.bundle import Bundle
from classifiers.preprocess import normalise
from classifiers.torch_gate import build_gate
from classifiers.torch_layers import Turned, Wrapped
from classifiers.torch_runtime import load_weights, only_side_px
from tiling.errors import BadInput
from tiling.stack import TileStack

BATCH_TILES = 16


class Recorder(nn.Module):
    """A timm network that keeps its last feature map, from which alone gradients are taken."""

    def __init__(self, network: nn.Module) -> None:
        """network: any of timm's."""
        super().__init__()
        self.network = network
        self.features = torch.empty(0)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """As the network's."""
        network: Any = self.network
        with torch.no_grad():
            features: torch.Tensor = network.forward_features(pixels)
        self.features = features.detach().requires_grad_()
        logits: torch.Tensor = network.forward_head(self.features)
        return logits


def grad_cam(bundle: Bundle, stack: TileStack, columns: int | Sequence[int]) -> NDArray[np.float32]:
    """(n, h, w) in [0, 1]: how much each place of a tile speaks for a class, against the place that does most.

    columns: positions of classes, one for all tiles or one per tile. All 0 where nothing speaks for it, and where
    pixels are not valid. Raises BadInput for networks whose last features are no map (transformers): take occlusion.
    """
    require_task(bundle, "classification")
    network, recorder = recorded(load_weights(build_gate(bundle), bundle))
    require_side(bundle, only_side_px(recorder.network), stack.pixels.shape[2:])
    chosen = torch.tensor([columns] * len(stack) if isinstance(columns, int) else list(columns))
    pixels, valid = torch.from_numpy(normalise(stack, bundle)), torch.from_numpy(stack.valid)
    parts = (slice(at, at + BATCH_TILES) for at in range(0, len(stack), BATCH_TILES))
    maps = [class_map(network, recorder, pixels[part], chosen[part]) * valid[part] for part in parts]
    found = torch.cat([torch.zeros((0, *stack.valid.shape[1:])), *maps])
    peak = found.amax(dim=(1, 2), keepdim=True)
    return np.asarray(torch.where(peak > 0, found / peak.clamp_min(1e-30), torch.zeros_like(found)).numpy())


def recorded(network: nn.Module) -> tuple[nn.Module, Recorder]:
    """The network with a recorder in place of timm's part, inside of what it is wrapped in; and the recorder."""
    if isinstance(network, Turned):  # the map is of the tile as it lies
        return recorded(network.network)
    if isinstance(network, Wrapped):
        network.network, recorder = recorded(network.network)
        return network, recorder
    recorder = Recorder(network)
    return recorder.eval(), recorder


def class_map(network: nn.Module, recorder: Recorder, pixels: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(n, h, w), at least 0, of normalised pixels (n, band, h, w). columns: (n,) classes.

    Selvaraju et al. 2017, eq. 1 and 2: channels weighed by the mean of their gradient, then what is positive.
    """
    logits = network(pixels)
    features = recorder.features
    _require_map(recorder.network, features)
    wanted = logits.gather(1, columns[:, None]).sum()
    (slope,) = torch.autograd.grad(wanted, features)
    weighed = functional.relu((slope.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1, keepdim=True)).detach()
    size = (int(pixels.shape[2]), int(pixels.shape[3]))
    return functional.interpolate(weighed, size=size, mode="bilinear", align_corners=False)[:, 0]


def _require_map(network: nn.Module, features: torch.Tensor) -> None:
    """Raise BadInput unless the features are (n, channels, h, w)."""
    if features.ndim != 4 or features.shape[1] != getattr(network, "num_features", None):
        raise BadInput(
            f"{type(network).__name__} ends in features of shape {tuple(features.shape)}, which is no map of channels: "
            "Grad-CAM is not defined for it. Explain it by occlusion."
        )
