"""What a model bundle says of itself, and how bundle.json writes it (STAC MLM v1.4 names). No I/O.

`mlm:` keys are those of https://stac-extensions.github.io/mlm/v1.4.0/schema.json; what MLM has no word for (pixel
size, threshold, calibration, hash) is under `tilegate:`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from classifiers.protocol import ModelId
from tiling.info import PixelSize

Task = Literal["classification", "segmentation"]
Activation = Literal["sigmoid", "softmax"]

SCHEMA = 1
BACKGROUND = "background"
MLM_TASKS: Mapping[Task, str] = {
    "classification": "scene-classification",
    "segmentation": "semantic-segmentation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Held-out tiles as the gate scored them: any target recall can be turned into a threshold from these."""

    tiles: tuple[str, ...]
    """Which tile, such as "Amazon_124.tiff_36 r0000c0001": the scene, then the tile of its grid."""
    scores: tuple[tuple[float, ...], ...]
    """(n, classes) what the shipped weights gave, in [0, 1]."""
    labels: tuple[tuple[int, ...], ...]
    """(n, classes) 1 = the tile holds the class, 0 = it does not."""
    fractions: tuple[tuple[float, ...], ...]
    """(n, classes) share of the tile's valid pixels that are of the class, in [0, 1]."""

    def __post_init__(self) -> None:
        rows = (len(self.scores), len(self.labels), len(self.fractions))
        if set(rows) != {len(self.tiles)}:
            raise ValueError(f"calibration of {len(self.tiles)} tiles has {rows} scores, labels and fractions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A model's weights and the contract they are used under: the only thing prediction needs."""

    name: str
    """Name of the model, such as forest-gate."""
    path: Path
    """Its folder."""
    architecture: str
    """timm's name of the network (classification) or smp's (segmentation)."""
    hyperparameters: Mapping[str, str | int | tuple[int, ...]]
    """Arguments the architecture is built with, such as encoder_name."""
    task: Task
    """What it does: classes per tile, or per pixel."""
    activation: Activation
    """sigmoid: each class on its own. softmax: exactly one (a segmenter's first channel is then background)."""
    bands: tuple[str, ...]
    """Bands it needs, in order."""
    classes: tuple[str, ...]
    """Names of its classes; the background of a segmenter is not among them."""
    pixel_size: PixelSize
    """Pixel size of the training tiles."""
    pixel_size_range: tuple[float, float]
    """Smallest and largest allowed pixel size, as a multiple of `pixel_size`."""
    input_px: int
    """Side of the training tiles, px; networks that need exactly this side refuse any other."""
    dtype: str
    """numpy dtype of the training pixels, such as uint8: the values mean the same only in this one."""
    mean: tuple[float, ...]
    """Per band, in the units of the pixels."""
    std: tuple[float, ...]
    """Per band, in the units of the pixels."""
    threshold: float | None
    """Gates: the recommended threshold on a score. None for segmenters."""
    calibration: Calibration | None
    """Gates: the evidence for a threshold. None for segmenters."""
    licence: str
    """SPDX identifier of the weights' licence."""
    training_data: str
    """What it was trained on, with attribution."""
    pretrained_source: str | None
    """What the weights started from, None = random."""
    metrics: Mapping[str, float]
    """Measured on held-out data."""
    sha256: str
    """Of model.safetensors."""
    contract_sha256: str
    """Of bundle.json, which holds the weights' hash: covers the weights and everything they are used under."""

    @property
    def model(self) -> ModelId:
        """Which model, to the bit: changed weights change it, and so does a changed normalisation."""
        return ModelId(
            name=self.name,
            sha256=self.contract_sha256,
            pixel_size=self.pixel_size,
            pixel_size_range=self.pixel_size_range,
            threshold=self.threshold,
            dtype=self.dtype,
        )

    @property
    def channels(self) -> int:
        """Channels of the network's output: a softmax segmenter has one more, for background."""
        return len(self.classes) + (self.task == "segmentation" and self.activation == "softmax")


def to_json(bundle: Bundle) -> dict[str, object]:
    """bundle.json as plain values; what is read back and written again is the same to the byte."""
    task, size, side = MLM_TASKS[bundle.task], bundle.pixel_size, bundle.input_px
    return {
        "tilegate:schema": SCHEMA,
        "mlm:name": bundle.name,
        "mlm:architecture": bundle.architecture,
        "mlm:hyperparameters": {k: list(v) if isinstance(v, tuple) else v for k, v in bundle.hyperparameters.items()},
        "mlm:framework": "PyTorch",
        "mlm:tasks": [task],
        "mlm:pretrained": bundle.pretrained_source is not None,
        "mlm:pretrained_source": bundle.pretrained_source,
        "mlm:input": [_input_json(bundle, side)],
        "mlm:output": [_output_json(bundle, task, side)],
        "tilegate:dtype": bundle.dtype,
        "tilegate:pixel_size": {"y": float(size.y), "x": float(size.x), "unit": size.unit},
        "tilegate:pixel_size_range": [float(factor) for factor in bundle.pixel_size_range],
        "tilegate:sha256": bundle.sha256,
        "tilegate:licence": bundle.licence,
        "tilegate:training_data": bundle.training_data,
        "tilegate:metrics": {key: float(value) for key, value in bundle.metrics.items()},
        "tilegate:threshold": bundle.threshold,
        "tilegate:calibration": _calibration_json(bundle.calibration),
    }


def _input_json(bundle: Bundle, side: int) -> dict[str, object]:
    return {
        "name": "tiles",
        "bands": list(bundle.bands),
        "input": {
            "shape": [-1, len(bundle.bands), side, side],
            "dim_order": ["batch", "channel", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": m, "stddev": s} for m, s in zip(bundle.mean, bundle.std, strict=True)
        ],
        "resize_type": None,
    }


def _output_json(bundle: Bundle, task: str, side: int) -> dict[str, object]:
    segments = bundle.task == "segmentation"
    names = [BACKGROUND, *bundle.classes] if segments else list(bundle.classes)
    spatial = ["height", "width"] if segments else []
    return {
        "name": "scores",
        "tasks": [task],
        "result": {
            "shape": [-1, bundle.channels, *(side for _ in spatial)],
            "dim_order": ["batch", "channel", *spatial],
            "data_type": "float32",
        },
        "classification:classes": [{"value": value, "name": name} for value, name in enumerate(names)],
        "post_processing_function": {"format": "python", "expression": f"torch:{bundle.activation}"},
    }


def _calibration_json(calibration: Calibration | None) -> dict[str, object] | None:
    if calibration is None:
        return None
    return {
        "tiles": list(calibration.tiles),
        "scores": [list(row) for row in calibration.scores],
        "labels": [list(row) for row in calibration.labels],
        "fractions": [list(row) for row in calibration.fractions],
    }
