"""The gate as a network: any timm classifier, from a bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.bundle import Bundle
from classifiers.preprocess import normalise
from classifiers.protocol import Classifier
from classifiers.torch_runtime import (
    load_weights,
    pick_device,
    require_finite,
    require_shape,
    require_task,
    use_threads,
)
from tiling.errors import BadInput
from tiling.stack import TileStack


class TorchGate:
    """A Classifier that scores with a timm network. Load it once per worker."""

    def __init__(
        self, bundle: Bundle, *, device: str | None = None, threads: int | None = None, batch_tiles: int = 16
    ) -> None:
        """device: None = CUDA where there is one; threads: see use_threads; batch_tiles: tiles per forward pass."""
        require_task(bundle, "classification")
        use_threads(threads)
        self.model, self.bands, self.classes = bundle.model, bundle.bands, bundle.classes
        self._bundle, self._batch, self._device = bundle, batch_tiles, pick_device(device)
        self._network = load_weights(build_gate(bundle), bundle, self._device)

    def score(self, stack: TileStack) -> NDArray[np.float32]:
        """See Classifier."""
        self._require_side(stack)
        pixels = normalise(stack, self._bundle)
        parts = [pixels[start : start + self._batch] for start in range(0, len(stack), self._batch)]
        scores = np.concatenate([self._forward(part) for part in parts])
        require_finite(scores, stack.tiles, self.model)
        return scores

    def _forward(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, classes) in [0, 1] for (n, band, h, w)."""
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(pixels).to(self._device))
            require_shape(logits.shape, (len(pixels), len(self.classes)), self._bundle)
            scores = logits.sigmoid() if self._bundle.activation == "sigmoid" else logits.softmax(dim=1)
        return np.asarray(scores.float().cpu().numpy())

    def _require_side(self, stack: TileStack) -> None:
        """Transformers know one side only and would fail, or need resizing; convolutions take any."""
        patches = getattr(self._network, "patch_embed", None)
        needed = getattr(patches, "img_size", None) if getattr(patches, "strict_img_size", False) else None
        if needed and tuple(needed) != stack.valid.shape[1:]:
            raise BadInput(
                f"{self.model.name} ({self._bundle.architecture}) takes tiles of {needed[0]} x {needed[1]} px only, "
                f"these are {stack.valid.shape[1]} x {stack.valid.shape[2]} px. Set the recipe's tile size so that a "
                "tile has that side on the gate's plane; nothing is resized silently."
            )


def build_gate(bundle: Bundle) -> nn.Module:
    """The bundle's network with random weights, without the network's pretrained ones: nothing is downloaded."""
    if not timm.is_model(bundle.architecture):
        raise BadInput(
            f"{bundle.path}: timm {timm.__version__} has no network named {bundle.architecture!r}; "
            "timm.list_models() lists those it has"
        )
    arguments: dict[str, Any] = dict(bundle.hyperparameters, in_chans=len(bundle.bands), num_classes=bundle.channels)
    return timm.create_model(bundle.architecture, pretrained=False, **arguments)


_: type[Classifier] = TorchGate
