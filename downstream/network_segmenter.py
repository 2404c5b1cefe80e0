"""The segmenter as a network: a bundle's, on any runtime."""

from __future__ import annotations

from classifiers.answers import labels, require_finite, require_shape, require_task
from classifiers.bundle import Bundle
from classifiers.bundle_contract import RuntimeName
from classifiers.preprocess import normalise, padded
from classifiers.runtime import Runtime
from downstream.protocol import Segmenter
from tiling.stack import MaskStack, TileStack


class NetworkSegmenter:
    """A Segmenter that labels with a network. Load it once per worker; its threads may share it."""

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        """runtime: with the bundle's network."""
        require_task(bundle, "segmentation")
        self.model, self.bands, self.classes = bundle.model, bundle.bands, bundle.classes
        self._bundle, self._runtime = bundle, runtime

    def segment(self, stack: TileStack) -> MaskStack:
        """See Segmenter. A pixel of no class above one half is background."""
        pixels = padded(normalise(stack, self._bundle))
        logits = self._runtime.infer(pixels)
        require_shape(logits.shape, (len(stack), self._bundle.channels, *pixels.shape[2:]), self._bundle)
        height, width = stack.valid.shape[1:]
        logits = logits[:, :, :height, :width]
        require_finite(logits, stack.tiles, self.model)
        found = labels(logits, self._bundle.activation) * stack.valid
        return MaskStack(tiles=stack.tiles, labels=found, classes=self.classes)


def open_network_segmenter(bundle: Bundle, name: RuntimeName) -> NetworkSegmenter:
    """The bundle's network on the runtime of that name. Imports torch for torch only."""
    require_task(bundle, "segmentation")
    if name == "torch":
        from downstream.torch_segmenter import torch_segmenter

        return NetworkSegmenter(bundle, torch_segmenter(bundle))
    from classifiers.openvino_runtime import open_openvino

    return NetworkSegmenter(bundle, open_openvino(bundle, name))


_: type[Segmenter] = NetworkSegmenter
