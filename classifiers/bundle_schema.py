"""bundle.json, which says what a model promises (STAC MLM v1.4 names). No I/O.

`mlm:` keys are those of https://stac-extensions.github.io/mlm/v1.4.0/schema.json; what MLM has no word for (pixel
size, threshold, calibration, hash) is under `tilegate:`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from classifiers.bundle_contract import (
    CLASSICAL,
    Bundle,
    Calibration,
    Digest,
    Domain,
    Drift,
    Export,
    ExportName,
    RuntimeName,
    Share,
    Task,
)
from classifiers.bundle_parts import NAME, Input, Name, Network, Output, Strict
from classifiers.protocol import Sees
from tiling.errors import BadInput
from tiling.info import PixelSize

BACKGROUND = "background"
DIMENSIONS = ("batch", "channel", "height", "width")
UNET = ("encoder_name", "encoder_depth", "decoder_channels")
GATE = "global_pool, img_size, zoom, views and parents"
HAND_MADE = ("features", "classifier")
MLM_TASKS: Mapping[Task, str] = {"classification": "scene-classification", "segmentation": "semantic-segmentation"}
SHA256 = r"^[0-9a-f]{64}$"
IN_WORDS = {NAME: "must be a plain name of letters, digits, '_', '.' and '-'", SHA256: "must be 64 hexadecimal digits"}
HINTS = {
    "tilegate:schema": "; this version of tilegate reads 1. Write the bundle again with write_bundle.",
    "tilegate:pixel_size": "; without the pixel size it was trained at nobody can tell whether an image fits it. "
    'Write it such as {"y": 10, "x": 10, "unit": "m"}, and tilegate:pixel_size_range, such as [0.8, 1.25].',
}


class Document(Strict):
    """bundle.json, its keys in the order they are written. A key mlm:x or tilegate:x holds what Bundle calls x."""

    tilegate_schema: Literal[1]
    mlm_name: Name
    mlm_architecture: Name
    mlm_hyperparameters: Network
    mlm_framework: Literal["PyTorch", "scikit-learn"]
    mlm_tasks: tuple[Literal["scene-classification", "semantic-segmentation"]]
    mlm_pretrained: Any = None
    mlm_pretrained_source: str | None
    mlm_input: tuple[Input]
    mlm_output: tuple[Output]
    tilegate_dtype: Literal["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
    tilegate_pixel_size: PixelSize
    tilegate_pixel_size_range: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(ge=1)]]
    tilegate_sha256: Digest
    tilegate_licence: str
    tilegate_training_data: str
    tilegate_metrics: dict[str, float]
    tilegate_threshold: Share | None
    tilegate_calibration: Calibration | None
    tilegate_exports: dict[ExportName, Export] = Field(default_factory=dict)
    tilegate_drift: dict[RuntimeName, Drift] = Field(default_factory=dict)
    tilegate_labels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    tilegate_domain: Domain | None = None
    tilegate_sees: Sees = "numbers"
    mlm_framework_version: Any = None
    mlm_total_parameters: Any = None
    mlm_batch_size_suggestion: Any = None

    @property
    def segments(self) -> bool:
        """Whether it is a segmenter."""
        return self.mlm_tasks[0] == MLM_TASKS["segmentation"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, with background."""
        return tuple(entry.name for entry in self.mlm_output[0].classification_classes)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wrong = "; ".join((*self._contradictions(), *self._unfit_hyperparameters()))
        if wrong:
            raise ValueError(wrong)
        return self

    def _contradictions(self) -> Iterator[str]:
        """What no key can tell alone."""
        tiles, evidence, names = self.mlm_input[0], self.tilegate_calibration, self.classes
        bands, shape, scaled = len(tiles.bands), tiles.input.shape, len(tiles.value_scaling)
        if shape != (-1, bands, shape[3], shape[3]) or shape[3] < 1:
            yield f"mlm:input: shape {list(shape)} must be [-1, {bands} bands, side, side]"
        if scaled != bands:
            yield f"mlm:input: value_scaling has {scaled} entries for {bands} bands; each band needs its own"
        values = [entry.value for entry in self.mlm_output[0].classification_classes]
        if self.tilegate_sees == "reflectance" and self.tilegate_dtype != "float32":
            yield f"tilegate:sees: reflectance is float32, tilegate:dtype says {self.tilegate_dtype}"
        if values != list(range(len(names))) or len(set(names)) != len(names):
            yield "classification:classes must have different names and the values 0, 1, 2, … in this order"
        if self.segments and (names[0] != BACKGROUND or len(names) < 2):
            yield f"classification:classes of a segmenter start with {BACKGROUND} (value 0) and name one more"
        width = len(names) - self.segments
        if evidence and {len(row) for row in (*evidence.scores, *evidence.labels, *evidence.fractions)} != {width}:
            yield f"tilegate:calibration needs {width} values per tile, one for each class"

    def _unfit_hyperparameters(self) -> Iterator[str]:
        """Those of the other task, or channels for another depth."""
        network, task = self.mlm_hyperparameters, self.mlm_tasks[0]
        given, depth, channels = network.model_fields_set, network.encoder_depth, len(network.decoder_channels)
        classical = self.mlm_architecture == CLASSICAL
        if classical != (self.mlm_framework == "scikit-learn"):
            yield f"mlm:framework of {self.mlm_architecture} is {'scikit-learn' if classical else 'PyTorch'}"
        if classical and (self.segments or given - {"parents"} != set(HAND_MADE)):
            yield f"mlm:hyperparameters of {CLASSICAL}, a gate, are {' and '.join(HAND_MADE)}; parents at most besides"
        elif self.segments and given - {"zoom"} != set(UNET):
            yield f"mlm:hyperparameters of {task} are {', '.join(UNET)}, not {', '.join(sorted(given)) or 'none'}"
        elif not self.segments and given & {*UNET, *(() if classical else HAND_MADE)}:
            yield f"mlm:hyperparameters of {task} are {GATE} at most, not {', '.join(sorted(given))}"
        elif network.parents and not _is_tree(network.parents, len(self.classes)):
            yield f"mlm:hyperparameters: parents {list(network.parents)} are no tree of {len(self.classes)} classes"
        elif channels != depth:
            yield f"mlm:hyperparameters: decoder_channels has {channels} entries for an encoder_depth of {depth}"

    def bundle(self, folder: Path, contract_sha256: str) -> Bundle:
        """The same without MLM's nesting."""
        (tiles,), (scores,) = self.mlm_input, self.mlm_output
        flat = {key.partition("_")[2]: value for key, value in self} | {
            "path": folder,
            "hyperparameters": MappingProxyType(self.mlm_hyperparameters.model_dump(exclude_unset=True)),
            "task": "segmentation" if self.segments else "classification",
            "activation": scores.post_processing_function.expression.removeprefix("torch:"),
            "bands": tiles.bands,
            "classes": self.classes[1:] if self.segments else self.classes,
            "input_px": tiles.input.shape[-1],
            "mean": tuple(band.mean for band in tiles.value_scaling),
            "std": tuple(band.stddev for band in tiles.value_scaling),
            "metrics": MappingProxyType(self.tilegate_metrics),
            "exports": MappingProxyType(self.tilegate_exports),
            "drift": MappingProxyType(self.tilegate_drift),
            "labels": MappingProxyType(self.tilegate_labels),
            "contract_sha256": contract_sha256,
        }
        return Bundle(**{field.name: flat[field.name] for field in fields(Bundle)})


