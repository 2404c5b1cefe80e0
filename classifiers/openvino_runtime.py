"""The runtime of CPUs: OpenVINO on an exported network. No torch, a few hundred MB less and seconds sooner."""

from __future__ import annotations

import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.answers import require_shape, require_side
from classifiers.bundle import Bundle, Graph, read_export
from classifiers.bundle_contract import RuntimeName
from classifiers.machine import own_cores
from classifiers.openvino_quiet import ov
from classifiers.preprocess import MULTIPLE_PX
from classifiers.runtime import Runtime
from tiling.errors import BadInput

OpenVinoName = Literal["openvino-bf16", "openvino-f32", "openvino-int8"]
Shape = tuple[int, ...]

PRECISION = {"openvino-bf16": "bf16", "openvino-f32": "f32", "openvino-int8": "f32"}
"""Of all that is not quantised: one answer of int8 on CPUs with and without bf16."""
BATCH_TILES = {"classification": 16, "segmentation": 1}
"""Tiles per inference: a U-Net's are best alone (cache), a gate's are too small to be."""
_IR = (b"<?xml", b"<net")
STARVED = ("bad_alloc", "Cannot allocate memory", "Resource temporarily unavailable", "could not be allocated")
"""What OpenVINO says where the machine is to blame, and not the network."""


class OpenVinoRuntime:
    """An exported network, compiled once per size of tiles for all threads.

    One stream per core and one thread per stream: as many Python threads as there are cores infer at once, and the
    bits of an answer depend neither on their number nor on the other tiles of a call (the last part of a call is
    padded with zeros to a whole batch).
    """

    def __init__(self, graph: Graph, bundle: Bundle, name: OpenVinoName) -> None:
        """graph: of the bundle's network; of its quantised twin for openvino-int8. Raises BadInput."""
        self.name: str = name
        self._bundle, self._batch = bundle, BATCH_TILES[bundle.task]
        self._core = ov.Core()
        self._model = _read(self._core, graph, bundle)
        self._try()
        self._compiled: dict[Shape, ov.CompiledModel] = {}
        self._compiling = threading.Lock()
        self._mine = threading.local()

    def infer(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Runtime."""
        request = self._request((self._batch, *pixels.shape[1:]))
        starts = range(0, len(pixels), self._batch)
        parts = [self._forward(request, pixels[start : start + self._batch]) for start in starts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _forward(self, request: ov.InferRequest, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """At most one batch. The request's memory is lent to the answer until the next call, so it is copied."""
        count = len(pixels)
        if count < self._batch:
            pixels = np.concatenate([pixels, np.zeros((self._batch - count, *pixels.shape[1:]), np.float32)])
        answer = request.infer([pixels], share_inputs=True, share_outputs=True)[0]
        return np.array(answer[:count], np.float32)

    def _request(self, shape: Shape) -> ov.InferRequest:
        """One per thread and shape: a request runs one inference at a time."""
        requests: dict[Shape, Any] = self._mine.__dict__.setdefault("requests", {})
        if shape not in requests:
            with self._compiling:
                if shape not in self._compiled:
                    self._compiled[shape] = self._compile(shape)
            requests[shape] = self._compiled[shape].create_infer_request()
        return requests[shape]

    def _compile(self, shape: Shape) -> ov.CompiledModel:
        model, cores = self._reshaped(shape), own_cores()
        options = {
            "NUM_STREAMS": str(cores),
            "INFERENCE_NUM_THREADS": str(cores),
            "ENABLE_CPU_PINNING": "NO",
            "INFERENCE_PRECISION_HINT": PRECISION[self.name],
        }
        try:
            return self._core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            if any(sign in str(error) for sign in STARVED):
                raise MemoryError(f"{self._bundle.name} for tiles {shape}: no memory or threads left here") from error
            raise BadInput(_too_odd(self._bundle, shape)) from error

    def _reshaped(self, shape: Shape) -> ov.Model:
        wanted = self._model.inputs[0].partial_shape
        side = tuple(d.get_length() for d in list(wanted)[2:]) if wanted[2].is_static else None
        require_side(self._bundle, side, shape[2:])
        model = self._model.clone()
        try:
            model.reshape(ov.PartialShape(list(shape)))
        except RuntimeError as error:
            raise BadInput(_too_odd(self._bundle, shape)) from error
        return model

    def _try(self) -> None:
        """Refuse a graph of other shapes now, when it is opened, and not at each tile."""
        dense = self._bundle.task == "segmentation"
        side = -(-self._bundle.input_px // MULTIPLE_PX) * MULTIPLE_PX if dense else self._bundle.input_px
        model = self._reshaped((self._batch, len(self._bundle.bands), side, side))
        found = [d.get_length() if d.is_static else -1 for d in model.outputs[0].partial_shape]
        require_shape(found, (self._batch, self._bundle.channels, side, side)[: 4 if dense else 2], self._bundle)


def open_openvino(bundle: Bundle, name: RuntimeName) -> OpenVinoRuntime:
    """The bundle's exported network on the runtime of that name. Raises BadInput when it was changed."""
    assert name != "torch" and name != "numpy"  # noqa: PT018, PLR1714 - mypy narrows these
    return OpenVinoRuntime(read_export(bundle, "model-int8" if name == "openvino-int8" else "model"), bundle, name)


def finds_cpu() -> bool:
    """Whether OpenVINO finds a CPU it can use."""
    return "CPU" in ov.Core().available_devices


def _read(core: ov.Core, graph: Graph, bundle: Bundle) -> ov.Model:
    """The graph as OpenVINO understands it; it must take and give what the bundle promises."""
    if not graph.xml.startswith(_IR):  # OpenVINO would take other formats, some of which name further files
        raise BadInput(f"{bundle.path}: the exported network is no XML. Export the bundle again.")
    try:
        model = core.read_model(graph.xml, graph.weights)
        ports = (*model.inputs, *model.outputs)
        takes, gives = [list(port.partial_shape) for port in ports if port.element_type == ov.Type.f32]
    except (RuntimeError, ValueError) as error:
        raise BadInput(_refused(bundle, error)) from error
    if len(takes) != 4 or len(gives) != (2 if bundle.task == "classification" else 4) or takes[1] != len(bundle.bands):
        raise BadInput(
            f"{bundle.path}: the exported network takes {takes} and gives {gives}, which is no {bundle.task} of "
            f"{len(bundle.bands)} bands. Export the bundle again."
        )
    return model


def _refused(bundle: Bundle, error: Exception) -> str:
    first = " ".join(str(error).split())
    return (
        f"{bundle.path}: OpenVINO {ov.get_version()} refuses the exported network: {first:.400}. "
        "Export the bundle again, or ask for the runtime torch."
    )


def _too_odd(bundle: Bundle, shape: Shape) -> str:
    """Without OpenVINO's own words, a page of C++: they are in the error it is raised from."""
    side = " x ".join(map(str, shape[2:]))
    return (
        f"{bundle.path}: OpenVINO {ov.get_version()} refuses the exported network for tiles of {side} px with "
        f"{shape[1]} bands: they are most likely too small for it. It was trained on tiles of {bundle.input_px} px: cut "
        "such tiles. A run can use torch instead (gate.runtime, segment.runtime), which may take them. If tiles of "
        f"{bundle.input_px} px are refused, too, export the bundle again."
    )


_: type[Runtime] = OpenVinoRuntime
