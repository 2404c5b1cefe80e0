"""From an image and a recipe to a plan: bands, planes, grid, fitted numbers. Reads the image, writes nothing."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from classifiers.bundle_contract import Wanted
from classifiers.gate import positive_columns
from classifiers.protocol import Classifier, ModelId
from classifiers.rules import RULES, Rule, find_rule
from downstream.audit import tiles_for
from downstream.protocol import Segmenter
from flows.models import gate_runtime, open_gate, open_segmenter, segmenter_runtime, settled
from flows.overlap import begun, models
from flows.radiometry import settled_radiometry
from flows.recall import contracted
from flows.recipe import Recipe
from flows.requirements import (
    missing_bands,
    needed_bands,
    require_bands,
    require_dtype,
    require_pixel_size,
    require_side,
)
from flows.zones.aoi import planned_aoi
from storage.plan import RunPlan
from tiling.coarse import read_coarse
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.identity import content_digests, image_identity
from tiling.info import ImageInfo, PixelSize, Plane, native_plane, plane_at
from tiling.open import gdal_path, open_source
from tiling.pixel_area import pixel_areas
from tiling.source import Pixels, Source, SourceSpec

log = logging.getLogger("tilegate")

COARSE_PX = 2048
"""Longest side of the plane that cuts are fitted on, px."""
RULE_DOWNSAMPLE = 8.0
"""Gate pixels per fine pixel along one side where nobody says otherwise."""


def make_plan(spec: SourceSpec, recipe: Recipe, aoi: str | None = None) -> RunPlan:
    """Everything a run needs to know, decided now. Raises BadInput with what to do instead.

    aoi: as the plan of a run keeps it, so that a resume does not need its file; else it is read as the recipe says.
    """
    content = begun(lambda: content_digests(spec))
    draft = draft_plan(spec, recipe, aoi)
    return replace(draft, identity=image_identity(draft.source, content.result()))


def draft_plan(spec: SourceSpec, recipe: Recipe, aoi: str | None = None) -> RunPlan:
    """A plan without the image's identity, which costs a read of the whole file. Raises BadInput."""
    spec, recipe = replace(spec, uris=tuple(map(gdal_path, spec.uris))), with_whole_paths(recipe)
    source = open_source(spec)
    try:
        chosen = choose_runtimes(recipe)
        network = models().submit(open_segmenter, *_segment(chosen)) if chosen.segment.runtime else None
        fitted = fit_cuts(source, chosen)
        gate = open_gate(*_gate(fitted))
        segmenter = network.result() if network else open_segmenter(*_segment(fitted))
        spec, info = require_bands(spec, source.info, needed_bands(segmenter, gate), fitted.name)
        info = settled_radiometry(info, fitted.image, (gate, segmenter))
        for model in (gate.model, segmenter.model):
            require_dtype(info, model)
        fine = fine_plane(info, fitted, segmenter.model)
        pixel_areas(info, fine, recipe.area.method)  # refuses now, not after the work, where no honest area exists
        final = fill_gate(fitted, info, fine, gate)
        aoi = aoi or planned_aoi(final, source.info)
    finally:
        source.close()
    tile = final.tile
    plan = RunPlan(
        name=final.name,
        source=spec,
        identity="",
        image=info,
        fine=fine,
        grid=TileGrid(shape_px=fine.shape_px, tile_px=tile.size_px, halo_px=tile.halo_px, batch_tiles=tile.batch),
        gate_tile_px=max(1, round(tile.size_px / (final.gate.downsample or 1))),
        classes=segmenter.classes,
        models={"gate": _identity(gate), "segmenter": _identity(segmenter)},
        recipe=final.model_dump(mode="json"),
        aoi=aoi,
    )
    require_side(plan, gate)
    return plan


def fit_cuts(source: Source, recipe: Recipe) -> Recipe:
    """The recipe with the cut of every rule filled in; those that need it (tissue) by Otsu on a coarse plane.

    Slides get a cut for their tissue in any case.
    """
    if recipe.gate.model == recipe.segment.model and recipe.gate.cut is None:
        recipe = _with(recipe, gate={"cut": recipe.segment.cut})
    coarse = CoarseOnce(source)
    for part in ("segment", "gate"):
        rule = find_rule(getattr(recipe, part).model, getattr(recipe, part).cut)
        if rule is not None:
            recipe = _with(recipe, **{part: {"cut": coarse.fit(rule)}})
    if recipe.screen.tissue_cut is None and (recipe.screen.min_tissue > 0 or shows_tissue(source.info)):
        recipe = _with(recipe, screen={"tissue_cut": coarse.fit(RULES["tissue"])})
    return recipe


