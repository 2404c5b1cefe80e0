"""Training as three stages of plain values: prepare the tiles, fit, evaluate. Any engine may run them, again and again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifiers.labels.sample import LabelledTiles, Part, Split, positives
from flows.evaluation.tiles import Asked, as_read
from flows.training.recipe import Kind, as_json, bundled_training_recipes, load_training_recipe, training_recipe
from flows.training.record import FILE, TrainingRecord, begin, finish, held, record_of
from tiling.address import is_remote
from tiling.errors import BadInput

if TYPE_CHECKING:
    from classifiers.bundle_contract import Bundle
    from classifiers.labels.check import LabelCheck
    from classifiers.training.lesson import Watcher
    from classifiers.training.settings import TrainingRecipe

PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Tiles ready to be learnt from."""

    recipe: TrainingRecipe
    """What is to be learnt, and how."""
    tiles: LabelledTiles
    """All of them."""
    split: Split
    """Which are for what."""
    check: LabelCheck
    """What is odd about the labels."""
    warnings: tuple[str, ...]
    """Leaks between given parts, classes that a part has not; one sentence each."""


def prepare(data: str, recipe: TrainingRecipe) -> Prepared:
    """Load, check and split; what was just loaded is not loaded again (see let_go). Raises BadInput."""
    return _prepared(data, json.dumps(as_json(recipe), sort_keys=True))


def tiles_of(data: str, recipe: TrainingRecipe) -> LabelledTiles:
    """The tiles of DATA as a recipe reads them. Raises BadInput."""
    return _tiles(data, json.dumps(as_json(recipe)["data"], sort_keys=True), recipe.kind)


def let_go() -> None:
    """Forget the tiles held in memory."""
    _prepared.cache_clear()
    _tiles.cache_clear()


def prepare_stage(data: str, recipe: TrainingRecipe, out: str) -> dict[str, Any]:
    """Check DATA and begin the folder; JSON of what was found. Raises BadInput where training makes no sense."""
    ready = prepare(data, recipe)
    with held(bundle_folder(out)):
        record, tiles = _begin(ready, out), ready.tiles
    return {
        "tiles": len(tiles),
        "side_px": tiles.side_px,
        "bands": list(tiles.bands),
        "dtype": tiles.dtype,
        "pixel_size": tiles.pixel_size.text,
        "classes": list(tiles.classes),
        "exclusive": tiles.exclusive,
        "split": {part: part_facts(tiles, ready.split, part) for part in PARTS},
        "check": ready.check.as_dict(),
        "check_lines": list(ready.check.lines()),
        "warnings": list(ready.warnings),
        "notes": list(tiles.notes),
        "skipped": [{"name": skipped.name, "why": skipped.why} for skipped in tiles.skipped],
        "finished": record.finished,
    }


def part_facts(tiles: LabelledTiles, split: Split, part: Part) -> dict[str, Any]:
    """How many tiles, groups, and tiles of each class one part has."""
    chosen = split.of(part)
    counts = positives(tiles.labels[chosen])
    return {
        "tiles": len(chosen),
        "groups": len(set(tiles.groups[chosen].tolist())),
        "classes": {name: int(count) for name, count in zip(tiles.classes, counts, strict=True)},
    }


def fit_stage(data: str, recipe: TrainingRecipe, out: str, watch: Watcher) -> dict[str, Any]:
    """Learn, from where it was left; the bundle's figures as JSON. A finished folder is left as it is.

    Raises BadInput while another process trains there.
    """
    ready, folder = prepare(data, recipe), bundle_folder(out)
    with held(folder):
        record = _begin(ready, out)
        if record.finished:
            from classifiers.bundle import load_bundle

            bundle = load_bundle(folder, folder)
        else:
            bundle = _learn(ready, command_of(recipe, data))(folder, watch)
            finish(folder, record)
    metrics = dict(bundle.metrics)
    return {"name": bundle.name, "sha256": bundle.contract_sha256, "threshold": bundle.threshold, "metrics": metrics}


