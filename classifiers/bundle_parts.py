"""What bundle.json is made of: small strict models of MLM's words, before they are joined. No I/O."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from classifiers.bundle_contract import ClassifierName, Features, Names

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

# timm and smp would go to the network for "hf-hub:…": a name can be neither a path nor a URL
Name = Annotated[str, Field(pattern=NAME)]


class Strict(BaseModel):
    """Every key is known, present, of the right JSON type, and finite where it is a number, or all is refused.

    A field mlm_x is the key mlm:x. Keys of type Any may hold anything: they are MLM's and change nothing here.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        alias_generator=lambda name: re.sub("^(mlm|tilegate|classification)_", r"\1:", name),
    )


class Tensor(Strict):
    """What the network takes."""

    shape: tuple[int, int, int, int]
    """-1 (any number of tiles), bands, and the side of a tile twice, px."""
    dim_order: tuple[Literal["batch"], Literal["channel"], Literal["height"], Literal["width"]]
    data_type: Literal["float32"]


class Scaling(Strict):
    """How one band is normalised, in the units of the pixels."""

    type: Literal["z-score"]
    mean: float
    stddev: float = Field(ge=1e-12)


class Input(Strict):
    """The one input."""

    bands: Names
    input: Tensor
    value_scaling: tuple[Scaling, ...]
    """One per band."""
    name: Any = None
    description: Any = None
    resize_type: Any = None


class Category(Strict):
    """One class."""

    value: int
    name: str
    description: Any = None


class Function(Strict):
    """What turns the network's output into scores."""

    format: Literal["python"]
    expression: Literal["torch:sigmoid", "torch:softmax"]


class Output(Strict):
    """The one output."""

    classification_classes: tuple[Category, ...] = Field(min_length=1, max_length=256)
    """In the order of the network's channels; of a segmenter, the first is background."""
    post_processing_function: Function
    name: Any = None
    description: Any = None
    tasks: Any = None
    result: Any = None


class Network(Strict):
    """All a network, or a gate without one, is built with; nothing in here can name a file or a URL. No default is ever used."""

    encoder_name: Name = ""
    encoder_depth: int = Field(0, ge=3, le=5)
    decoder_channels: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = ()
    global_pool: Literal["avg", "max", "avgmax", "catavgmax"] = "avg"
    img_size: int = Field(0, ge=1, le=4096)
    zoom: int = Field(1, ge=2, le=8)
    views: Literal[2, 4, 8] = 2
    parents: tuple[Annotated[int, Field(ge=-1, le=255)], ...] = ()
    features: Features = ("colour",)
    classifier: ClassifierName = "forest"