def _is_tree(parents: tuple[int, ...], count: int) -> bool:
    """Whether each class has a parent or -1, and nobody is his own ancestor."""
    above = list(parents)
    for _ in parents:
        above = [parents[i] if 0 <= i < len(parents) else i for i in above]
    return len(parents) == count and set(above) == {-1}


def from_json(text: bytes, folder: Path) -> Bundle:
    """The bundle in `folder`. text: its bundle.json. Raises BadInput."""
    try:
        return Document.model_validate_json(text).bundle(folder, hashlib.sha256(text).hexdigest())
    except ValidationError as error:
        found = error.errors()
        found = [problem for problem in found if problem["loc"] == ("tilegate:schema",)] or found
        raise BadInput(f"{folder / 'bundle.json'}: {'; '.join(map(_explain, found))}") from error


def _explain(problem: ErrorDetails) -> str:
    """One of pydantic's findings: where, what, and what stands there."""
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"unknown key {where}: misspelt, or written for another version of tilegate"
    if problem["type"] == "missing":
        return f"{where} is missing{HINTS.get(where, '')}"
    words = IN_WORDS.get(problem.get("ctx", {}).get("pattern", ""), problem["msg"].removeprefix("Value error, "))
    return f"{where}: {words} (given: {problem['input']!r:.80}){HINTS.get(where, '')}" if where else words


def to_json(bundle: Bundle) -> bytes:
    """Its bundle.json; what is read back and written again is the same to the byte."""
    flat = {field.name: getattr(bundle, field.name) for field in fields(Bundle)} | {
        "schema": 1,
        "hyperparameters": dict(bundle.hyperparameters),
        "framework": "scikit-learn" if bundle.classical else "PyTorch",
        "tasks": [MLM_TASKS[bundle.task]],
        "pretrained": bundle.pretrained_source is not None,
        "input": [_input(bundle)],
        "output": [_output(bundle)],
        "metrics": dict(bundle.metrics),
        "exports": dict(bundle.exports),
        "drift": dict(bundle.drift),
        "labels": dict(bundle.labels),
    }
    keys = {field.alias: name.partition("_")[2] for name, field in Document.model_fields.items()}
    told = {name for name in flat if name not in {"exports", "drift", "labels", "domain"} or flat[name]}
    told -= {"sees"} if bundle.sees == "numbers" else set()
    values = {key: flat[name] for key, name in keys.items() if name in told}
    return (json.dumps(values, indent=1, ensure_ascii=False, default=asdict) + "\n").encode()


def _input(bundle: Bundle) -> dict[str, object]:
    shape = (-1, len(bundle.bands), bundle.input_px, bundle.input_px)
    moments = zip(bundle.mean, bundle.std, strict=True)
    return {
        "name": "tiles",
        "bands": bundle.bands,
        "input": {"shape": shape, "dim_order": DIMENSIONS, "data_type": "float32"},
        "value_scaling": [{"type": "z-score", "mean": mean, "stddev": std} for mean, std in moments],
        "resize_type": None,
    }


def _output(bundle: Bundle) -> dict[str, object]:
    segments = bundle.task == "segmentation"
    names = (BACKGROUND, *bundle.classes) if segments else bundle.classes
    shape = (-1, bundle.channels, bundle.input_px, bundle.input_px)[: 4 if segments else 2]
    return {
        "name": "scores",
        "tasks": [MLM_TASKS[bundle.task]],
        "result": {"shape": shape, "dim_order": DIMENSIONS[: len(shape)], "data_type": "float32"},
        "classification:classes": [{"value": value, "name": name} for value, name in enumerate(names)],
        "post_processing_function": {"format": "python", "expression": f"torch:{bundle.activation}"},
    }
