"""What a training recipe says: plain values, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from classifiers.bundle_contract import ClassifierName, Features, Share

Loss = Literal["cross-entropy", "focal", "dice", "tversky", "cross-entropy + dice"]
"""cross-entropy is binary where classes do not exclude each other; dice and tversky are for masks."""
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=1, le=4096)]
"""Channels of a layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """How DATA is to be read. Where a value is None, the files decide; see classifiers/labels."""

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a class and how the data writes it: folder names, words of a table, mask values ("1", "1-65535").

    "*" stands for all that no other class claims; what is called background, unlabelled or ignore is no class.

    Empty: every folder, word or value but 0 is a class of its own. One class: what is not it, is not it (sigmoid).
    """
    parents: Mapping[str, str] = field(default_factory=dict)
    """Hierarchical labels: a class and the class it is a kind of."""
    exclusive: bool | None = None
    """Whether a tile is of exactly one class; None = folders and single words are, several words and masks are not."""
    images: tuple[str, ...] = ()
    """Where DATA is a file of polygons or windows that does not name its image: the image, one file or one per band."""
    group: str = ""
    """Regular expression on the name of a file; what it (or its first group) matches stays on one side of a split."""
    bands: tuple[tuple[str, int | str], ...] = ()
    """As in a run: (name, number or the file's own name)."""
    nodata: float | None = None
    """The nodata value of rasters that do not declare theirs."""
    pixel_size: Positive | None = None
    """Of files that do not say theirs, in `unit`; it overrides what they say."""
    unit: Literal["m", "um"] = "m"
    """Of pixel_size: m for rasters, um for slides."""
    downsample: Annotated[float, Field(ge=1)] = 1.0
    """Pixels of the file along one side of a pixel of a tile: a gate is trained on the coarse plane it will see."""
    tile_px: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Side of a tile; None = the side that most files have, and 256 where tiles are cut from larger images."""
    halo_px: Count = 0
    """Context around a tile; segmenters crop at random in it while they learn."""
    holds: Share = 0.01
    """Where masks or polygons say what a tile holds: it is of a class from this share of its labelled pixels on."""
    block_tiles: Annotated[int, Field(ge=1)] = 4
    """Tiles along one side of a block: blocks of a scene are the groups where fewer than five scenes are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How tiles are held out."""

    validation: Share = 0.15
    """Share of the tiles that decides when to stop, and the temperature."""
    test: Share = 0.2
    """Share of the tiles that is only measured on."""
    seed: Seed = 1
    """Of the draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What learns."""

    architecture: str = "tf_efficientnet_lite0"
    """timm's name of a gate's network; of a segmenter's encoder, its body, as smp writes it ("tu-" and timm's name)."""
    pretrained: str = ""
    """"" = random weights; "imagenet" = those of an installed package (efficientnet-lite0 to 2); or a .pth or
    .safetensors file of weights."""
    zoom: Annotated[int, Field(ge=1, le=8)] = 1
    """How many times the network enlarges its input first: small tiles, pretrained filters."""
    views: Literal[1, 2, 4, 8] = 1
    """Gates: in how many of the eight ways a square can be laid a tile is looked at, each at the full price; the answer
    is their mean."""
    global_pool: Literal["avg", "max", "avgmax", "catavgmax"] | None = None
    """Gates: how the last features become one vector; None = as the architecture does."""
    decoder_channels: Annotated[tuple[Width, ...], Field(min_length=3, max_length=5)] = (64, 48, 32, 16, 16)
    """Segmenters: of the U-Net's way up, deepest first; as many as the encoder is deep."""
    half: bool = True
    """Weights are stored as float16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentSettings:
    """How tiles are varied while learning. What would distort the evidence is off: colour of stains, cuts, mixtures."""

    flips: bool = True
    """Mirrored."""
    rotations: bool = True
    """By right angles."""
    brightness: Share = 0.1
    """Standard deviation of a factor on all bands, as a share of 1; and, as a share of a band's own, of an offset."""
    colour: Share = 0.03
    """Standard deviation of a factor on each band alone."""
    stain: Share = 0.0
    """H&E slides: standard deviation of a factor on haematoxylin and on eosin (Ruifrok and Johnston 2001)."""
    counterstain: Share = 0.0
    """H&E slides, segmenters of nuclei: share of the tiles that get the structure of another one laid over, in the
    colour of eosin."""
    blur: Share = 0.0
    """Share of the tiles that are blurred a little (Gaussian, sigma up to 1 px)."""
    noise: Share = 0.0
    """Standard deviation of noise on every pixel, as a share of its band's."""
    edge: Share = 0.0
    """Share of the tiles whose side is cut off as at the edge of an image: not valid there."""
    cutout: Share = 0.0
    """Share of the tiles in which a square of a quarter of the area is blanked."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Gates: alpha of mixup (Zhang et al. 2018); 0 = none."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Gates: alpha of CutMix (Yun et al. 2019); 0 = none. With both, one of them is drawn for each batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How it learns."""

    epochs: Annotated[int, Field(ge=1)] = 12
    """At most, frozen ones included."""
    frozen_epochs: Count = 1
    """Pretrained only: epochs at the start in which the head learns alone."""
    batch: Annotated[int, Field(ge=2)] = 32
    """Tiles per step."""
    steps: Count = 0
    """Steps per epoch; 0 = as many as see every training tile once."""
    rate: Positive = 1e-3
    """Highest learning rate (AdamW, warm-up and cosine)."""
    body_rate: Positive = 0.3
    """Pretrained only: rate of the body, as a share of the head's."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    """Of AdamW."""
    loss: Loss = "cross-entropy"
    """What is made small."""
    smoothing: Share = 0.0
    """Label smoothing."""
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    """Of the focal loss (Lin et al. 2017)."""
    tversky_miss: Share = 0.5
    """Tversky (Salehi et al. 2017): weight of a missed pixel; that of a false one is 1 less it. 0.5 = Dice."""
    class_weights: bool = False
    """Weigh classes in the loss by one over their frequency."""
    oversample: bool = False
    """Draw tiles of rare classes more often, until classes are drawn alike."""
    patience: Count = 5
    """Stop after this many epochs without a better validation score; 0 = never."""
    average: Share = 0.99
    """Decay of the moving average of the weights per step, which is what is kept; 0 = the last weights."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on CUDA, float32 on CPUs, where bfloat16 was measured slower for depthwise convolutions."""
    seed: Seed = 1
    """Of weights, order and augmentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What ends up in the bundle and its card."""

    name: str
    """Of the bundle."""
    job: str = ""
    """One sentence: what the model says, for whom."""
    licence: str = ""
    """SPDX identifier of the weights' licence; empty = "unknown", and the card says so."""
    training_data: str = ""
    """What it was trained on, with attribution and licence."""
    not_tested: str = ""
    """What it was never tested on, for the card."""
    pixel_size_range: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(ge=1)]] = (0.8, 1.25)
    """Shares of the pixel size it is valid for."""
    recall: Share = 0.99
    """Gates: the recall that the recommended threshold is chosen for, on the test tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicalSettings:
    """A gate without a network."""

    features: Features = ("colour", "lbp", "glcm", "hog")
    """What a tile is described by; words: bag of visual words, fisher: Fisher vectors of small patches."""
    classifier: ClassifierName = "svm"
    """What decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """All of it."""

    kind: Literal["gate", "segmenter"]
    """What is trained."""
    model: ModelSettings
    """[model]"""
    data: DataSettings = field(default_factory=DataSettings)
    """[data]"""
    split: SplitSettings = field(default_factory=SplitSettings)
    """[split]"""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """[network]"""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """[augment]"""
    fit: FitSettings = field(default_factory=FitSettings)
    """[fit]"""
    classical: ClassicalSettings | None = None
    """[classical]: hand-made features and a classical classifier instead of a network; [network], [augment] and [fit]
    are not used then, except for fit.seed, fit.class_weights."""
