"""Checkpoints on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from classifiers.labels.sample import LabelledTiles, Split
from classifiers.training.checkpoint import START, Progress, identity_of, latest, save
from classifiers.training.settings import DataSettings, FitSettings, ModelSettings, TrainingRecipe
from tiling.errors import BadInput

TENSORS = {"a.weight": torch.randn(3, 2), "a.count": torch.tensor(3), "b": torch.tensor([True, False])}


def test_nothing_is_there_at_first(folder: Path) -> None:
    assert latest(folder, {}) is None


def test_what_is_saved_is_read(folder: Path) -> None:
    progress = Progress(epoch=3, best=0.1 + 0.2, best_epoch=2)
    save(folder, progress, {"x": "1"}, TENSORS)
    found = latest(folder, {"x": "1"})
    assert found is not None
    assert found[0] == progress
    assert found[1].keys() == TENSORS.keys()
    assert all(torch.equal(found[1][name], values) for name, values in TENSORS.items())


def test_progress_keeps_the_first_of_equals() -> None:
    one = START.after(0.5)
    two = one.after(0.5)
    assert (two.epoch, two.best_epoch, two.best) == (2, 1, 0.5)
    assert two.after(0.6).best_epoch == 3


def test_a_half_written_file_is_not_seen(folder: Path) -> None:
    save(folder, START.after(1.0), {}, TENSORS)
    (folder / "epoch-0002.part").write_bytes(b"half")
    found = latest(folder, {})
    assert found is not None
    assert found[0].epoch == 1


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_file_is_told(folder: Path, damage: bytes | None) -> None:
    save(folder, START.after(1.0), {}, TENSORS)
    path = folder / "epoch-0001.safetensors"
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    with pytest.raises(BadInput, match=r"epoch-0001.safetensors is no checkpoint or a damaged one .* Delete .*trained"):
        latest(folder, {})


def test_the_identity_is_of_all_that_is_learnt_from(
    coloured: Callable[..., LabelledTiles],
    thirds: Callable[[LabelledTiles], Split],
    tiny_recipe: Callable[..., TrainingRecipe],
) -> None:
    tiles, recipe = coloured(), tiny_recipe()
    split = thirds(tiles)
    same = identity_of(tiles, split, recipe)
    assert same == identity_of(coloured(), thirds(tiles), tiny_recipe())
    pixels, labels = tiles.pixels.copy(), tiles.labels.copy()
    pixels[3, 1, 5, 5] += 1
    labels[2] = 1 - labels[2]
    valid = tiles.valid.copy()
    valid[0, 0, 0] = False
    others = [
        identity_of(replace(tiles, pixels=pixels), split, recipe),
        identity_of(replace(tiles, labels=labels), split, recipe),
        identity_of(replace(tiles, valid=valid), split, recipe),
        identity_of(replace(tiles, masks=np.zeros((24, 16, 16), np.uint8)), split, recipe),
        identity_of(tiles, replace(split, train=split.train[1:]), recipe),
        identity_of(tiles, split, replace(recipe, fit=FitSettings(epochs=99))),
        identity_of(tiles, split, replace(recipe, data=DataSettings(downsample=2))),
    ]
    assert all(other != same for other in others)
    assert (
        identity_of(tiles, split, replace(recipe, model=ModelSettings(name="other", job="Words of the card."))) == same
    )
