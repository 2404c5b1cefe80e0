"""The end of an epoch on disk: one safetensors file, its header saying in JSON what is no tensor. Nothing in it runs.

There are no states of random generators in it: every draw is a function of the seed, the epoch and the step.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch

from classifiers.labels.sample import LabelledTiles, Split
from classifiers.training.settings import TrainingRecipe
from tiling.errors import BadInput

NAMES = "epoch-*.safetensors"
_LEARNT_FROM = ("data", "split", "network", "augment", "fit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far training is."""

    epoch: int
    """Epochs learnt."""
    best: float
    """Best score so far; -inf before the first epoch."""
    best_epoch: int
    """Where it was found; 0 before the first."""

    def after(self, score: float) -> Progress:
        """One epoch later."""
        epoch, better = self.epoch + 1, score > self.best
        return Progress(
            epoch=epoch, best=score if better else self.best, best_epoch=epoch if better else self.best_epoch
        )


START = Progress(epoch=0, best=float("-inf"), best_epoch=0)
Tensors = Mapping[str, torch.Tensor]


def save(folder: Path, progress: Progress, identity: Mapping[str, str], tensors: Tensors) -> None:
    """Write the epoch's file, whole or not at all, and remove those before it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch-{progress.epoch:04d}.safetensors"
    part = path.with_suffix(".part")
    told = {"progress": json.dumps(asdict(progress)), "identity": json.dumps(dict(identity), sort_keys=True)}
    flat = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
    safetensors.torch.save_file(flat, part, told)
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(path)
    for older in folder.glob(NAMES):
        if older != path:
            older.unlink()


def latest(folder: Path, identity: Mapping[str, str]) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """The last epoch's, None where there is none.

    Raises BadInput when it can not be read, and when it is of another recipe or other data: it is not continued, and
    not wiped either.
    """
    paths = sorted(folder.glob(NAMES))
    if not paths:
        return None
    try:
        with safetensors.safe_open(paths[-1], "pt") as opened:
            told = opened.metadata()
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
        found, progress = json.loads(told["identity"]), Progress(**json.loads(told["progress"]))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{paths[-1]} is no checkpoint or a damaged one ({error}). Delete {folder} to start again."
        ) from error
    if found != dict(identity):
        raise BadInput(
            f"{folder} holds an unfinished training of something else, {progress.epoch} epochs of it; other are "
            f"{_differences(found, identity)}. Train with that again to continue it, delete {folder}, or choose "
            "another folder."
        )
    return progress, tensors


def identity_of(tiles: LabelledTiles, split: Split, recipe: TrainingRecipe) -> dict[str, str]:
    """All that decides what is learnt, by name: settings in plain words, pixels and labels as sha256."""
    settings = asdict(recipe)
    told = {f"{part}.{name}": str(value) for part in _LEARNT_FROM for name, value in settings[part].items()}
    arrays = {"pixels": tiles.pixels, "valid": tiles.valid, "labels": tiles.labels, "masks": tiles.masks}
    told |= {name: _digest(array) for name, array in arrays.items() if array is not None}
    told["split"] = hashlib.sha256(b"|".join(split.of(part).tobytes() for part in ("train", "validation"))).hexdigest()
    return told | {"kind": recipe.kind, "classes": ", ".join(tiles.classes)}


def _digest(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    """sha256, tile by tile: they may lie in a file larger than memory."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    for tile in array:
        digest.update(np.ascontiguousarray(tile).data)
    return digest.hexdigest()


def _differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    short = [f"{name} ({found.get(name, 'none')!s:.40} there, {wanted.get(name, 'none')!s:.40} here)" for name in names]
    return "; ".join(short[:6]) + (f"; and {len(short) - 6} more" if len(short) > 6 else "")
