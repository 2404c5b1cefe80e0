"""Which tiles a model is measured on, and whether they are what it takes: the same refusals as in a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.sample import LabelledTiles, Part
from classifiers.protocol import ModelId
from classifiers.seen import dtype_seen
from flows.training.recipe import (
    Kind,
    as_json,
    bundled_training_recipes,
    changed,
    load_training_recipe,
    training_recipe,
)
from flows.training.record import learnt_from, read_record
from tiling.errors import BadInput
from tiling.info import PixelSize

if TYPE_CHECKING:
    from classifiers.bundle_contract import Bundle, Wanted
    from classifiers.training.settings import DataSettings, TrainingRecipe

AnyPart = Literal["all", "train", "validation", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be measured."""

    kind: Kind
    """gate or segmenter."""
    model: str
    """A rule, the name of a bundle that comes with tilegate, or a folder."""
    data: str
    """As in training."""
    recipe: str = ""
    """How to read and split it: a training recipe by name or file; empty = as the model's own bundle says."""
    part: AnyPart = "all"
    """Of the split that the recipe makes."""
    changes: tuple[str, ...] = ()
    """As --set gives them."""
    cut: float | None = None
    """Rules: positive above this value instead of the rule's own."""
    robustness: bool = False
    """Also measure disturbed tiles."""
    runtime: Wanted = "auto"
    """Bundles: what the network runs on."""


def asked_tiles(asked: Asked, bundle: Bundle | None) -> LabelledTiles:
    """The tiles to measure on. Raises BadInput, also where nobody knows how they were split."""
    from classifiers.labels.load import load_tiles

    recipe = _recipe(asked, bundle)
    if recipe is None:
        settings = as_read(_settings(asked, {}).data, asked.kind)
        tiles = load_tiles(asked.data, settings, asked.kind, default=bundle, evaluating=True)
        return tiles if settings.group else grouped_as_learnt(tiles, bundle)
    tiles = load_tiles(asked.data, as_read(recipe.data, asked.kind), asked.kind, evaluating=True)
    return tiles if asked.part == "all" else part_of(tiles, recipe, asked.part)


def as_read(settings: DataSettings, kind: Kind) -> DataSettings:
    """The settings that tiles of a kind are read with: a gate reads no halo in a run."""
    return replace(settings, halo_px=0) if kind == "gate" else settings


def grouped_as_learnt(tiles: LabelledTiles, bundle: Bundle | None) -> LabelledTiles:
    """The tiles in the groups that the bundle's own recipe makes of their names, where it fits every name."""
    from classifiers.labels.groups import grouping

    recipe = made_with(bundle)
    if recipe is None or not recipe.data.group:
        return tiles
    pattern = grouping(recipe.data, len(tiles))
    found = [pattern.matched(sample.name) for sample in tiles.samples]
    if None in found:
        return tiles
    samples = tuple(replace(sample, group=str(group)) for sample, group in zip(tiles.samples, found, strict=True))
    return replace(tiles, samples=samples)


def made_with(bundle: Bundle | None) -> TrainingRecipe | None:
    """The recipe that is recorded beside the bundle, or the one of that name that comes with tilegate."""
    if bundle is None:
        return None
    record = read_record(bundle.path)
    if record is not None:
        return record.recipe
    recipes = map(load_training_recipe, bundled_training_recipes())
    return next((recipe for recipe in recipes if recipe.model.name == bundle.name), None)


def part_of(tiles: LabelledTiles, recipe: TrainingRecipe, part: Part) -> LabelledTiles:
    """The tiles that training with this recipe uses for that. Raises BadInput when there are none."""
    from classifiers.labels.duplicates import near_duplicates
    from classifiers.labels.split import split_tiles

    chosen = split_tiles(tiles, recipe.split, near_duplicates(tiles)).of(part)
    if not len(chosen):
        raise BadInput(f"the split of {len(tiles)} tiles leaves none for {part}; see split.{part} of the recipe")
    return tiles.pick(chosen)


def seen_before(bundle: Bundle | None, tiles: LabelledTiles, part: AnyPart) -> list[str]:
    """Why figures may flatter: tiles that the bundle has learnt from, or that its threshold was chosen on."""
    if bundle is None:
        return []
    record, told = read_record(bundle.path), []
    learnt = 0 if record is None else int(learnt_from(record, tiles).sum())
    calibrated = set(bundle.calibration.tiles) if bundle.calibration else set()
    known = sum(sample.name in calibrated for sample in tiles.samples)
    if learnt:
        told.append(
            f"{learnt:,} of these {len(tiles):,} tiles are among those {bundle.name} has learnt from: the figures say how "
            "well it remembers, not how good it is. --part test measures on those it has not seen."
        )
    elif record is None and 0 < known < len(tiles):
        told.append(
            f"{known:,} of these {len(tiles):,} tiles are the test tiles of {bundle.name}; the others are of the same data "
            "and most likely those it has learnt from: the figures flatter it. --part test measures on the former alone."
        )
    if known and part != "test":
        told.append(
            f"{known:,} of these tiles are the ones the threshold of {bundle.name} was chosen on: what it lets through of "
            "them says little about others."
        )
    return told


