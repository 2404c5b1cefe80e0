"""training.json beside a bundle: what it was trained with, so that it can be continued, measured again and made again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.sample import LabelledTiles, Split
from classifiers.training.settings import TrainingRecipe
from flows.training.recipe import MAX_BYTES, as_json, training_recipe
from storage.disk import LocalFolder
from storage.folder import LOCK
from tiling.errors import BadInput

FILE, NEW = "training.json", ".training.json.new"
OWN = {FILE, NEW, LOCK}
"""What lies in a folder before anything was learnt."""
DIGITS = 8
"""Of a tile's sha256: enough to tell some thousand tiles apart from some thousand others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What a folder was begun with."""

    recipe: TrainingRecipe
    """All settings, defaults included."""
    data_sha256: str
    """Of names, pixels, labels and masks of all tiles."""
    tiles: dict[str, int]
    """How many there are of each part."""
    learnt: str
    """The first digits of the sha256 of the pixels of every tile that was learnt from, or that said when to stop."""
    finished: bool
    """The bundle is whole."""


def record_of(recipe: TrainingRecipe, tiles: LabelledTiles, split: Split) -> TrainingRecord:
    """What training these tiles will be known by."""
    prints = tile_prints(tiles)
    digest = hashlib.sha256(json.dumps([sample.name for sample in tiles.samples]).encode())
    digest.update("".join(prints).encode())
    digest.update(np.ascontiguousarray(tiles.labels).tobytes())
    for mask in () if tiles.masks is None else tiles.masks:
        digest.update(mask.tobytes())
    seen = np.concatenate([split.train, split.validation])
    return TrainingRecord(
        recipe=recipe,
        data_sha256=digest.hexdigest(),
        tiles={part: len(getattr(split, part)) for part in ("train", "validation", "test")},
        learnt="".join(sorted(prints[i][:DIGITS] for i in seen)),
        finished=False,
    )


def tile_prints(tiles: LabelledTiles) -> list[str]:
    """sha256 of the pixels of each tile."""
    return [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in tiles.pixels]


def learnt_from(record: TrainingRecord, tiles: LabelledTiles) -> NDArray[np.bool_]:
    """(n,) which of the tiles the bundle has learnt from."""
    text = record.learnt
    known = {text[i : i + DIGITS] for i in range(0, len(text), DIGITS)}
    return np.array([digits[:DIGITS] in known for digits in tile_prints(tiles)], bool)


def read_record(folder: Path) -> TrainingRecord | None:
    """What is recorded there; None where nothing is. Raises BadInput for a file that is no record."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        plain = json.loads(path.read_bytes() if path.stat().st_size <= MAX_BYTES else b"too large to be ours")
        return TrainingRecord(
            recipe=training_recipe(plain["recipe"], str(path)),
            data_sha256=str(plain["data_sha256"]),
            tiles={str(part): int(count) for part, count in plain["tiles"].items()},
            learnt=str(plain["learnt"]),
            finished=bool(plain["finished"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path} is not what tilegate train writes: {type(error).__name__}: {error}") from error


def write_record(folder: Path, record: TrainingRecord) -> TrainingRecord:
    """Write it, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / NEW
    new.write_text(json.dumps(_plain(record), indent=1) + "\n", encoding="utf-8")
    os.replace(new, folder / FILE)  # noqa: PTH105 (Path.replace says the same and hides that it is atomic)
    return record


def require_ours(folder: Path) -> None:
    """Raise BadInput where something lies that training has not begun."""
    begun = (folder / FILE).is_file()
    if not begun and folder.exists() and (not folder.is_dir() or any(p.name not in OWN for p in folder.iterdir())):
        raise BadInput(f"{folder} exists and was not begun by tilegate train; name a folder that is not there yet")


def require_free(folder: Path) -> None:
    """Raise BadInput for a folder that another process trains in: now, and not when the data has been read."""
    if (folder / FILE).is_file():
        with held(folder):
            pass


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder meanwhile, as a run does. Raises BadInput while another one is in."""
    require_ours(folder)
    with LocalFolder(folder).hold():
        yield
        record = read_record(folder)
        if record is not None and record.finished:
            (folder / LOCK).unlink(missing_ok=True)  # no part of a bundle; whoever waits for it finds nothing to do


def begin(folder: Path, record: TrainingRecord) -> TrainingRecord:
    """The record in `folder`: this one, new, or the same begun before. Raises BadInput where anything else lies."""
    require_ours(folder)
    before = read_record(folder)
    if before is None:
        return write_record(folder, record)
    told = differences("", _plain(replace(before, finished=False)), _plain(record))
    if told and any(path.is_file() and path.name not in OWN for path in folder.rglob("*")):
        more = f"; and {len(told) - 6} more" if len(told) > 6 else ""
        raise BadInput(
            f"{folder} was begun with other settings or data: {'; '.join(told[:6])}{more}. "
            "Give the same again, name another folder, or remove this one."
        )
    return write_record(folder, record) if told else before


def finish(folder: Path, record: TrainingRecord) -> TrainingRecord:
    """Note that the bundle is whole."""
    return write_record(folder, replace(record, finished=True))


def differences(path: str, ours: Any, theirs: Any) -> list[str]:
    """What differs between two trees of plain values, such as "recipe.fit.epochs: 12 -> 3"."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        return [
            line for key in keys for line in differences(f"{path}.{key}".lstrip("."), ours.get(key), theirs.get(key))
        ]
    return [] if ours == theirs else [f"{path}: {ours!s:.40} -> {theirs!s:.40}"]


def _plain(record: TrainingRecord) -> dict[str, Any]:
    return {
        "schema": 1,
        "recipe": as_json(record.recipe),
        "data_sha256": record.data_sha256,
        "tiles": record.tiles,
        "finished": record.finished,
        "learnt": record.learnt,
    }
