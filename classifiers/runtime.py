"""The seam of inference: one method, its fake, and the pure choice among the runtimes there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle_contract import Bundle, Drift, RuntimeName, Wanted
from tiling.errors import BadInput

MAX_AREA_DRIFT = 0.005
"""bf16, segmenters: auto falls back to f32 when areas differ by more than this share from torch."""
MAX_FLIPPED = 0.005
"""bf16, gates: largest share of held-out decisions that may differ from torch."""
MAX_PROBABILITY_DRIFT = 0.005
"""bf16, gates that bring no threshold, so that no decision is known: largest change of a score."""


class Runtime(Protocol):
    """Runs a network. May be called from several threads at once."""

    name: str
    """A RuntimeName, as it stands in the plan of a run."""

    def infer(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, band, h, w) -> what the network answers before its activation: (n, channels) or (n, channels, h, w)."""


class FakeRuntime:
    """A gate's network that answers with the mean of each tile, a segmenter's that answers with its first band."""

    name = "fake"

    def __init__(self, *, dense: bool) -> None:
        """dense: one answer per pixel instead of one per tile."""
        self._dense = dense

    def infer(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Runtime. One channel."""
        return pixels[:, :1] if self._dense else pixels.mean(axis=(1, 2, 3), keepdims=True)[:, :, 0, 0]


_: type[Runtime] = FakeRuntime


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of a machine decides which runtime is best."""

    bf16: bool
    """Its CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16)."""
    cuda: bool
    """It has a GPU that torch can use."""


def choose_runtime(bundle: Bundle, wanted: Wanted, machine: Machine) -> RuntimeName:
    """The runtime that was asked for, or, for auto, the fastest that is known to answer as torch does.

    A classical gate has numpy and nothing else. Raises BadInput for one that the bundle or the machine has not. Whoever
    asks for openvino-bf16 gets it, whatever its drift; int8 is for those who ask.
    """
    if wanted == "auto":
        return _best(bundle, machine)
    for reason in _hindrances(bundle, wanted, machine):
        others = [name for name in get_args(RuntimeName) if not any(_hindrances(bundle, name, machine))]
        raise BadInput(
            f"runtime {wanted} can not be had for {bundle.name}: {reason}. To be had here: {', '.join(others)}."
        )
    return wanted


def _best(bundle: Bundle, machine: Machine) -> RuntimeName:
    if bundle.classical:
        return "numpy"
    if machine.cuda or "model" not in bundle.exports:
        return "torch"
    return "openvino-bf16" if machine.bf16 and not bf16_doubt(bundle) else "openvino-f32"


def _hindrances(bundle: Bundle, wanted: RuntimeName, machine: Machine) -> Iterator[str]:
    """Why a runtime can not be had, most telling first; nothing when it can."""
    if bundle.classical and wanted != "numpy":
        yield "it is a classical gate, there is no network in it"
    if wanted == "numpy" and not bundle.classical:
        yield "numpy runs classical gates, and this is a network"
    if bundle.classical or wanted in {"torch", "numpy"}:
        return
    if wanted == "openvino-int8" and "model-int8" not in bundle.exports:
        refused = bundle.drift.get("openvino-int8")
        made = (
            "it brings no model-int8.xml; classifiers.export.export_bundle makes one if it is given calibration tiles"
        )
        yield f"int8 was tried when it was made and refused ({refused.text})" if refused else made
    if wanted != "openvino-int8" and "model" not in bundle.exports:
        yield "it brings no model.xml; classifiers.export.export_bundle makes one"
    if wanted == "openvino-bf16" and not machine.bf16:
        yield "this CPU has neither AMX nor AVX512-BF16"


def bf16_doubt(bundle: Bundle) -> str:
    """Why auto does not trust bf16 with this bundle; empty when it does."""
    drift = bundle.drift.get("openvino-bf16")
    if drift is None:
        return "its bf16 drift was not measured"
    if bundle.task == "segmentation" and drift.area is None:
        return "its bf16 drift was measured on tiles that hold none of its classes"
    return "" if within_limits(bundle, drift) else f"its bf16 drift is too large ({drift.text})"


def within_limits(bundle: Bundle, drift: Drift) -> bool:
    """Whether bf16 gives areas, or decisions, close enough to torch's."""
    if bundle.task == "segmentation":
        return drift.area is not None and abs(drift.area) <= MAX_AREA_DRIFT
    if drift.flipped is None:
        return drift.max_probability <= MAX_PROBABILITY_DRIFT
    return drift.flipped <= MAX_FLIPPED
