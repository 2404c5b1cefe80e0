"""Inference against the bare compiled model, in as many threads as there are cores."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_models import TILE_PX
from bench_timing import Case, Stage
from numpy.typing import NDArray


def infer(arguments: argparse.Namespace) -> Stage:
    """The segmenter of a run against the bare compiled model, in as many threads as there are streams."""
    from flows.models import open_segmenter

    segmenter = open_segmenter(str(arguments.unet), None, "auto")
    stack = model_stack(arguments.image, arguments.side, TILE_PX)
    one = [stack.pick([i], [0, 1, 2]) for i in range(len(stack))]
    bare = bare_model(arguments.unet, TILE_PX, 1)
    cases = bare(stack, runtime_of(segmenter)) | {"tilegate": lambda: in_threads(segmenter.segment, one)}
    what = f"Inference: U-Net, {len(stack)} tiles of {TILE_PX} px, {runtime_of(segmenter)}, {cores()} threads."
    return what, "tiles", len(stack), cases


def infer_gate(arguments: argparse.Namespace) -> Stage:
    """The gate of a run against the bare compiled model."""
    from bench_models import GATE_FACTOR

    from flows.models import open_gate

    gate, side = open_gate(str(arguments.gate), None, "auto"), TILE_PX // GATE_FACTOR
    stack = model_stack(arguments.image, 4 * arguments.side, side)
    parts = [stack.pick(range(i, min(i + 16, len(stack))), [0, 1, 2]) for i in range(0, len(stack), 16)]
    bare = bare_model(arguments.gate, side, 16)
    cases = bare(stack, runtime_of(gate)) | {"tilegate": lambda: in_threads(gate.score, parts)}
    what = f"Inference: gate, {len(stack)} tiles of {side} px, {runtime_of(gate)}, {cores()} threads."
    return what, "tiles", len(stack), cases


def model_stack(image: Path, side: int, tile_px: int) -> Any:
    """side x side tiles of dense tissue at the native plane, as a run would cut them."""
    from tiling.grid import TileGrid
    from tiling.info import native_plane
    from tiling.open import open_source
    from tiling.source import SourceSpec
    from tiling.stack import read_stack

    source = open_source(SourceSpec(uris=(str(image),)))
    grid = TileGrid(shape_px=source.info.shape_px, tile_px=tile_px)
    side = min(side, *grid.shape_tiles)
    tiles = [grid.tile(row, col) for row in range(side) for col in range(side)]
    stack = read_stack(source, tiles, native_plane(source.info))
    source.close()
    return stack


def bare_model(folder: Path, side: int, batch: int) -> Callable[[Any, str], dict[str, Case]]:
    """The exported network on OpenVINO without anything of tilegate: one request per thread, inputs made beforehand.

    The precision of the runtime that tilegate chose is the limit and comes first.
    """
    from classifiers.openvino_quiet import ov

    document, core = json.loads((folder / "bundle.json").read_text()), ov.Core()
    if not (folder / "model.xml").exists():
        return lambda _stack, _runtime: {}
    model = core.read_model(folder / "model.xml")
    model.reshape([batch, 3, side, side])
    scaling = document["mlm:input"][0]["value_scaling"]
    mean, std = (np.array([band[k] for band in scaling], np.float32)[:, None, None] for k in ("mean", "stddev"))

    def cases(stack: Any, runtime: str) -> dict[str, Case]:
        whole = len(stack) // batch * batch
        inputs = ((stack.pixels[:whole].astype(np.float32) - mean) / std).reshape(-1, batch, 3, side, side)
        found: dict[str, Case] = {}
        for precision in sorted(("bf16", "f32"), key=lambda name: not runtime.endswith(name)):
            options = {"NUM_STREAMS": str(cores()), "INFERENCE_NUM_THREADS": str(cores()), "ENABLE_CPU_PINNING": "NO"}
            compiled = core.compile_model(model, "CPU", options | {"INFERENCE_PRECISION_HINT": precision})
            found[f"bare OpenVINO {precision}"] = lambda c=compiled: infer_all(c, inputs)
        return found

    return cases


def infer_all(compiled: Any, inputs: NDArray[np.float32]) -> None:
    """All inputs, one request per thread."""
    parts = np.array_split(np.arange(len(inputs)), cores())

    def some(numbers: NDArray[np.int64]) -> None:
        request = compiled.create_infer_request()
        for number in numbers:
            request.infer([inputs[number]], share_inputs=True, share_outputs=True)

    in_threads(some, parts)


def in_threads(do: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """One thread per core."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(do, items))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def runtime_of(model: Any) -> str:
    """Its name."""
    return str(getattr(getattr(model, "_runtime", None), "name", "torch"))