def evaluate_stage(data: str, recipe: TrainingRecipe, out: str) -> dict[str, Any]:
    """Measure the bundle on the test tiles as a run would use it; evaluation.json and .html beside it."""
    from flows.evaluation.evaluate import evaluate_tiles, write_evaluation

    ready, folder = prepare(data, recipe), bundle_folder(out)
    asked = Asked(kind=recipe.kind, model=str(folder), data=Path(data).name, part="test")
    found = evaluate_tiles(asked, ready.tiles.pick(ready.split.test))
    facts = {part: part_facts(ready.tiles, ready.split, part) for part in PARTS}
    told = {
        "label_check": list(ready.check.lines()),
        "split": {part: f"{each['tiles']:,} tiles of {each['groups']:,} groups" for part, each in facts.items()},
        "provenance": {"command": command_of(recipe, data)},
        "warnings": [*found.figures["warnings"], *ready.warnings],
    }
    found = replace(found, figures=found.figures | told)
    write_evaluation(found, folder)
    return found.figures


def command_of(recipe: TrainingRecipe, data: str) -> str:
    """What makes the same bundle again: a recipe that comes with tilegate, or the record beside the bundle."""
    same = [name for name in bundled_training_recipes() if as_json(load_training_recipe(name)) == as_json(recipe)]
    name = same[0] if same else FILE
    return f"tilegate train {recipe.kind} {Path(data).name} --recipe {name} --out {recipe.model.name}"


def bundle_folder(out: str) -> Path:
    """Where the bundle will lie. Raises BadInput for a bucket."""
    if is_remote(out):
        raise BadInput(f"--out {out}: a bundle is trained on a disk; copy its folder to where it is wanted afterwards")
    return Path(out).expanduser().absolute()


def require_parts(data: str, tiles: LabelledTiles, split: Split) -> None:
    """Raise BadInput unless there is something to learn from, to stop by and to measure on."""
    empty = [part for part in PARTS if not len(split.of(part))]
    if empty:
        groups = len(set(tiles.groups.tolist()))
        raise BadInput(
            f"{data}: no tiles are left for {' and '.join(empty)}: there are {len(tiles)} in {groups} "
            f"group{'s' if groups != 1 else ''}, and a group stays on one side. Bring more images, or see data.group, "
            "data.block_tiles, split.validation and split.test."
        )


def _begin(ready: Prepared, out: str) -> TrainingRecord:
    return begin(bundle_folder(out), record_of(ready.recipe, ready.tiles, ready.split))


def _learn(ready: Prepared, command: str) -> Callable[[Path, Watcher], Bundle]:
    """The training that the recipe asks for. command: for the card."""
    recipe, tiles, split = ready.recipe, ready.tiles, ready.split
    if recipe.classical is not None:
        from classifiers.classical.train_classical import train_classical

        return lambda folder, _: train_classical(tiles, split, recipe, folder, command=command)
    if recipe.kind == "gate":
        from classifiers.training.train_gate import train_gate

        return lambda folder, watch: train_gate(tiles, split, recipe, folder, watch, command=command)
    from downstream.training.train_segmenter import train_segmenter

    return lambda folder, watch: train_segmenter(tiles, split, recipe, folder, watch, command=command)


@lru_cache(maxsize=1)
def _prepared(data: str, recipe_json: str) -> Prepared:
    from classifiers.labels.check import check_tiles
    from classifiers.labels.duplicates import near_duplicates
    from classifiers.labels.split import gaps, leaks, split_tiles

    recipe = training_recipe(json.loads(recipe_json), "the recipe")
    tiles = tiles_of(data, recipe)
    linked = near_duplicates(tiles)
    split = split_tiles(tiles, recipe.split, linked)
    require_parts(data, tiles, split)
    return Prepared(
        recipe=recipe,
        tiles=tiles,
        split=split,
        check=check_tiles(tiles, linked),
        warnings=(*leaks(tiles, split, linked), *gaps(tiles, split)),
    )


@lru_cache(maxsize=1)
def _tiles(data: str, settings_json: str, kind: Kind) -> LabelledTiles:
    from classifiers.labels.load import load_tiles

    plain = {"kind": kind, "model": {"name": "any"}, "data": json.loads(settings_json)}
    return load_tiles(data, as_read(training_recipe(plain, "the recipe").data, kind), kind)
