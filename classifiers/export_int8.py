"""The exported network in 8 bit integers: NNCF's quantisation after training, made offline and taken only if it holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle import Bundle
from classifiers.bundle_contract import Drift
from classifiers.openvino_quiet import ov
from classifiers.preprocess import normalise, padded
from classifiers.runtime import within_limits
from tiling.errors import BadInput
from tiling.stack import TileStack

MIN_IOU, MAX_AREA = 0.98, 0.015
"""Segmenters: int8 is taken when its masks overlap torch's at least this much and areas differ by no more than this."""
MOST_TILES = 300
"""NNCF's own number of samples; more gain nothing."""


def int8_holds(bundle: Bundle, drift: Drift) -> bool:
    """Whether int8 is close enough to torch to be offered; a gate must hold what bf16 must."""
    if bundle.task == "classification":
        return within_limits(bundle, drift)
    if drift.iou is None or drift.area is None:
        return False
    return drift.iou >= MIN_IOU and abs(drift.area) <= MAX_AREA


def quantised(model: ov.Model, bundle: Bundle, calibration: Sequence[TileStack]) -> ov.Model:
    """The network with weights and activations in int8. calibration: tiles that are not those it is judged by."""
    nncf = _nncf()
    samples = list(_samples(bundle, calibration))[:MOST_TILES]
    if not samples:
        raise BadInput(f"{bundle.name}: int8 needs tiles to calibrate on, none were given")
    made: ov.Model = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
    return made


def _samples(bundle: Bundle, calibration: Sequence[TileStack]) -> Iterator[NDArray[np.float32]]:
    """(1, band, h, w) each."""
    for stack in calibration:
        pixels = normalise(stack, bundle)
        yield from (padded(pixels) if bundle.task == "segmentation" else pixels)[:, None]


def _nncf() -> ModuleType:
    """NNCF without its reports: openvino_quiet took away what sends them."""
    try:
        import nncf
        from nncf.telemetry import wrapper
    except ImportError as error:
        raise BadInput("int8 needs NNCF: pip install 'tilegate[int8]'") from error
    if not isinstance(wrapper.telemetry, wrapper.NNCFTelemetryStub):
        raise BadInput("NNCF was imported before tilegate could switch its telemetry off; let tilegate import it first")
    logging.getLogger("nncf").setLevel(logging.WARNING)
    found: ModuleType = nncf
    return found
