"""What a task needs at hand: plan, image and models, opened in the worker from plain values."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from threading import Lock

from classifiers.bundle_contract import Domain
from classifiers.gate import positive_columns
from classifiers.protocol import Classifier
from classifiers.seen import as_seen, dtype_seen
from downstream.protocol import Segmenter
from downstream.zones_aoi import Aoi
from flows.domain import gate_bundle
from flows.models import open_gate, open_segmenter
from flows.recipe import Recipe, planned_recipe
from flows.zones.aoi import aoi_of, areas_of_interest
from storage.plan import RunPlan
from tiling.errors import BadInput
from tiling.info import ImageInfo, Plane
from tiling.open import open_source
from tiling.pixel_area import PixelAreas
from tiling.source import LostSource, Pixels, Source
from tiling.stack import TileStack, blank_stack
from tiling.window import Window

M_MMAP_THRESHOLD = -3
KEPT_BYTES = 2**22
"""Arrays of more bytes come from the machine and go back to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An open image and what to do with it; one per span, so spans share nothing but the models."""

    plan: RunPlan
    """What to do."""
    recipe: Recipe
    """With every number filled in."""
    source: Source
    """The image."""
    areas: PixelAreas
    """Of the fine plane, 0 outside of the area of interest."""
    aoi: Aoi | None = None
    """Where to look; None = everywhere."""

    @property
    def threshold(self) -> float:
        """The gate's, filled in by the plan."""
        assert self.recipe.gate.threshold is not None
        return self.recipe.gate.threshold

    @property
    def gate(self) -> Classifier:
        """Loaded once per process."""
        return open_gate(self.recipe.gate.model, self.recipe.gate.cut, self.recipe.gate.runtime)

    @property
    def domain(self) -> Domain | None:
        """What the gate was calibrated on; read once per process."""
        bundle = gate_bundle(self.plan)
        return bundle.domain if bundle else None

    @property
    def segmenter(self) -> Segmenter:
        """Loaded once per process."""
        return open_segmenter(self.recipe.segment.model, self.recipe.segment.cut, self.recipe.segment.runtime)

    @property
    def columns(self) -> list[int]:
        """Score columns that let a tile through."""
        return positive_columns(self.gate.classes, self.recipe.gate.positive)

    def shown(self, model: Classifier | Segmenter, stack: TileStack, chosen: Sequence[int]) -> TileStack:
        """Some tiles of a stack, by position, as a model sees them: its bands, in the values it wants."""
        bands = [self.plan.image.bands.index(name) for name in model.bands]
        return as_seen(stack.pick(chosen, bands), model.model, self.plan.image.radiometry, bands)


def prepare(plan: RunPlan) -> None:
    """Compile the segmenter for the tiles it will get, while the gate works; what goes wrong shows at its first tile."""
    recipe = planned_recipe(plan.recipe)
    with suppress(Exception):
        segmenter = open_segmenter(recipe.segment.model, recipe.segment.cut, recipe.segment.runtime)
        dtype = dtype_seen(plan.image.dtype, segmenter.model, plan.image.radiometry)
        segmenter.segment(blank_stack(plan.grid.tile(0, 0), len(segmenter.bands), dtype))


class TakingTurns:
    """A source that the threads of one span share: the reader, and a gate that looks twice at an empty tile."""

    def __init__(self, source: Source) -> None:
        """source: closed by whoever opened it."""
        self._source, self._turn = source, Lock()

    @property
    def info(self) -> ImageInfo:
        """See Source."""
        return self._source.info

    def read(self, window: Window, plane: Plane) -> Pixels:
        """See Source."""
        with self._turn:
            return self._source.read(window, plane)

    def close(self) -> None:
        """See Source."""
        self._source.close()


def open_again(plan: RunPlan) -> Source:
    """The image of a plan; one that went away since the plan was made costs its tiles, not the run."""
    try:
        return open_source(plan.source)
    except BadInput as error:
        return LostSource(plan.image, str(error))


@cache
def free_early() -> None:
    """Have glibc give arrays back to the machine when they are freed.

    It learns from the first array it frees to keep all up to 32 MB for the thread that made them, and tiles wander
    through many threads. A value that is set is not learnt (mallopt(3)).
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


@contextmanager
def open_job(plan: RunPlan) -> Iterator[Job]:
    """Open the image of a plan, and close it again."""
    free_early()
    source = open_again(plan)
    try:
        recipe = planned_recipe(plan.recipe)
        areas = areas_of_interest(plan)
        yield Job(plan=plan, recipe=recipe, source=TakingTurns(source), areas=areas, aoi=aoi_of(plan))
    finally:
        source.close()


_: type[Source] = TakingTurns
