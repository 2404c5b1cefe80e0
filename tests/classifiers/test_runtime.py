"""The choice of a runtime as a table; answers to scores and labels; drift counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from classifiers.answers import labels, probabilities
from classifiers.bundle_contract import Bundle, Drift, Export
from classifiers.drift import measure_drift
from classifiers.drift_card import with_runtimes
from classifiers.machine import BF16_FLAGS, bf16_flags
from classifiers.network_gate import NetworkGate
from classifiers.runtime import FakeRuntime, Machine, choose_runtime
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import PixelSize
from tiling.stack import TileStack

EXPORT = Export(xml_sha256="0" * 64, bin_sha256="1" * 64)
PLAIN = Machine(bf16=False, cuda=False)
AMX = Machine(bf16=True, cuda=False)
GPU = Machine(bf16=True, cuda=True)


def bundle(**changes: Any) -> Bundle:
    plain: dict[str, Any] = {
        "name": "tiny",
        "path": Path(),
        "architecture": "test_resnet",
        "hyperparameters": {},
        "task": "classification",
        "activation": "sigmoid",
        "bands": ("grey",),
        "classes": ("forest",),
        "pixel_size": PixelSize(y=40, x=40, unit="m"),
        "pixel_size_range": (0.8, 1.25),
        "input_px": 64,
        "dtype": "float32",
        "mean": (0.0,),
        "std": (1.0,),
        "threshold": 0.5,
        "calibration": None,
        "licence": "CC0-1.0",
        "training_data": "none",
        "pretrained_source": None,
        "metrics": {},
        "sha256": "",
        "contract_sha256": "",
    }
    return Bundle(**(plain | changes))


def gate(drift: Drift | None, threshold: float | None = 0.5, *, int8: bool = False) -> Bundle:
    exports = {"model": EXPORT} | ({"model-int8": EXPORT} if int8 else {})
    return bundle(threshold=threshold, exports=exports, drift={"openvino-bf16": drift} if drift else {})


def segmenter(area: float | None) -> Bundle:
    iou = None if area is None else 0.99
    drift = Drift(tiles=36, max_probability=0.3, flipped=0.01, iou=iou, area=area)
    return replace(gate(drift, None), task="segmentation")


def scored(flipped: float | None, dp: float = 0.3) -> Drift:
    return Drift(tiles=1000, max_probability=dp, flipped=flipped)


@pytest.mark.parametrize(
    ("model", "machine", "picked"),
    [
        (bundle(), AMX, "torch"),  # nothing exported
        (segmenter(0.0), GPU, "torch"),
        (segmenter(0.0), AMX, "openvino-bf16"),
        (segmenter(0.0), PLAIN, "openvino-f32"),
        (segmenter(0.005), AMX, "openvino-bf16"),
        (segmenter(-0.005), AMX, "openvino-bf16"),
        (segmenter(0.0051), AMX, "openvino-f32"),
        (segmenter(-0.0051), AMX, "openvino-f32"),
        (segmenter(None), AMX, "openvino-f32"),  # measured on tiles without anything to map
        (gate(None), AMX, "openvino-f32"),  # bf16 not measured
        (gate(scored(0.005)), AMX, "openvino-bf16"),
        (gate(scored(0.006)), AMX, "openvino-f32"),
        (gate(scored(None, 0.005), None), AMX, "openvino-bf16"),
        (gate(scored(None, 0.006), None), AMX, "openvino-f32"),
        (gate(scored(0.0), int8=True), AMX, "openvino-bf16"),  # int8 is for those who ask
    ],
)
def test_auto_takes_the_fastest_that_answers_as_torch_does(model: Bundle, machine: Machine, picked: str) -> None:
    assert choose_runtime(model, "auto", machine) == picked


def test_whoever_asks_gets_it_if_it_can_be_had() -> None:
    far = segmenter(0.2)
    assert choose_runtime(far, "openvino-bf16", AMX) == "openvino-bf16"
    assert choose_runtime(far, "torch", PLAIN) == "torch"
    assert choose_runtime(far, "openvino-f32", GPU) == "openvino-f32"
    assert choose_runtime(gate(None, int8=True), "openvino-int8", PLAIN) == "openvino-int8"


@pytest.mark.parametrize(
    ("model", "wanted", "machine", "message"),
    [
        (bundle(), "openvino-f32", AMX, r"brings no model.xml; .*export_bundle makes one\. To be had here: torch\."),
        (bundle(), "openvino-bf16", AMX, r"brings no model.xml"),
        (bundle(), "openvino-int8", AMX, r"brings no model-int8.xml; .*calibration tiles"),
        (segmenter(0.0), "openvino-bf16", PLAIN, r"neither AMX nor AVX512-BF16.*here: openvino-f32, torch\."),
        (segmenter(0.0), "openvino-int8", AMX, r"no model-int8.xml.*here: openvino-bf16, openvino-f32, torch\."),
    ],
)
def test_what_can_not_be_had_says_why_and_what_can(model: Bundle, wanted: Any, machine: Machine, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        choose_runtime(model, wanted, machine)


def test_int8_that_was_refused_is_told_with_its_figures() -> None:
    tried = Drift(tiles=36, max_probability=0.9, flipped=0.1, iou=0.9, area=0.02)
    model = replace(segmenter(0.0), drift={"openvino-int8": tried})
    with pytest.raises(BadInput, match=r"tried .* and refused \(36 tiles, .* IoU of the masks 0.9000, area \+2.00 %"):
        choose_runtime(model, "openvino-int8", AMX)


def test_bf16_is_what_the_kernel_says_of_the_cpu() -> None:
    info = Path("/proc/cpuinfo")
    words = info.read_text().split() if info.exists() else []
    assert set(bf16_flags()) == {flag for flag in BF16_FLAGS if flag in words}


@given(st.lists(st.floats(-200, 200, width=32), min_size=3, max_size=3), st.sampled_from(["sigmoid", "softmax"]))
def test_probabilities_are_scipys(logits: list[float], activation: Any) -> None:
    values = np.array([logits], np.float32)
    expected = expit(values.astype(np.float64)) if activation == "sigmoid" else softmax(values.astype(float), axis=1)
    np.testing.assert_allclose(probabilities(values, activation), expected, atol=1e-6)


def test_a_fake_runtime_serves_a_gate() -> None:
    grid = TileGrid(shape_px=(4, 8), tile_px=4)
    pixels = np.stack([np.full((1, 4, 4), 2, np.float32), np.full((1, 4, 4), -3, np.float32)])
    stack = TileStack(tiles=(grid.tile(0, 0), grid.tile(0, 1)), pixels=pixels, valid=np.ones((2, 4, 4), bool))
    scores = NetworkGate(bundle(), FakeRuntime(dense=False)).score(stack)
    np.testing.assert_allclose(scores, expit(np.array([[2.0], [-3.0]])), rtol=1e-6)


class Says:
    """A runtime with its answers prepared."""

    def __init__(self, answer: Any) -> None:
        self.name, self._answer = "said", np.array(answer, np.float32)

    def infer(self, pixels: Any) -> Any:
        return self._answer


def stack_of(count: int, side: int, halo: int = 0) -> TileStack:
    grid = TileGrid(shape_px=(side - 2 * halo, (side - 2 * halo) * count), tile_px=side - 2 * halo, halo_px=halo)
    shape = (count, side, side)
    return TileStack(
        tiles=tuple(grid.tile(0, i) for i in range(count)),
        pixels=np.zeros((count, 1, side, side), np.float32),
        valid=np.ones(shape, bool),
    )


def test_drift_of_a_gate_by_hand() -> None:
    """Of two stacks of four tiles, one decision of eight flips; the largest change is that of 0 -> 1."""
    first, second = [[5.0], [5.0], [-5.0], [-1.0]], [[5.0], [5.0], [-5.0], [1.0]]
    once = measure_drift(bundle(), [stack_of(4, 4)] * 2, Says(first), {"openvino-f32": Says(first)})["openvino-f32"]
    assert (once.tiles, once.max_probability, once.flipped, once.iou, once.area) == (8, 0, 0, None, None)
    other = measure_drift(bundle(), [stack_of(4, 4)], Says(first), {"openvino-bf16": Says(second)})["openvino-bf16"]
    assert other.flipped == 0.25
    assert other.max_probability == pytest.approx(expit(1) - expit(-1), rel=1e-6)
    assert (
        measure_drift(bundle(threshold=None), [stack_of(4, 4)], Says(first), {"torch": Says(second)})["torch"].flipped
        is None
    )


def test_drift_of_a_segmenter_by_hand() -> None:
    """Of a tile's core, 30 x 30 px, the reference maps 100, the other 99 of these and 3 more; the halo is not counted."""
    model = bundle(task="segmentation", threshold=None)
    stack = stack_of(1, 32, halo=1)
    expected, found = np.full((2, 1, 1, 32, 32), -4.0, np.float32)
    expected[0, 0, 1:11, 1:11] = 4
    found[0, 0, 1:11, 1:11] = 4
    found[0, 0, 1, 1], found[0, 0, 20, 1:4] = -4, 4
    found[0, 0, 0] = 9  # halo
    stack.valid[0, 25:, :] = False
    found[0, 0, 25:] = 9  # no data
    drift = measure_drift(model, [stack], Says(expected), {"openvino-bf16": Says(found)})["openvino-bf16"]
    assert drift.iou == 99 / 103
    assert drift.area == pytest.approx(0.02)
    assert drift.flipped == 4 / (24 * 30)
    assert drift.max_probability == pytest.approx(expit(4) - expit(-4), rel=1e-6)


