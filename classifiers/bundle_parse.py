"""bundle.json, read strictly: every key is known, present and of the right kind, or the bundle is refused. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast, get_args

from classifiers.bundle_schema import BACKGROUND, MLM_TASKS, SCHEMA, Activation, Bundle, Calibration, Task
from classifiers.json_fields import Fields
from tiling.errors import BadInput
from tiling.info import PixelSize, Unit

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNREAD = ("mlm:framework_version", "mlm:total_parameters", "mlm:batch_size_suggestion", "mlm:pretrained")
_DIMENSIONS = ["batch", "channel", "height", "width"]
_PIXEL_SIZE_HINT = (
    "Without the pixel size it was trained at nobody can tell whether an image fits the model; "
    'add it, for instance {"y": 10, "x": 10, "unit": "m"}, and tilegate:pixel_size_range, such as [0.8, 1.25].'
)


def from_json(text: bytes, folder: Path, contract_sha256: str) -> Bundle:
    """The bundle that bundle.json describes. text: its bytes; contract_sha256: their hash. Raises BadInput."""
    where = str(folder / "bundle.json")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{where} is not JSON ({error}). Write the bundle again with write_bundle.") from error
    doc = Fields(values, where)
    schema = doc.value("tilegate:schema")
    if schema != SCHEMA:
        doc.refuse(f"tilegate:schema is {schema!r:.80}; this version reads {SCHEMA}. Write the bundle again.")
    bundle = _bundle(doc, folder, contract_sha256)
    doc.done(unread=_UNREAD)
    return bundle


def _bundle(doc: Fields, folder: Path, contract_sha256: str) -> Bundle:
    doc.choice("mlm:framework", ("PyTorch",))
    task = _task(doc)
    bands, side, mean, std = _input(doc.only_child("mlm:input"))
    classes, activation = _output(doc.only_child("mlm:output"), task)
    return Bundle(
        name=doc.name("mlm:name"),
        path=folder,
        architecture=doc.name("mlm:architecture"),
        hyperparameters=_hyperparameters(doc.child("mlm:hyperparameters"), task),
        task=task,
        activation=activation,
        bands=bands,
        classes=classes,
        pixel_size=_pixel_size(doc.child("tilegate:pixel_size", _PIXEL_SIZE_HINT)),
        pixel_size_range=_pixel_size_range(doc),
        input_px=side,
        dtype=_dtype(doc),
        mean=mean,
        std=std,
        threshold=doc.optional_number("tilegate:threshold", 0, 1),
        calibration=_calibration(doc, len(classes)),
        licence=doc.take("tilegate:licence", str),
        training_data=doc.take("tilegate:training_data", str),
        pretrained_source=doc.optional_text("mlm:pretrained_source"),
        metrics=_metrics(doc),
        sha256=_sha256(doc),
        contract_sha256=contract_sha256,
    )


def _task(doc: Fields) -> Task:
    tasks = doc.texts("mlm:tasks")
    found = [task for task, name in MLM_TASKS.items() if tasks == (name,)]
    if not found:
        doc.refuse(f"mlm:tasks is {list(tasks)}; exactly one of {', '.join(MLM_TASKS.values())} is supported")
    return found[0]


def _input(doc: Fields) -> tuple[tuple[str, ...], int, tuple[float, ...], tuple[float, ...]]:
    """(bands, side in px, mean, std) of mlm:input."""
    bands, tensor = doc.texts("bands"), doc.child("input")
    shape = tensor.numbers("shape")
    side = shape[-1] if shape else 0
    if tensor.value("dim_order") != _DIMENSIONS or shape != (-1, len(bands), side, side) or side < 1:
        tensor.refuse(f"shape {list(shape)} must be [-1, {len(bands)} bands, side, side] in the order {_DIMENSIONS}")
    tensor.choice("data_type", ("float32",))
    tensor.done()
    scaling = doc.children("value_scaling")
    if len(scaling) != len(bands):
        doc.refuse(f"value_scaling has {len(scaling)} entries for {len(bands)} bands; each band needs its own")
    moments = [_moments(band) for band in scaling]
    doc.done(unread=("name", "description", "resize_type"))
    return bands, int(side), tuple(m for m, _ in moments), tuple(s for _, s in moments)


def _moments(doc: Fields) -> tuple[float, float]:
    doc.choice("type", ("z-score",))
    mean, std = doc.number("mean"), doc.number("stddev", 1e-12)
    doc.done()
    return mean, std


def _output(doc: Fields, task: Task) -> tuple[tuple[str, ...], Activation]:
    """(classes without background, activation) of mlm:output."""
    classes = [_class(entry) for entry in doc.children("classification:classes")]
    names = tuple(name for _, name in classes)
    if [value for value, _ in classes] != list(range(len(classes))) or len(set(names)) != len(names):
        doc.refuse("classification:classes must have different names and the values 0, 1, 2, … in this order")
    if task == "segmentation":
        if names[:1] != (BACKGROUND,) or len(names) > 256:
            doc.refuse(f"the classes of a segmenter start with {BACKGROUND} (value 0) and are at most 256")
        names = names[1:]
    if not names:
        doc.refuse("classification:classes names no class")
    function = doc.child("post_processing_function")
    function.choice("format", ("python",))
    activation = function.choice("expression", ("torch:sigmoid", "torch:softmax")).removeprefix("torch:")
    function.done()
    doc.done(unread=("name", "tasks", "result", "description"))
    return names, cast(Activation, activation)


def _class(doc: Fields) -> tuple[int, str]:
    value, name = doc.whole("value", 0, 255), doc.take("name", str)
    doc.done(unread=("description",))
    return value, name


def _hyperparameters(doc: Fields, task: Task) -> Mapping[str, str | int | tuple[int, ...]]:
    """Only what the two families of networks need: nothing in here can name a file or a URL."""
    found: dict[str, str | int | tuple[int, ...]] = {}
    if task == "segmentation":
        depth, channels = doc.whole("encoder_depth", 3, 5), doc.numbers("decoder_channels", 1, 4096)
        if len(channels) != depth:
            doc.refuse(f"decoder_channels has {len(channels)} entries for an encoder_depth of {depth}")
        found = {"encoder_name": doc.name("encoder_name"), "encoder_depth": depth}
        found["decoder_channels"] = tuple(int(c) for c in channels)
    if task == "classification" and doc.has("global_pool"):
        found["global_pool"] = doc.choice("global_pool", ("avg", "max", "avgmax", "catavgmax"))
    if task == "classification" and doc.has("img_size"):
        found["img_size"] = doc.whole("img_size", 1, 4096)
    doc.done()
    return MappingProxyType(found)


def _pixel_size(doc: Fields) -> PixelSize:
    y, x, unit = doc.number("y"), doc.number("x"), doc.choice("unit", get_args(Unit))
    doc.done()
    if y <= 0 or x <= 0:
        doc.refuse(f"a pixel size must be positive, not {y} x {x} {unit}")
    return PixelSize(y=y, x=x, unit=cast(Unit, unit))


def _pixel_size_range(doc: Fields) -> tuple[float, float]:
    bounds = doc.numbers("tilegate:pixel_size_range", 0)
    if len(bounds) != 2 or not 0 < bounds[0] <= 1 <= bounds[1]:
        doc.refuse(f"tilegate:pixel_size_range is {list(bounds)}; it needs two factors around 1, such as [0.8, 1.25]")
    return bounds[0], bounds[1]


def _dtype(doc: Fields) -> str:
    return doc.choice("tilegate:dtype", ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"))


def _sha256(doc: Fields) -> str:
    value = doc.take("tilegate:sha256", str)
    if not _SHA256.fullmatch(value):
        doc.refuse(f"tilegate:sha256 must be 64 hexadecimal digits, not {value!r:.80}")
    return value


def _metrics(doc: Fields) -> Mapping[str, float]:
    child = doc.child("tilegate:metrics")
    return MappingProxyType({key: child.number(key) for key in child.keys_left()})


def _calibration(doc: Fields, classes: int) -> Calibration | None:
    if doc.take_null("tilegate:calibration"):
        return None
    child = doc.child("tilegate:calibration")
    tiles, scores = child.texts("tiles"), child.rows("scores", classes)
    labels, fractions = child.rows("labels", classes), child.rows("fractions", classes)
    child.done()
    if {len(scores), len(labels), len(fractions)} != {len(tiles)} or {v for row in labels for v in row} - {0.0, 1.0}:
        child.refuse(f"{len(tiles)} tiles need as many scores, labels (0 or 1) and fractions")
    whole = tuple(tuple(int(v) for v in row) for row in labels)
    return Calibration(tiles=tiles, scores=scores, labels=whole, fractions=fractions)
