"""Reading tiles that have labels as a whole: one per file, or one per window of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.groups import Grouping
from classifiers.labels.items import Item
from classifiers.labels.looks import THREADS, Commonest
from classifiers.labels.sample import UNLABELLED, Sample, Skipped
from classifiers.labels.shelf import Piece
from tiling.errors import TilegateError
from tiling.source import Source
from tiling.window import Window

T = TypeVar("T")
AT_ONCE = 64
"""Tiles of one image that one thread reads before it hands them over."""
_NONE = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How items become tiles."""

    found: Commonest
    """What all images are."""
    side_px: int
    """Of the core."""
    halo_px: int
    """Around it."""
    groups: Grouping
    """Names of groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """An item to be read."""

    item: Item
    """Where it is."""
    code: int | None
    """What its pixels are in a mask, as LabelledTiles.masks; None = no masks are wanted."""


def pieces(wanted: Sequence[Coded], reading: Reading) -> Iterator[Piece | Skipped]:
    """One for each, in their order."""
    images = (list(same) for _, same in groupby(wanted, key=lambda each: each.item.uris))
    jobs = (job for image in images for job in chunks(image, AT_ONCE))
    return in_order(jobs, lambda job: list(_read_image(job, reading)))


def in_order(jobs: Iterable[list[T]], work: Callable[[list[T]], list[Piece | Skipped]]) -> Iterator[Piece | Skipped]:
    """What some threads make of the jobs; a few jobs at a time, so that what is read does not pile up."""
    with ThreadPoolExecutor(THREADS) as pool:
        for some in chunks(jobs, 16 * THREADS):
            for done in pool.map(work, some):
                yield from done


def chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Runs of at most `size` values."""
    rest = iter(values)
    while run := list(islice(rest, size)):
        yield run


def _read_image(job: Sequence[Coded], reading: Reading) -> Iterator[Piece | Skipped]:
    """The tiles of one image."""
    try:
        source = reading.found.opening.open(job[0].item.uris)
    except TilegateError as error:
        yield from (Skipped(name=each.item.name, why=str(error)) for each in job)
        return
    try:
        misfit = reading.found.misfit(source.info)
        for each in job:
            yield Skipped(name=each.item.name, why=misfit) if misfit else _read(each, source, reading)
    finally:
        source.close()


def _read(wanted: Coded, source: Source, reading: Reading) -> Piece | Skipped:
    """Its middle, where it is larger than the tile; what is around it on the image, where it is smaller."""
    item, side, opening = wanted.item, reading.side_px, reading.found.opening
    plane = opening.plane(source.info)
    whole = Window(y=0, x=0, height=plane.shape_px[0], width=plane.shape_px[1])
    own = _scaled(item.window, opening.downsample) if item.window else whole
    if own.intersection(whole) is None:
        return Skipped(name=item.name, why=f"{item.window} lies outside the image of {source.info.shape_px} px")
    core = Window(y=own.y + (own.height - side) // 2, x=own.x + (own.width - side) // 2, height=side, width=side)
    try:
        data, valid = source.read(core.pad(reading.halo_px), plane)
    except TilegateError as error:
        return Skipped(name=item.name, why=str(error))
    shown = _shown(own, core, reading.halo_px)
    if not valid[shown].any():
        return Skipped(name=item.name, why="no pixel of it holds data")
    return Piece(
        sample=_sample(item, own, reading),
        pixels=data,
        valid=valid,
        fractions=_NONE,
        mask=None if wanted.code is None else _constant(valid, shown, wanted.code),
        holes=not valid[shown].all(),
        fit="" if own.shape_px == (side, side) else "padded" if min(own.shape_px) < side else "cropped",
    )


def _sample(item: Item, own: Window, reading: Reading) -> Sample:
    """own: px of the plane; windows of one image are grouped by its name, or by where they are."""
    place = (own.y // reading.side_px, own.x // reading.side_px) if item.window else None
    return Sample(name=item.name, group=reading.groups.of(item.file, item.group, place), part=item.part)


def _scaled(window: Window, downsample: float) -> Window:
    """A window of the file on the plane that is read, in whole px."""
    height, width = (max(1, round(side / downsample)) for side in window.shape_px)
    return Window(y=round(window.y / downsample), x=round(window.x / downsample), height=height, width=width)


def _shown(own: Window, core: Window, halo_px: int) -> tuple[slice, slice]:
    """Rows and columns of what is read that are of the tile itself: neither halo nor what was added around it."""
    inside = own.intersection(core)
    assert inside is not None  # both have the same centre
    return inside.relative_to(core.pad(halo_px)).slices


def _constant(valid: NDArray[np.bool_], shown: tuple[slice, slice], code: int) -> NDArray[np.uint8]:
    """A mask of one class where the tile is what it was called."""
    mask = np.full(valid.shape, UNLABELLED, np.uint8)
    mask[shown] = np.where(valid[shown], code, UNLABELLED)
    return mask