def test_areas_are_judged_by_the_class_that_is_worst_off() -> None:
    """What one class loses to the other leaves the sum as it is."""
    model = bundle(task="segmentation", activation="softmax", classes=("a", "b"), threshold=None)
    truth = np.zeros((1, 32, 32), int)
    truth[0, :10], truth[0, 10:12] = 1, 2
    moved = truth.copy()
    moved[0, 9] = 2
    said = [Says(np.moveaxis(np.eye(3)[part], -1, 1) * 9) for part in (truth, moved)]
    drift = measure_drift(model, [stack_of(1, 32)], said[0], {"openvino-bf16": said[1]})["openvino-bf16"]
    assert drift.area == pytest.approx(0.5)
    assert drift.iou == (9 + 2) / (10 + 3)


def test_nothing_mapped_is_nothing_measured() -> None:
    model = bundle(task="segmentation", threshold=None)
    nothing = Says(np.full((1, 1, 32, 32), -4.0))
    drift = measure_drift(model, [stack_of(1, 32)], nothing, {"openvino-bf16": nothing})["openvino-bf16"]
    assert (drift.iou, drift.area, drift.flipped) == (None, None, 0)


def test_labels_of_several_sigmoids_are_the_likeliest_above_one_half() -> None:
    logits = np.array([[[[-1.0, 2.0, 0.5]], [[-2.0, 1.0, 0.75]]]], np.float32)
    np.testing.assert_array_equal(labels(logits, "sigmoid"), [[[0, 1, 2]]])
    np.testing.assert_array_equal(labels(logits[:, :1], "sigmoid"), [[[0, 1, 1]]])


def test_a_card_keeps_its_words_and_gets_one_section() -> None:
    card = "# x\n\nWords.\n\n## Licence\n\nCC0.\n"
    once = with_runtimes(card, segmenter(0.02))
    assert once.startswith(card)
    assert "area +2.00 %" in once
    assert "auto takes float32 because its bf16 drift is too large" in once
    assert with_runtimes(once, segmenter(0.02)) == once
    middle = with_runtimes("# x\n\n## Runtimes\n\nold\n\n## Licence\n\nCC0.\n", segmenter(0.02))
    assert "old" not in middle
    assert middle.endswith("\n\n## Licence\n\nCC0.\n")
