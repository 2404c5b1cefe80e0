"""The objects of a run as features: joined polygons with what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid5

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from downstream.area import AreaCount, AreaUnit, sum_counts
from downstream.outline import Rings, densified
from downstream.pieces import UNSEEN, Objects
from downstream.polygons import Polygons, trace
from flows.export.job import ExportJob, ExportReport
from flows.export.mask import TileLabels, open_labels
from storage.plan import RunPlan

NAMESPACE = UUID("5d0f2a54-7c0e-5b7f-9a39-0d8f4d2a6c11")
"""Of the ids: uuid5 (RFC 9562) of image, class and outline in pixels: the same object has the same id in every export,
of whatever run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """Some objects, ready to be written."""

    ids: list[str]
    """UUIDs."""
    objects: Objects
    """Class, size and area of each."""
    outlines: NDArray[np.object_]
    """(n,) shapely polygons, x first, in the coordinates of the export."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What went out and what stayed behind, counted as it passes."""

    unit: AreaUnit
    """m2 or um2."""
    classes: tuple[str, ...]
    """Names of labels 1, 2, …"""
    kept: dict[str, list[AreaCount]] = field(default_factory=dict)
    """By class, a term per part."""
    dropped: dict[str, list[AreaCount]] = field(default_factory=dict)
    """By class, a term per part."""
    features: int = 0
    """Objects that went out."""
    dropped_features: int = 0
    """Objects that stayed behind."""
    notes: tuple[str, ...] = ()
    """For people."""

    def sift(self, found: Polygons, min_area: float) -> NDArray[np.bool_]:
        """(n,) True for objects of at least min_area, all of them counted."""
        large = found.objects.area >= min_area
        self.features += int(large.sum())
        self.dropped_features += int((~large).sum())
        for chosen, into in ((large, self.kept), (~large, self.dropped)):
            for label in np.unique(found.objects.label[chosen]):
                some = found.objects.of(chosen & (found.objects.label == label))
                terms = sum_counts((AreaCount.of(0, area, self.unit) for area in some.area.tolist()), self.unit)
                into.setdefault(self.classes[label - 1], []).append(replace(terms, pixels=int(some.pixels.sum())))
        return large

    def report(self, job: ExportJob) -> ExportReport:
        """All of it, of one file."""
        return ExportReport(
            path=job.out,
            files=(job.out,),
            area={name: sum_counts(self.kept.get(name, ()), self.unit) for name in self.classes},
            features=self.features,
            dropped={name: sum_counts(terms, self.unit) for name, terms in self.dropped.items()},
            dropped_features=self.dropped_features,
            notes=self.notes,
        )


def export_features(
    job: ExportJob, write: Callable[[Iterator[Features]], None], to_export: Affine, every_px: int = 0
) -> ExportReport:
    """Stream the joined objects of a run through a writer.

    to_export: corners (x, y) of plane pixels to the coordinates written. every_px: straight edges get a corner at least
    that often, at places all objects share; 0 adds none.
    """
    tally = Tally(unit=job.areas.unit, classes=job.classes)
    with open_labels(job) as labels:
        write(_features(job, labels, tally, to_export, every_px))
        tally.notes = labels.notes
    return tally.report(job)


def _features(job: ExportJob, labels: TileLabels, tally: Tally, to_export: Affine, every_px: int) -> Iterator[Features]:
    found = trace(job.plan.grid, lambda tile: labels.of(tile, unsegmented=UNSEEN), job.areas)
    for polygons in found:
        large = tally.sift(polygons, job.min_area)
        if large.any():
            plain = outlines_of(polygons.rings, Affine.identity())[large]
            objects = polygons.objects.of(large)
            rings = densified(polygons.rings, every_px) if every_px else polygons.rings
            outlines = outlines_of(rings, to_export)[large]
            yield Features(ids=_ids(job.plan, objects, plain), objects=objects, outlines=outlines)


def outlines_of(rings: Rings, to_export: Affine) -> NDArray[np.object_]:
    """(objects,) shapely polygons; outer rings counter-clockwise where y points up."""
    import shapely

    t, (y, x) = to_export, rings.corners.T.astype(np.float64)
    places = np.stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f], axis=1)
    found = shapely.from_ragged_array(shapely.GeometryType.POLYGON, places, (rings.ring_starts, rings.object_starts))
    return np.asarray(shapely.orient_polygons(found), object)


def _ids(plan: RunPlan, objects: Objects, outlines: NDArray[np.object_]) -> list[str]:
    import shapely

    names = (f"{plan.identity}:{plan.classes[label - 1]}" for label in objects.label)
    wkb = shapely.to_wkb(outlines, byte_order=1)
    return [str(uuid5(NAMESPACE, f"{name}:{shape.hex()}")) for name, shape in zip(names, wkb, strict=True)]


def to_map(plan: RunPlan) -> Affine:
    """Corners (x, y) of fine pixels to the CRS; to pixels of the image where it has none."""
    scale_y, scale_x = plan.fine.scale
    scale = Affine.scale(scale_x, scale_y)
    return Affine(*(scale if plan.image.transform is None else plan.image.transform @ scale)[:6])
