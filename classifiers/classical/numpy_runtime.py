"""The runtime of classical gates: numpy, and nothing that was needed to fit them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle import WEIGHTS, Bundle
from classifiers.classical.arrays import Arrays, Tile, Vector, read_arrays
from classifiers.classical.decide import coherent, decider, scaled
from classifiers.classical.describe import PROBE_PX, describe, probe
from classifiers.classical.trees import checked
from classifiers.runtime import Runtime
from tiling.errors import BadInput

ROUNDING = 1e-3
"""How far features of the probe may be from those in the bundle: another processor, not another algorithm."""


class ClassicalRuntime:
    """Features and a fitted classifier. Load it once per worker; its threads may share it."""

    name: str = "numpy"

    def __init__(self, bundle: Bundle, arrays: Arrays) -> None:
        """arrays: as train_classical leaves them. Raises BadInput when they do not fit the bundle."""
        told: dict[str, Any] = dict(bundle.hyperparameters)
        self._bundle, self._arrays = bundle, arrays
        self._features, self._parents = tuple(told["features"]), tuple(told.get("parents", ()))
        try:
            if told["classifier"] in {"tree", "forest"}:
                checked(arrays, len(arrays["scale.mean"]))
            self._decide = decider(told["classifier"], arrays, exclusive=bundle.activation == "softmax")
            self._temperature, self._told = float(arrays["temperature"]), arrays["probe"]
            found = self._tried()
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise BadInput(
                f"{bundle.path / WEIGHTS} does not fit a {told['classifier']} on {', '.join(self._features)} with "
                f"{len(bundle.classes)} classes and {len(bundle.bands)} bands ({error}): train or fetch the bundle again."
            ) from error
        self._require_same(found)

    def infer(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Runtime. Tile by tile: the bits of an answer do not depend on the other tiles of a call."""
        return np.stack([self._answer(tile) for tile in pixels]).astype(np.float32)

    def _answer(self, tile: Tile) -> Vector:
        """(classes,). NaN where there is NaN or infinity in the tile: neither has a histogram."""
        if not np.isfinite(tile).all():
            return np.full(len(self._bundle.classes), np.nan)
        found = scaled(describe(tile, self._features, self._arrays), self._arrays)
        logits = self._decide(found) / self._temperature
        return coherent(logits, self._parents) if self._parents else logits

    def _tried(self) -> Vector:
        """Features of the probe. Raises now, and not at each tile, where arrays are of other shapes."""
        bands = len(self._bundle.bands)
        answer = self._answer(np.zeros((bands, PROBE_PX, PROBE_PX), np.float32))
        if answer.shape != (len(self._bundle.classes),):
            raise ValueError(f"it answers with {answer.shape}")
        return probe(bands, self._features, self._arrays)

    def _require_same(self, found: Vector) -> None:
        told = self._told
        if found.shape != told.shape or not np.allclose(found, told, rtol=ROUNDING, atol=ROUNDING):
            raise BadInput(
                f"{self._bundle.path}: this version of tilegate computes {', '.join(self._features)} otherwise than the "
                "one that trained the bundle, so its answers would mean nothing. Train it again."
            )


def open_classical(bundle: Bundle) -> ClassicalRuntime:
    """The bundle's classifier. Raises BadInput when it was changed, or is a network."""
    if not bundle.classical:
        raise BadInput(f"{bundle.name} ({bundle.architecture}) is a network; numpy runs classical gates only")
    return ClassicalRuntime(bundle, read_arrays(bundle))


_: type[Runtime] = ClassicalRuntime
