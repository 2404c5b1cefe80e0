"""The plan of a run: everything that can change its result, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from affine import Affine

from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import ImageInfo, PixelSize, Plane
from tiling.source import MAX_PIXELS, SourceSpec

RESULTS_VERSION = 4
"""Raised by hand whenever a change of code changes results: runs made before cannot be resumed then."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run will do. Two runs with the same fingerprint give the same bytes."""

    name: str
    """Name of the recipe."""
    source: SourceSpec
    """How to open the image; of the fingerprint only its bands and nodata: the identity stands for the files."""
    identity: str
    """sha256 of the image's content."""
    image: ImageInfo
    """The image, with the bands the models read."""
    fine: Plane
    """The segmenter's plane."""
    grid: TileGrid
    """Tiles on the fine plane."""
    gate_tile_px: int
    """Side of a tile on the gate plane, px; tile_px when both planes are the same."""
    classes: tuple[str, ...]
    """The segmenter's classes: labels 1, 2, … of the mask."""
    models: dict[str, dict[str, str]]
    """{"gate" | "segmenter": {"name", "sha256"}}."""
    recipe: dict[str, Any]
    """The recipe with every default and fitted number filled in, as plain JSON."""
    aoi: str | None = None
    """The area of interest, px of the image, as base64 of WKB (downstream/zones_aoi.py); None = the whole image."""
    results_version: int = field(default_factory=lambda: RESULTS_VERSION)
    """Of the code that made the plan."""

    @cached_property
    def gate_grid(self) -> TileGrid:
        """The same tiles on the gate plane."""
        return self.grid.at(self.gate_tile_px)

    @cached_property
    def gate_plane(self) -> Plane:
        """The gate's plane."""
        return self.fine.coarser(self.gate_grid.shape_px, self.grid.tile_px / self.gate_tile_px)

    @property
    def one_plane(self) -> bool:
        """True when gate and segmenter work on the same pixels."""
        return self.gate_tile_px == self.grid.tile_px

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all that can change the result."""
        return hashlib.sha256(json.dumps(self._essence(), sort_keys=True).encode()).hexdigest()

    def _essence(self) -> dict[str, Any]:
        plain = to_json(self)
        plain["recipe"] = _finding(plain["recipe"])
        aoi = {} if self.aoi is None else {"aoi": hashlib.sha256(self.aoi.encode()).hexdigest()}
        image = {key: value for key, value in plain["image"].items() if key != "uri"}
        kept = ("identity", "fine", "grid", "gate_tile_px", "classes", "models", "recipe", "results_version")
        given = {key: plain["source"][key] for key in ("bands", "nodata")}
        return {**{key: plain[key] for key in kept}, **given, **aoi, "image": image}

    def differences(self, other: RunPlan) -> list[str]:
        """What differs, one line each: "recipe.gate.threshold: 0.1 -> 0.2"."""
        return _differences("", self._essence(), other._essence())


def _finding(recipe: dict[str, Any]) -> dict[str, Any]:
    """Without what does not decide what is found, so that it can be changed and the run goes on.

    gate.outside decides whether a run goes on, zones only how its areas are told; where the file of the area of
    interest lies does not matter, what is in it does (RunPlan.aoi).
    """
    gate, area = recipe.get("gate"), recipe.get("area")
    if isinstance(gate, dict):
        recipe = recipe | {"gate": {key: value for key, value in gate.items() if key != "outside"}}
    if isinstance(area, dict):
        told = ("zones", "zones_name", "aoi")
        recipe = recipe | {"area": {key: value for key, value in area.items() if key not in told}}
    return recipe


def _differences(path: str, ours: Any, theirs: Any) -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        return [
            line for key in keys for line in _differences(f"{path}.{key}".lstrip("."), ours.get(key), theirs.get(key))
        ]
    return [] if ours == theirs else [f"{path}: {ours} -> {theirs}"]


def to_json(plan: RunPlan) -> dict[str, Any]:
    """The plan as plain JSON."""
    image = {part.name: getattr(plan.image, part.name) for part in fields(plan.image)}
    image["transform"] = list(plan.image.transform)[:6] if plan.image.transform is not None else None
    image["pixel_size"] = asdict(plan.image.pixel_size)
    image["nodata"] = _json_number(plan.image.nodata)
    plain = {
        "name": plan.name,
        "source": asdict(plan.source) | {"nodata": _json_number(plan.source.nodata)},
        "identity": plan.identity,
        "image": image,
        "fine": asdict(plan.fine),
        "grid": asdict(plan.grid),
        "gate_tile_px": plan.gate_tile_px,
        "classes": plan.classes,
        "models": plan.models,
        "recipe": plan.recipe,
        "results_version": plan.results_version,
    } | ({} if plan.aoi is None else {"aoi": plan.aoi})
    return dict(json.loads(json.dumps(plain)))


def from_json(plain: dict[str, Any]) -> RunPlan:
    """The plan back. Raises BadInput when it was written by something else."""
    try:
        image, source, grid, fine = plain["image"], plain["source"], plain["grid"], plain["fine"]
        return RunPlan(
            name=plain["name"],
            source=SourceSpec(
                uris=tuple(source["uris"]),
                bands=tuple((name, want) for name, want in source["bands"]),
                nodata=_number(source["nodata"]),
                pixel_size=PixelSize(**source["pixel_size"]) if source["pixel_size"] else None,
                max_pixels=source.get("max_pixels", MAX_PIXELS),
            ),
            identity=plain["identity"],
            image=_image(image),
            fine=Plane(shape_px=_pair(fine["shape_px"]), scale=_pair(fine["scale"])),
            grid=TileGrid(**{**grid, "shape_px": _pair(grid["shape_px"])}),
            gate_tile_px=plain["gate_tile_px"],
            classes=tuple(plain["classes"]),
            models=plain["models"],
            recipe=dict(plain["recipe"]),
            aoi=plain.get("aoi"),
            results_version=int(plain["results_version"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"the run's plan is not one this version wrote: {error!r}") from error


def _image(image: dict[str, Any]) -> ImageInfo:
    return ImageInfo(
        **{
            **image,
            "shape_px": _pair(image["shape_px"]),
            "bands": tuple(image["bands"]),
            "nodata": _number(image["nodata"]),
            "pixel_size": PixelSize(**image["pixel_size"]),
            "transform": Affine(*image["transform"]) if image["transform"] else None,
        }
    )


def _json_number(value: float | None) -> float | str | None:
    """JSON has no NaN: it is written as a word."""
    return value if value is None or math.isfinite(value) else str(value)


def _number(value: float | str | None) -> float | None:
    return float(value) if isinstance(value, str) else value


def _pair(values: list[Any]) -> tuple[Any, Any]:
    first, second = values
    return first, second
