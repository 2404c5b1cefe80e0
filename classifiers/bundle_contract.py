"""What a model promises: its weights and all they are used under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from classifiers.protocol import ModelId, Sees
from tiling.info import PixelSize

Task = Literal["classification", "segmentation"]
Activation = Literal["sigmoid", "softmax"]
RuntimeName = Literal["openvino-bf16", "openvino-f32", "openvino-int8", "torch", "numpy"]
"""What a model runs on. torch: on CUDA where there is one. numpy: classical gates, and they on nothing else."""
Wanted = Literal["auto", "openvino-bf16", "openvino-f32", "openvino-int8", "torch", "numpy"]
"""What a recipe may ask for."""
ExportName = Literal["model", "model-int8"]
"""Stem of the two files of an exported network, .xml and .bin (OpenVINO IR)."""
CLASSICAL = "classical"
"""Architecture of gates without a network: hand-made features and a classical classifier."""
FeatureName = Literal["colour", "lbp", "glcm", "hog", "words", "fisher"]
"""What a classical gate describes a tile by; see classifiers/classical/describe.py."""
ClassifierName = Literal["logistic", "svm", "knn", "tree", "forest"]
"""What decides then."""


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("the names must differ")
    return names


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), AfterValidator(_different)]
Features = Annotated[tuple[FeatureName, ...], Field(min_length=1), AfterValidator(_different)]
Share = Annotated[float, Field(ge=0, le=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Held-out tiles as the gate scored them: any target recall can be turned into a threshold from these."""

    tiles: Names
    """Which tile, such as "Amazon_124.tiff_36 r0000c0001": the scene, then the tile of its grid."""
    scores: tuple[tuple[Share, ...], ...]
    """(n, classes) what the shipped weights gave, in [0, 1]."""
    labels: tuple[tuple[Annotated[int, Field(ge=0, le=1)], ...], ...]
    """(n, classes) 1 = the tile holds the class, 0 = it does not."""
    fractions: tuple[tuple[Share, ...], ...]
    """(n, classes) share of the tile's valid pixels that are of the class, in [0, 1]."""

    def __post_init__(self) -> None:
        rows = (len(self.scores), len(self.labels), len(self.fractions))
        if set(rows) != {len(self.tiles)}:
            raise ValueError(f"calibration of {len(self.tiles)} tiles has {rows} scores, labels and fractions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The network once more, for a runtime that needs no torch."""

    xml_sha256: Digest
    """Of the graph."""
    bin_sha256: Digest
    """Of its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far a runtime's answers on held-out tiles are from those of torch in float32."""

    tiles: Annotated[int, Field(ge=1)]
    """Tiles both were asked about."""
    max_probability: Share
    """Largest change of a probability: of a tile's score, or of a pixel of a class."""
    flipped: Share | None
    """Gates: share of decisions at the threshold that differ, None = it has none. Segmenters: share of pixels."""
    iou: Share | None = None
    """Segmenters: intersection over union of both masks, all classes together; None where both are empty."""
    area: float | None = None
    """Segmenters: (area / torch's area) - 1 of the class where that is largest, either way; None likewise."""

    @property
    def text(self) -> str:
        """For a person."""
        parts = [f"{self.tiles} tiles", f"probabilities differ by up to {self.max_probability:.2g}"]
        if self.iou is not None and self.area is not None:
            parts += [f"IoU of the masks {self.iou:.4f}", f"area {100 * self.area:+.2f} %"]
        if self.flipped is not None:
            parts.append(f"{100 * self.flipped:.2g} % of decisions flipped")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What the tiles looked like that a gate was calibrated on (see classifiers/domain.py)."""

    tiles: Annotated[int, Field(ge=2)]
    """How many."""
    mean: tuple[float, ...]
    """(k,) of their descriptors."""
    precision: tuple[tuple[float, ...], ...]
    """(k, k) inverse of the descriptors' covariance, so distances are Mahalanobis'."""
    limit: Annotated[float, Field(gt=0)]
    """Distance that 99 of 100 held-out tiles stay below."""
    descriptor: Literal[1] = 1
    """Version of what a tile is described by: another one can not be compared."""

    def __post_init__(self) -> None:
        size = len(self.mean)
        if not size or {len(row) for row in self.precision} != {size} or len(self.precision) != size:
            raise ValueError(f"a domain of {size} numbers needs {size} x {size} in its precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A model's weights and the contract they are used under: the only thing prediction needs."""

    name: str
    """Name of the model, such as forest-gate."""
    path: Path
    """Its folder."""
    architecture: str
    """timm's name of the network (classification) or smp's (segmentation); CLASSICAL for gates without one."""
    hyperparameters: Mapping[str, str | int | tuple[int, ...] | tuple[str, ...]]
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
    """Of bundle.json, which holds all other hashes: covers the weights and everything they are used under."""
    exports: Mapping[ExportName, Export] = field(default_factory=dict)
    """The network for other runtimes than torch; may be empty."""
    drift: Mapping[RuntimeName, Drift] = field(default_factory=dict)
    """What was measured when it was exported; int8 without an export of it was measured and refused."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """How the data it was trained on writes its classes (see DataSettings.classes); empty = as they are called."""
    domain: Domain | None = None
    """Gates: what the calibrated tiles looked like."""
    sees: Sees = "numbers"
    """What it was trained on. Reflectance is float32, whatever the type of the file that it is made of."""

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
            sees=self.sees,
        )

    @property
    def classical(self) -> bool:
        """Whether it is a gate without a network."""
        return self.architecture == CLASSICAL

    @property
    def channels(self) -> int:
        """Channels of the network's output: a softmax segmenter has one more, for background."""
        return len(self.classes) + (self.task == "segmentation" and self.activation == "softmax")
