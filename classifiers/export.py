"""A bundle's network exported to OpenVINO IR, compared with torch on held-out tiles; what was measured goes with it."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from classifiers.bundle import CARD, Bundle, Graph, read_weights, write_bundle
from classifiers.bundle_contract import Drift, ExportName, RuntimeName
from classifiers.drift import measure_drift
from classifiers.drift_card import with_runtimes
from classifiers.export_int8 import int8_holds, quantised
from classifiers.machine import this_machine
from classifiers.openvino_quiet import ov
from classifiers.openvino_runtime import OpenVinoRuntime
from classifiers.runtime import Runtime
from classifiers.torch_runtime import TorchRuntime, load_weights, only_side_px
from tiling.errors import BadInput
from tiling.stack import TileStack

log = logging.getLogger("tilegate")

MAX_F32_DRIFT = 1e-3
"""Of a probability: more is no rounding but another network."""


def export_bundle(
    bundle: Bundle, network: nn.Module, tiles: Sequence[TileStack], *, calibration: Sequence[TileStack] = ()
) -> Bundle:
    """Export the network, measure its drift, write both into the bundle's folder; the bundle as it is then.

    network: as build_gate or build_segmenter give it; it gets the bundle's weights here. tiles: held out, what is
    judged by. calibration: other tiles; with them int8 is tried, and kept if it holds. What an earlier export left
    is replaced. Raises BadInput when the exported network does not answer as torch does.
    """
    network = load_weights(network, bundle)
    model, reference = to_openvino(network, bundle), TorchRuntime(network, bundle, device="cpu")
    whole, drift = _smallest(model, bundle, tiles, reference)
    graphs: dict[ExportName, Graph] = {"model": whole}
    if calibration:
        graph = graph_of(quantised(model, bundle, calibration))
        int8 = OpenVinoRuntime(graph, bundle, "openvino-int8")
        drift |= measure_drift(bundle, tiles, reference, {"openvino-int8": int8})
        if int8_holds(bundle, drift["openvino-int8"]):
            graphs["model-int8"] = graph
    for name, found in drift.items():
        refused = name == "openvino-int8" and "model-int8" not in graphs
        log.info("%s: %s against torch: %s%s", bundle.name, name, found.text, " (REFUSED)" if refused else "")
    return _write(replace(bundle, drift=drift), graphs)


def to_openvino(network: nn.Module, bundle: Bundle) -> ov.Model:
    """The network as OpenVINO's, for any number of tiles, and any side where it takes any.

    The frontend is called directly: ov.convert_model does the same, but reports to Intel each time.
    Traced on a side that is not the tiles', so that a network into which the side got baked is found out.
    """
    from openvino.frontend import FrontEndManager  # not before openvino_quiet
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    side = only_side_px(network)
    height, width = side or (bundle.input_px + 64, bundle.input_px + 64)
    example = torch.zeros(2, len(bundle.bands), height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and says so at every layer that looks at a shape
        decoder = TorchScriptPythonDecoder(network, example_input=(example,), trace_kwargs={"check_trace": False})
        frontend = FrontEndManager().load_by_framework("pytorch")
        model: ov.Model = frontend.convert(frontend.load(decoder))
    model.inputs[0].get_node().set_partial_shape(ov.PartialShape([-1, len(bundle.bands), *(side or (-1, -1))]))
    model.validate_nodes_and_infer_types()
    return model


def graph_of(model: ov.Model, *, half: bool = False) -> Graph:
    """Its files. half: weights as float16."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path, compress_to_fp16=half)
        return Graph(xml=path.read_bytes(), weights=path.with_suffix(".bin").read_bytes())


def _smallest(
    model: ov.Model, bundle: Bundle, tiles: Sequence[TileStack], reference: Runtime
) -> tuple[Graph, dict[RuntimeName, Drift]]:
    """The files and their drift: in float16 where the weights are anyway and the answers stay those of torch."""
    if _all_half(read_weights(bundle)):
        half = graph_of(model, half=True)
        try:
            return half, _measured(bundle, half, tiles, reference)
        except BadInput:
            log.info("%s: its export needs weights in float32 to answer as torch does", bundle.name)
    whole = graph_of(model)
    return whole, _measured(bundle, whole, tiles, reference)


def _all_half(weights: bytes) -> bool:
    """Whether every float of a safetensors file is float16."""
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    kinds = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    return "F16" in kinds and not kinds & {"F32", "F64", "BF16"}


def _measured(bundle: Bundle, graph: Graph, tiles: Sequence[TileStack], reference: Runtime) -> dict[RuntimeName, Drift]:
    """Drift of f32, and of bf16 where this CPU has it. Raises BadInput when f32 is off."""
    if not any(len(stack) for stack in tiles):
        raise BadInput(f"{bundle.name}: an export is compared with torch on held-out tiles, none were given")
    others: dict[RuntimeName, Runtime] = {"openvino-f32": OpenVinoRuntime(graph, bundle, "openvino-f32")}
    if this_machine().bf16:
        others["openvino-bf16"] = OpenVinoRuntime(graph, bundle, "openvino-bf16")
    drift = measure_drift(bundle, tiles, reference, others)
    if drift["openvino-f32"].max_probability > MAX_F32_DRIFT:
        raise BadInput(
            f"{bundle.name}: exported, it does not answer as torch does ({drift['openvino-f32'].text}; at most "
            f"{MAX_F32_DRIFT:g} is rounding). OpenVINO {ov.get_version()} may not know a layer of {bundle.architecture}; "
            "the bundle is left as it was and runs on torch."
        )
    return drift


def _write(bundle: Bundle, graphs: dict[ExportName, Graph]) -> Bundle:
    card = (bundle.path / CARD).read_text(encoding="utf-8")
    hashed = replace(bundle, exports={name: graph.hashes for name, graph in graphs.items()})
    return write_bundle(bundle, bundle.path, read_weights(bundle), with_runtimes(card, hashed), graphs)
