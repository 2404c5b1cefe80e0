"""The gate of a bundle, a network or not, on any runtime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classifiers.answers import probabilities, require_finite, require_shape, require_task
from classifiers.bundle import Bundle
from classifiers.bundle_contract import RuntimeName
from classifiers.preprocess import normalise
from classifiers.protocol import Classifier
from classifiers.runtime import Runtime
from tiling.stack import TileStack


class NetworkGate:
    """A Classifier that scores with a network. Load it once per worker; its threads may share it."""

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        """runtime: with the bundle's network."""
        require_task(bundle, "classification")
        self.model, self.bands, self.classes = bundle.model, bundle.bands, bundle.classes
        self._bundle, self._runtime = bundle, runtime

    def score(self, stack: TileStack) -> NDArray[np.float32]:
        """See Classifier."""
        logits = self._runtime.infer(normalise(stack, self._bundle))
        require_shape(logits.shape, (len(stack), len(self.classes)), self._bundle)
        require_finite(logits, stack.tiles, self.model)
        return probabilities(logits, self._bundle.activation)


def open_network_gate(bundle: Bundle, name: RuntimeName) -> NetworkGate:
    """The bundle's model on the runtime of that name. Imports torch for torch only."""
    require_task(bundle, "classification")
    if name == "torch":
        from classifiers.torch_gate import torch_gate

        return NetworkGate(bundle, torch_gate(bundle))
    if name == "numpy":
        from classifiers.classical.numpy_runtime import open_classical

        return NetworkGate(bundle, open_classical(bundle))
    from classifiers.openvino_runtime import open_openvino

    return NetworkGate(bundle, open_openvino(bundle, name))


_: type[Classifier] = NetworkGate
