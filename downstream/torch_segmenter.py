"""The segmenter as a network: a U-Net of segmentation-models-pytorch, from a bundle."""

from __future__ import annotations

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.bundle import Bundle
from classifiers.preprocess import normalise
from classifiers.torch_runtime import (
    load_weights,
    pick_device,
    require_finite,
    require_shape,
    require_task,
    use_threads,
)
from downstream.protocol import Segmenter
from tiling.errors import BadInput
from tiling.stack import MaskStack, TileStack

_MULTIPLE_PX = 32


class TorchSegmenter:
    """A Segmenter that labels with a U-Net. Load it once per worker."""

    def __init__(
        self, bundle: Bundle, *, device: str | None = None, threads: int | None = None, batch_tiles: int = 4
    ) -> None:
        """device: None = CUDA where there is one; threads: see use_threads; batch_tiles: tiles per forward pass."""
        require_task(bundle, "segmentation")
        use_threads(threads)
        self.model, self.bands, self.classes = bundle.model, bundle.bands, bundle.classes
        self._bundle, self._batch, self._device = bundle, batch_tiles, pick_device(device)
        self._network = load_weights(build_segmenter(bundle), bundle, self._device)

    def segment(self, stack: TileStack) -> MaskStack:
        """See Segmenter. A pixel of no class above one half is background."""
        pixels = normalise(stack, self._bundle)
        starts = range(0, len(stack), self._batch)
        labels = np.concatenate([self._labels(stack, pixels, slice(i, i + self._batch)) for i in starts])
        return MaskStack(tiles=stack.tiles, labels=np.where(stack.valid, labels, np.uint8(0)), classes=self.classes)

    def _labels(self, stack: TileStack, pixels: NDArray[np.float32], part: slice) -> NDArray[np.uint8]:
        """(n, h, w) uint8 of one part of the stack."""
        logits = self._logits(pixels[part])
        require_finite(logits, stack.tiles[part], self.model)
        if self._bundle.activation == "softmax":
            return np.asarray(logits.argmax(axis=1), np.uint8)
        best = logits.argmax(axis=1) + 1
        return np.asarray(np.where(logits.max(axis=1) > 0, best, 0), np.uint8)  # sigmoid(0) = one half

    def _logits(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, channels, h, w) for (n, band, h, w); edge pixels are repeated to the side the network needs."""
        height, width = pixels.shape[2:]
        padded = np.pad(pixels, ((0, 0), (0, 0), (0, -height % _MULTIPLE_PX), (0, -width % _MULTIPLE_PX)), mode="edge")
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(padded).to(self._device))[:, :, :height, :width]
        require_shape(logits.shape, (len(pixels), self._bundle.channels, height, width), self._bundle)
        return np.asarray(logits.float().cpu().numpy())


def build_segmenter(bundle: Bundle) -> nn.Module:
    """The bundle's network with random weights, without its encoder's pretrained ones: nothing is downloaded."""
    if bundle.architecture != "Unet":
        raise BadInput(f"{bundle.path}: the architecture is {bundle.architecture!r}; only Unet is supported")
    try:
        network: nn.Module = smp.Unet(
            encoder_weights=None, in_channels=len(bundle.bands), classes=bundle.channels, **bundle.hyperparameters
        )
    except (KeyError, RuntimeError) as error:
        raise BadInput(
            f"{bundle.path}: segmentation-models-pytorch {smp.__version__} can not build a Unet of "
            f"{dict(bundle.hyperparameters)}: {error}"
        ) from error
    return network


_: type[Segmenter] = TorchSegmenter