def require_fit(tiles: LabelledTiles, model: ModelId, bands: Sequence[str]) -> None:
    """Raise BadInput for tiles a model was not made for."""
    missing = [band for band in bands if band not in tiles.bands]
    if missing:
        example = ", ".join(f'["{name}", {number}]' for number, name in enumerate(bands, start=1))
        raise BadInput(
            f"{model.name} needs band {' and '.join(missing)}, the bands of these tiles are {', '.join(tiles.bands)}. "
            f"Say which is which: --set 'data.bands=[{example}]'"
        )
    dtype = dtype_seen(tiles.dtype, model, tiles.radiometry)
    require_made_for("these tiles hold", dtype, tiles.pixel_size, model)


def require_made_for(who: str, dtype: str, size: PixelSize, model: ModelId) -> None:
    """Raise BadInput for pixels a model was not made for. who: such as "these tiles hold"; size: of one pixel."""
    if model.dtype not in (None, dtype):
        raise BadInput(
            f"{who} {dtype} values; {model.name} was trained on {model.dtype}. "
            f"Convert the images to {model.dtype} the way its training data was (see its model card)."
        )
    if not model.takes(size):
        assert model.pixel_size is not None  # rules take any
        low, high = model.pixel_size_range
        raise BadInput(
            f"{who} pixels of {size.text}; {model.name} is valid for {low:g} to {high:g} times "
            f"{model.pixel_size.text}. Where the files are finer, --set data.downsample=N has them averaged; where they "
            "say what is not true, --set data.pixel_size=N."
        )


def aligned(tiles: LabelledTiles, model: ModelId, classes: Sequence[str]) -> LabelledTiles:
    """The tiles with a model's classes, in its order. Raises BadInput for classes the model does not know.

    Those the data does not know are held by no tile where classes exclude each other, and left out elsewhere.
    """
    if len(tiles.classes) == len(classes) == 1 and tiles.classes != tuple(classes):
        told = f"The data's class {tiles.classes[0]} was taken for {classes[0]}, the only one {model.name} knows."
        return replace(tiles, classes=tuple(classes), notes=(*tiles.notes, told))
    unknown = [name for name in tiles.classes if name not in classes]
    if unknown:
        raise BadInput(
            f"{model.name} knows {', '.join(classes)}; these tiles are labelled {', '.join(tiles.classes)}. Say how the "
            f"data writes them, such as --set 'data.classes.{classes[0]}=[\"{unknown[0]}\"]'"
        )
    wanted = [name for name in classes if tiles.exclusive or name in tiles.classes]
    if wanted == list(tiles.classes):
        return tiles
    missing = [name for name in classes if name not in tiles.classes]
    told = f"No tile is labelled {', '.join(missing)}: what {model.name} says of that was not measured."
    labels, fractions = (_columns(array, tiles.classes, wanted) for array in (tiles.labels, tiles.fractions))
    return replace(
        tiles,
        classes=tuple(wanted),
        labels=labels,
        fractions=fractions,
        masks=None if tiles.masks is None else _renumbered(tiles.masks, tiles.classes, wanted),
        notes=(*tiles.notes, told) if missing else tiles.notes,
    )


def _recipe(asked: Asked, bundle: Bundle | None) -> TrainingRecipe | None:
    """The one asked for; for a part of the data, the one the bundle was made with. None: the bundle knows enough."""
    if asked.recipe:
        return load_training_recipe(asked.recipe, asked.changes)
    if asked.part == "all":
        return None
    recipe = made_with(bundle)
    if recipe is None:
        raise BadInput(
            f"--part {asked.part}: nobody recorded how the data of {asked.model} was split; name the recipe with --recipe"
        )
    return _settings(asked, as_json(recipe))


def _settings(asked: Asked, plain: dict[str, Any]) -> TrainingRecipe:
    """Settings from plain tables and --set."""
    named = {"kind": asked.kind, "model": {"name": "any"}} | plain
    return training_recipe(changed(named, asked.changes), "--set")


def _columns(array: NDArray[np.float32], have: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float32]:
    """(n, have) -> (n, wanted), 0 where there is none."""
    found = [array[:, have.index(name)] if name in have else np.zeros(len(array), np.float32) for name in wanted]
    return np.stack(found, axis=1)


def _renumbered(masks: NDArray[np.uint8], have: Sequence[str], wanted: Sequence[str]) -> NDArray[np.uint8]:
    """The same masks with the numbers of `wanted`; background and unlabelled stay."""
    table = np.arange(256, dtype=np.uint8)
    for number, name in enumerate(have, start=1):
        table[number] = wanted.index(name) + 1
    return table[masks]
