"""Training as a Prefect flow: three task runs, a curve that grows with every epoch, and the figures at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from classifiers.training.lesson import EpochReport, Watcher
from classifiers.training.settings import TrainingRecipe
from flows.evaluation.evaluate import PAGE
from flows.tasks import is_passing
from flows.training.display import epoch_line, evaluation_lines, prepared_lines
from flows.training.recipe import as_json, training_recipe
from flows.training.stages import bundle_folder, evaluate_stage, fit_stage, let_go, prepare_stage
from tiling.address import public
from tiling.errors import BadInput, TilegateError

RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(backoff_factor=5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_passing,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


class ArtifactWatcher:
    """A progress bar and a table of all epochs in the Prefect UI, and a log line for each."""

    def __init__(self) -> None:
        """Nothing learnt yet."""
        self._log = get_run_logger()
        self._bar: Any = create_progress_artifact(0.0, key="progress-training", description="epochs")
        self._rows: list[dict[str, Any]] = []

    def epoch(self, report: EpochReport) -> None:
        """See Watcher."""
        self._log.info(epoch_line(report))
        self._rows.append(
            {
                "epoch": report.epoch,
                "loss": round(report.loss, 5),
                "validation score": round(report.score, 5),
                "best": round(report.best, 5),
                "seconds": round(report.seconds, 1),
            }
        )
        update_progress_artifact(self._bar, min(100.0, 100.0 * report.epoch / report.epochs))
        create_table_artifact(self._rows, key="epochs", description="Loss and validation score after each epoch")


_: type[Watcher] = ArtifactWatcher


@task(name="prepare", description="Load, check and split the labelled tiles.", **RETRIES)
def prepare_task(data: str, recipe: dict[str, Any], out: str) -> dict[str, Any]:
    """See prepare_stage."""
    return prepare_stage(data, training_recipe(recipe, "the recipe"), out)


@task(name="fit", description="Learn; a retry goes on after the last epoch.", **RETRIES)
def fit_task(data: str, recipe: dict[str, Any], out: str) -> dict[str, Any]:
    """See fit_stage."""
    return fit_stage(data, training_recipe(recipe, "the recipe"), out, ArtifactWatcher())


@task(name="evaluate", description="Measure the bundle on the test tiles.", **RETRIES)
def evaluate_task(data: str, recipe: dict[str, Any], out: str) -> dict[str, Any]:
    """See evaluate_stage."""
    return evaluate_stage(data, training_recipe(recipe, "the recipe"), out)


def _run_name() -> str:
    """Such as "train gate landcover: eurosat_rgb"."""
    parameters = flow_run.parameters
    recipe = parameters["recipe"]
    name = recipe["model"]["name"] if isinstance(recipe, dict) else recipe.model.name
    return f"train {parameters['kind']} {name}: {Path(public(parameters['data'])).name}"


@flow(
    name="train-model",
    description="A gate or a segmenter from labelled data: checked, split without leaks, trained, calibrated, measured.",
    flow_run_name=_run_name,
    persist_result=False,
)
def train_model(kind: Literal["gate", "segmenter"], data: str, recipe: TrainingRecipe, out: str) -> dict[str, Any]:
    """Train on DATA into the folder `out`, or finish what was begun there; the figures on the test tiles."""
    if recipe.kind != kind:
        raise BadInput(f"the recipe trains a {recipe.kind}, not a {kind}")
    log, plain = get_run_logger(), as_json(recipe)
    try:
        found = prepare_task(data, plain, out)
        for line in prepared_lines(found):
            log.warning(line) if line.startswith("WARNING") else log.info(line)
        fit_task(data, plain, out)
        figures = evaluate_task(data, plain, out)
    except TilegateError as error:
        raise error from None  # what a library said below it may name a whole address, and Prefect logs all of it
    finally:
        let_go()
    publish(figures, out)
    return figures


def publish(figures: dict[str, Any], out: str) -> None:
    """The figures on half a page, and where the whole page lies."""
    create_markdown_artifact(figures_markdown(figures, out), key="evaluation", description="Measured on the test tiles")
    page = (bundle_folder(out) / PAGE).as_uri()
    create_link_artifact(page, link_text="evaluation.html", key="evaluation-page", description="Curves and mistakes")


def figures_markdown(figures: dict[str, Any], out: str) -> str:
    """As on the command line."""
    lines = "\n".join(evaluation_lines(figures))
    return f"# {figures['bundle']['name']}\n\n```\n{lines}\n```\n\nBundle: `{out}`, the page: `{out}/{PAGE}`"
