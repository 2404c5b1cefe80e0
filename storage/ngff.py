"""A run as OME-NGFF 0.5: an image of what it holds, and its mask as a label image (Zarr v3).

https://ngff.openmicroscopy.org/0.5/. Written shard by shard: memory does not grow with the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from storage.conventions import geo_group, ome_image
from storage.layout import FINE, GATE, MASK
from storage.plan import RunPlan
from storage.run import Run
from tiling.info import Plane
from tiling.window import Window

if TYPE_CHECKING:
    import zarr

    Arrays = zarr.Array[Any]

CHUNK_PX, SHARD_PX = 512, 1024
SMALLEST_PX = 512
"""Longest side of the last level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One class of the label image."""

    value: int
    """Its pixels hold this."""
    name: str
    """The class."""
    rgb: tuple[int, int, int]
    """Colour, 0 to 255."""
    properties: dict[str, Any]
    """Whatever else is known of it, as plain JSON."""


def write_ngff(
    run: Run, out: Path, name: str, labels: Sequence[Label], seen: Callable[[NDArray[np.uint8], Window], None]
) -> None:
    """The image group `out`, with labels/<name>. seen: told of every window (px of the fine plane) of the mask as written.

    Level 0 is the fine plane, which holds what was segmented and 0 elsewhere; level 1 the gate plane, which holds every
    tile that is not empty; further levels are halves. Pixels are means of those that hold something. Labels are sampled
    at the middle of a pixel: unlike the most frequent value, that keeps the share of rare classes.
    """
    import zarr

    plan = run.plan
    planes = {str(i): plane for i, plane in enumerate(levels(plan))}
    image = ome_image(plan, planes) | {"omero": _channels(plan)}
    root = zarr.open_group(out, mode="w", attributes={"ome": image, **geo_group(plan, planes)}, zarr_format=3)
    _write_image(root, run, list(planes.values()))
    root.create_group("labels", attributes={"ome": {"version": "0.5", "labels": [name]}})
    about = {"ome": ome_image(plan, planes, channel=None) | {"image-label": _image_label(labels)}}
    group = root.create_group(f"labels/{name}", attributes={**about, **geo_group(plan, planes, "nearest")})
    _write_labels(group, run, list(planes.values()), seen)


def levels(plan: RunPlan) -> list[Plane]:
    """Fine plane, gate plane, and halves of the last until it fits a screen."""
    planes = [plan.fine] if plan.one_plane else [plan.fine, plan.gate_plane]
    while max(planes[-1].shape_px) > SMALLEST_PX:
        height, width = planes[-1].shape_px
        planes.append(planes[-1].coarser((-(-height // 2), -(-width // 2)), 2))
    return planes


def _write_image(root: zarr.Group, run: Run, planes: Sequence[Plane]) -> None:
    plan, bands = run.plan, (len(run.plan.image.bands),)
    stored = [FINE] if plan.one_plane else [FINE, GATE]
    finer: Arrays | None = None
    for i, plane in enumerate(planes):
        level = _create(root, str(i), (*bands, *plane.shape_px), plan.image.dtype, ("c", "y", "x"))
        source = run.array(stored[i]) if i < len(stored) else None
        for window in windows(plane.shape_px, SHARD_PX):
            block = source[:, *window.slices] if source is not None else halved(finer, window)
            if np.any(block):
                level[:, *window.slices] = block
        finer = level


def _write_labels(
    group: zarr.Group, run: Run, planes: Sequence[Plane], seen: Callable[[NDArray[np.uint8], Window], None]
) -> None:
    mask = run.array(MASK)
    for i, plane in enumerate(planes):
        level = _create(group, str(i), plane.shape_px, "uint8", ("y", "x"))
        factors = plane.scale[0] / planes[0].scale[0], plane.scale[1] / planes[0].scale[1]
        for window in windows(plane.shape_px, SHARD_PX):
            block = sampled(mask, window, factors)
            if i == 0:
                seen(block, window)
            if block.any():
                level[window.slices] = block


def _create(group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str, names: tuple[str, ...]) -> Arrays:
    leading = shape[:-2]
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(*leading, CHUNK_PX, CHUNK_PX),
        shards=(*leading, SHARD_PX, SHARD_PX),
        fill_value=0,
        dimension_names=names,
    )


def windows(shape_px: tuple[int, int], side_px: int) -> Iterator[Window]:
    """Squares that partition a plane, row by row, clipped to it."""
    for y in range(0, shape_px[0], side_px):
        for x in range(0, shape_px[1], side_px):
            height, width = min(side_px, shape_px[0] - y), min(side_px, shape_px[1] - x)
            yield Window(y=y, x=x, height=height, width=width)


def sampled(mask: Any, window: Window, factors: tuple[float, float]) -> NDArray[np.uint8]:
    """(h, w) of a mask (y, x) at the middle of each pixel of a plane `factors` (y, x) times coarser. window: px of that."""
    if factors == (1, 1):
        return np.asarray(mask[window.slices])
    starts, sizes = (window.y, window.x), window.shape_px
    y, x = (
        np.minimum(np.floor((np.arange(start, start + size) + 0.5) * factor).astype(int), side - 1)
        for start, size, factor, side in zip(starts, sizes, factors, mask.shape, strict=True)
    )
    return np.asarray(mask.get_orthogonal_selection((y, x)))


def halved(finer: Any, window: Window) -> NDArray[Any]:
    """(band, h, w) means over 2 x 2 px of an array (band, y, x), of those that hold something. window: px of the result.

    A pixel holds something when none of its bands is NaN and one is not 0. Integers are rounded half up.
    """
    y, x = (slice(2 * part.start, 2 * part.stop) for part in window.slices)
    block = np.asarray(finer[:, y, x])
    pad = [(0, 0), *((0, 2 * side - have) for side, have in zip(window.shape_px, block.shape[1:], strict=True))]
    block = np.pad(block, pad)
    quads = block.reshape(len(block), window.height, 2, window.width, 2)
    holds = quads.any(0) & ~np.isnan(quads).any(0)
    mean = np.where(holds, quads, 0).sum((2, 4), dtype=np.float64) / np.maximum(holds.sum((1, 3)), 1)
    return np.asarray(np.floor(mean + 0.5) if block.dtype.kind in "iu" else mean, block.dtype)


def _channels(plan: RunPlan) -> dict[str, Any]:
    """`omero` (transitional in 0.5): how to show the bands, the first three as red, green and blue."""
    eight_bits = plan.image.dtype == "uint8"
    colours = ("FF0000", "00FF00", "0000FF") if len(plan.image.bands) > 1 else ("FFFFFF",)
    limits = {"min": 0, "max": 255 if eight_bits else 65535, "start": 0, "end": 255 if eight_bits else 10_000}
    shown = [
        {"label": band, "active": i < len(colours), "color": colours[i] if i < len(colours) else "FFFFFF"}
        for i, band in enumerate(plan.image.bands)
    ]
    return {"channels": [{**channel, "family": "linear", "window": dict(limits)} for channel in shown]}


def _image_label(labels: Sequence[Label]) -> dict[str, Any]:
    return {
        "version": "0.5",
        "colors": [{"label-value": label.value, "rgba": [*label.rgb, 255]} for label in labels],
        "properties": [{"label-value": label.value, "class": label.name, **label.properties} for label in labels],
        "source": {"image": "../../"},
    }
