"""The forest bundles exported for runtimes without torch, and measured on the scenes that training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from classifiers.bundle import Bundle, load_bundle
from classifiers.export import export_bundle
from classifiers.torch_gate import build_gate
from downstream.forest_scenes import Scene, tiles_of
from downstream.torch_segmenter import build_segmenter


def export_gate(folder: Path, held_out: Sequence[Scene]) -> Bundle:
    """The gate in f32 and bf16; it is too small for int8 to gain anything."""
    bundle = load_bundle(folder, folder)
    return export_bundle(bundle, build_gate(bundle), [tiles_of(scene)[1] for scene in held_out])


def export_segmenter(folder: Path, train: Sequence[Scene], held_out: Sequence[Scene]) -> Bundle:
    """The segmenter, with int8 if it holds: calibrated on training tiles, judged on held-out ones."""
    bundle = load_bundle(folder, folder)
    tiles, calibration = ([tiles_of(scene)[0] for scene in scenes] for scenes in (held_out, train))
    return export_bundle(bundle, build_segmenter(bundle), tiles, calibration=calibration)
