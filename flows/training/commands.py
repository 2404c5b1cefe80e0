"""What `tilegate train` does, without the command line."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

from flows.commands import EngineName, default_engine
from flows.console import note
from flows.out_folder import require_folder
from flows.training.defaults import default_recipe
from flows.training.display import prepared_lines
from flows.training.progress import SilentWatcher, watcher_for_people
from flows.training.recipe import Kind, load_training_recipe
from flows.training.record import require_free, require_ours
from flows.training.stages import bundle_folder, evaluate_stage, fit_stage, let_go, prepare, prepare_stage
from tiling.address import is_remote
from tiling.errors import BadInput
from tiling.open import gdal_path

if TYPE_CHECKING:
    from classifiers.training.settings import TrainingRecipe

ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""Of OpenMP, and of GNU's."""


def train(
    kind: Kind, data: str, recipe: str, changes: tuple[str, ...], out: str, engine: EngineName | None, *, quiet: bool
) -> dict[str, Any]:
    """Figures of the bundle on its test tiles, JSON. Raises BadInput, and then nothing was learnt for nothing."""
    wait_asleep()
    data = data if is_remote(data) else gdal_path(data)
    if bundle_folder(out).is_relative_to(data):
        raise BadInput(f"--out {out} lies in DATA: next time the bundle would be taken for labels; name another folder")
    folder = require_folder(bundle_folder(out))
    require_ours(folder)
    require_free(folder)
    try:
        chosen = load_training_recipe(recipe, changes) if recipe else default_recipe(kind, data, changes)
        if chosen.kind != kind:
            raise BadInput(f"recipe {recipe} trains a {chosen.kind}: tilegate train {chosen.kind} …")
        if (engine or default_engine()) == "prefect":
            return train_with_prefect(data, chosen, out)
        if engine is None and not quiet:
            note("local engine (no Prefect API is configured; --engine prefect starts one)")
        return train_here(data, chosen, out, quiet=quiet)
    finally:
        let_go()


def wait_asleep() -> None:
    """Have torch's threads sleep while they wait for each other, not spin: on a busy machine that wastes most of it.

    They ask once, when torch is imported. What the caller has set stays.
    """
    for name, value in ASLEEP.items():
        os.environ.setdefault(name, value)


def train_here(data: str, recipe: TrainingRecipe, out: str, *, quiet: bool) -> dict[str, Any]:
    """In this process, with a bar."""
    found = prepare_stage(data, recipe, out)
    if not quiet:
        note("\n".join(prepared_lines(found)))
        if found["finished"]:
            note(f"{out} is trained already; it is measured again")
    with closing(SilentWatcher() if quiet else watcher_for_people()) as watcher:
        fit_stage(data, recipe, out, watcher)
    return evaluate_stage(data, recipe, out)


def train_with_prefect(data: str, recipe: TrainingRecipe, out: str) -> dict[str, Any]:
    """As a flow run."""
    prepare(data, recipe)  # what is wrong with the data shows before a server is started
    from flows.gated_area import start_server
    from flows.training.flow import train_model

    start_server()
    figures: Any = train_model(kind=recipe.kind, data=data, recipe=recipe, out=str(bundle_folder(out)))
    return dict(figures)
