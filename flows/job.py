"""What a task needs at hand: the run, its image and its models, opened in the worker from plain values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from classifiers.gate import positive_columns
from classifiers.protocol import Classifier
from downstream.protocol import Segmenter
from flows.models import open_gate, open_segmenter
from flows.recipe import Recipe
from storage.plan import RunPlan
from storage.run import Run
from tiling.open import open_source
from tiling.pixel_area import PixelAreas, pixel_areas
from tiling.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An open run; one per span, so nothing is shared between threads but the models."""

    run: Run
    """Where results go."""
    recipe: Recipe
    """With every number filled in."""
    source: Source
    """The image."""
    areas: PixelAreas
    """Of the fine plane."""

    @property
    def plan(self) -> RunPlan:
        """The run's plan."""
        return self.run.plan

    @property
    def threshold(self) -> float:
        """The gate's, filled in by the plan."""
        assert self.recipe.gate.threshold is not None
        return self.recipe.gate.threshold

    @property
    def gate(self) -> Classifier:
        """Loaded once per process."""
        return open_gate(self.recipe.gate.model, self.recipe.gate.cut)

    @property
    def segmenter(self) -> Segmenter:
        """Loaded once per process."""
        return open_segmenter(self.recipe.segment.model, self.recipe.segment.cut)

    @property
    def columns(self) -> list[int]:
        """Score columns that let a tile through."""
        return positive_columns(self.gate.classes, self.recipe.gate.positive)

    def bands_of(self, model: Classifier | Segmenter) -> list[int]:
        """Where the bands of a model stand among those the source reads."""
        return [self.plan.image.bands.index(name) for name in model.bands]


@contextmanager
def open_job(run_path: str) -> Iterator[Job]:
    """Open a run and its image, and close the image again."""
    run = Run.open(Path(run_path))
    source = open_source(run.plan.source)
    try:
        yield Job(
            run=run,
            recipe=Recipe.model_validate(run.plan.recipe),
            source=source,
            areas=pixel_areas(run.plan.image, run.plan.fine),
        )
    finally:
        source.close()