def with_whole_paths(recipe: Recipe) -> Recipe:
    """The recipe with the paths of its files of polygons from the root: a resume may be started elsewhere."""
    files = {name: getattr(recipe.area, name) for name in ("zones", "aoi")}
    return _with(recipe, area={name: str(Path(path).resolve()) for name, path in files.items() if path is not None})


def shows_tissue(info: ImageInfo) -> bool:
    """Whether the area of tissue is told beside that of the glass: on slides."""
    return info.kind == "slide" and set(RULES["tissue"].bands) <= set(info.bands)


def choose_runtimes(recipe: Recipe) -> Recipe:
    """The recipe with its models as paths from the root, and the runtime of every bundle, none for rules.

    A resume, wherever it is started, computes as the run did.
    """
    gate, segmenter = settled(recipe.gate.model), settled(recipe.segment.model)
    return _with(
        recipe,
        gate={"model": gate, "runtime": gate_runtime(gate, recipe.gate.runtime)},
        segment={"model": segmenter, "runtime": segmenter_runtime(segmenter, recipe.segment.runtime)},
    )


class CoarseOnce:
    """The image on a coarse plane, read when the first rule needs it."""

    def __init__(self, source: Source) -> None:
        """source: open until the last fit."""
        self._source = source
        self._coarse: Pixels | None = None

    def fit(self, rule: Rule) -> float | None:
        """The rule's cut, by Otsu where it has none. Raises BadInput for an image without the rule's bands."""
        if rule.cut is not None:
            return rule.cut
        bands = self._source.info.bands
        if any(name not in bands for name in rule.bands):
            raise BadInput(missing_bands(self._source.info, rule.bands, rule.name))
        if self._coarse is None:
            self._coarse = read_coarse(self._source, COARSE_PX)
        picked = self._coarse.data[[bands.index(name) for name in rule.bands]]
        return rule.fitted(Pixels(picked, self._coarse.valid)).cut


def _with(recipe: Recipe, **parts: dict[str, Any]) -> Recipe:
    """The recipe with some fields of its parts changed."""
    return recipe.model_copy(update={k: getattr(recipe, k).model_copy(update=v) for k, v in parts.items()})


def fine_plane(info: ImageInfo, recipe: Recipe, model: ModelId) -> Plane:
    """The segmenter's plane: the recipe's pixel size, else the image's own, else the nearest the model takes."""
    native, wanted = info.pixel_size, recipe.tile.pixel_size
    if wanted is not None and wanted < min(native.y, native.x) * 0.999:
        raise BadInput(
            f"{info.uri} has pixels of {native.text}; {wanted:.4g} {native.unit} were asked for, finer than the file "
            "holds. Ask for a coarser pixel size, or bring a finer image."
        )
    if wanted is None and model.takes(native):
        return native_plane(info)
    target = PixelSize(y=wanted, x=wanted, unit=native.unit) if wanted else model.pixel_size or native
    plane = plane_at(info, max(1.0, target.y / native.y), max(1.0, target.x / native.x))
    require_pixel_size(info, native.times(plane.scale), model)
    return plane


def fill_gate(recipe: Recipe, info: ImageInfo, fine: Plane, gate: Classifier) -> Recipe:
    """The recipe with the gate's threshold and downsample filled in."""
    positive_columns(gate.classes, recipe.gate.positive)
    threshold = contracted(recipe) if recipe.gate.recall is not None else recipe.gate.threshold
    if threshold is None:
        threshold = gate.model.threshold
    if threshold is None:
        raise BadInput(f"recipe {recipe.name}: gate.threshold is missing, and {recipe.gate.model} brings none")
    fine_size = info.pixel_size.times(fine.scale)
    downsample = recipe.gate.downsample or own_downsample(fine_size, gate.model)
    require_pixel_size(info, fine_size.times((downsample, downsample)), gate.model)
    audit = {} if recipe.audit.bound is None else {"tiles": tiles_for(recipe.audit.bound)}
    return _with(recipe, gate={"threshold": threshold, "downsample": downsample}, audit=audit)


def own_downsample(fine: PixelSize, gate: ModelId) -> float:
    """How much coarser than the fine plane a gate wants to look."""
    return RULE_DOWNSAMPLE if gate.pixel_size is None else max(1.0, gate.pixel_size.mean / fine.mean)


def _gate(recipe: Recipe) -> tuple[str, float | None, Wanted | None]:
    return recipe.gate.model, recipe.gate.cut, recipe.gate.runtime


def _segment(recipe: Recipe) -> tuple[str, float | None, Wanted | None]:
    return recipe.segment.model, recipe.segment.cut, recipe.segment.runtime


def _identity(model: Classifier | Segmenter) -> dict[str, str]:
    return {"name": model.model.name, "sha256": model.model.sha256}
