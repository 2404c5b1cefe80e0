"""Where the planes of a run lie, in the words of OME-NGFF 0.5 and of the Zarr conventions that GeoZarr is made of. Pure.

OME-NGFF 0.5: https://ngff.openmicroscopy.org/0.5/. Zarr conventions: https://github.com/zarr-conventions, `multiscales`,
`proj` and `spatial`, each at its tag v0.1; of slides, which have no CRS, all but `proj`. All of it is read beside the
data and changes none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affine import Affine

from storage.layout import FINE, GATE, MASK, ArrayLayout
from storage.plan import RunPlan
from tiling.info import ImageInfo, Plane

UNITS = {"m": "meter", "um": "micrometer"}
"""Names of OME-NGFF, which are those of UDUNITS-2."""
_COARSER = {
    True: {"type": "mean", "metadata": {"description": "means of the finer pixels that hold data"}},
    False: {"type": "nearest", "metadata": {"description": "the finest label at the middle of each pixel"}},
}
"""How coarser levels of images (True) and of labels came to be, which OME-NGFF 0.5 says should be told."""
_CONVENTIONS = {
    "multiscales": ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    "proj": ("f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information for geospatial data"),
    "spatial": ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
}


def root_attributes(plan: RunPlan) -> dict[str, Any]:
    """What the root of run.zarr says of its pixel planes. The fine one holds only what was segmented."""
    planes = {FINE: plan.fine} | ({} if plan.one_plane else {GATE: plan.gate_plane})
    return {"ome": ome_image(plan, planes, channel="band"), **geo_group(plan, planes)}


def array_attributes(plan: RunPlan, layout: ArrayLayout) -> dict[str, Any]:
    """What an array says of itself, so that it can be opened alone; where it lies unless its pixels are bare."""
    plane = plan.gate_plane if layout.name == GATE else plan.fine
    classes = {"tilegate:classes": ["background", *plan.classes]} if layout.name == MASK else {}
    return _geo_array(plan, plane) | classes


def ome_image(plan: RunPlan, planes: Mapping[str, Plane], channel: str | None = "c") -> dict[str, Any]:
    """OME-NGFF 0.5 `ome` of an image. planes: by path, the finest first. channel: name of the first axis, None = (y, x).

    Sizes are those of the ground or the glass; for a geographic CRS at the image's centre, exact places are under
    `spatial:transform`. The middle of the finest plane's first pixel would be the origin, so that levels lie on each
    other; what was scanned of a slide (openslide.bounds) lies as far from it as from the slide's corner.
    """
    first, unit = next(iter(planes.values())), UNITS[plan.image.pixel_size.unit]
    axes = [{"name": name, "type": "space", "unit": unit} for name in ("y", "x")]
    datasets = [
        {"path": path, "coordinateTransformations": _transformations(plan, plane, first, channel is not None)}
        for path, plane in planes.items()
    ]
    leading = [{"name": channel, "type": "channel"}] if channel else []
    image = {"name": plan.name, "axes": leading + axes, "datasets": datasets, **_COARSER[channel is not None]}
    return {"version": "0.5", "multiscales": [image]}


def _transformations(plan: RunPlan, plane: Plane, first: Plane, channel: bool) -> list[dict[str, Any]]:
    native = plan.image.pixel_size
    size, origin = native.times(plane.scale), native.times(first.scale)
    leading = channel * [1.0], channel * [0.0]
    scale: dict[str, Any] = {"type": "scale", "scale": [*leading[0], size.y, size.x]}
    y, x = plan.image.origin_px
    moved = [*leading[1], y * native.y + (size.y - origin.y) / 2, x * native.x + (size.x - origin.x) / 2]
    return [scale, {"type": "translation", "translation": moved}] if any(moved) else [scale]


def geo_group(plan: RunPlan, planes: Mapping[str, Plane], method: str = "average") -> dict[str, Any]:
    """`multiscales`, `proj:` and `spatial:` of a group of planes; {} for bare pixels.

    Shape and transform stand at each level and only there, as the spatial convention asks. No level is derived from
    another: each was read from the image.
    """
    transform = place_of(plan.image)
    if transform is None:
        return {}
    first = next(iter(planes.values()))
    levels = [{"asset": path, **_place(transform, plane)} for path, plane in planes.items()]
    return {
        "zarr_conventions": [_registered(name) for name in ("multiscales", *_named(plan.image))],
        "multiscales": {"layout": levels, "resampling_method": method},
        **_crs(plan.image),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": _bounds(transform, first),
        "spatial:registration": "pixel",
    }


def _geo_array(plan: RunPlan, plane: Plane) -> dict[str, Any]:
    transform = place_of(plan.image)
    if transform is None:
        return {}
    return {
        "zarr_conventions": [_registered(name) for name in _named(plan.image)],
        **_crs(plan.image),
        "spatial:dimensions": ["y", "x"],
        **_place(transform, plane),
        "spatial:bbox": _bounds(transform, plane),
        "spatial:registration": "pixel",
    }


def place_of(image: ImageInfo) -> Affine | None:
    """Pixel edges (x, y) to the CRS; of slides to um from the whole slide's corner, y downwards; None for bare pixels."""
    if image.kind == "slide":
        y, x = image.origin_px
        return Affine.scale(image.pixel_size.x, image.pixel_size.y) @ Affine.translation(x, y)
    return None if image.crs is None else image.transform


def _named(image: ImageInfo) -> tuple[str, ...]:
    return ("spatial",) if image.crs is None else ("proj", "spatial")


def _crs(image: ImageInfo) -> dict[str, Any]:
    return {} if image.crs is None else crs_attributes(image.crs)


def crs_attributes(crs: str) -> dict[str, Any]:
    """proj:code where an authority knows the CRS, and proj:wkt2, which is WKT 2:2019 (ISO 19162)."""
    from pyproj import CRS

    known = CRS.from_user_input(crs)
    authority = known.to_authority(min_confidence=100)
    return ({"proj:code": ":".join(authority)} if authority else {}) | {"proj:wkt2": known.to_wkt("WKT2_2019")}


def _registered(name: str) -> dict[str, str]:
    uuid, about = _CONVENTIONS[name]
    home = f"zarr-conventions/{name}"
    return {
        "schema_url": f"https://raw.githubusercontent.com/{home}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/{home}/blob/v0.1/README.md",
        "uuid": uuid,
        "name": name,
        "description": about,
    }


def _place(transform: Affine, plane: Plane) -> dict[str, Any]:
    """Shape (height, width) px, and pixel edges (column, row) to CRS coordinates."""
    scaled = transform @ Affine.scale(plane.scale[1], plane.scale[0])
    return {"spatial:shape": list(plane.shape_px), "spatial:transform": list(scaled)[:6]}


def _bounds(transform: Affine, plane: Plane) -> list[float]:
    """[xmin, ymin, xmax, ymax] of the plane's four corners, in the CRS."""
    height, width = (px * by for px, by in zip(plane.shape_px, plane.scale, strict=True))
    corners = [transform @ (x, y) for y in (0.0, height) for x in (0.0, width)]
    return [float(pick(corner[axis] for corner in corners)) for pick in (min, max) for axis in (0, 1)]
