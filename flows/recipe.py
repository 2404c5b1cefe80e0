"""The recipe: what to look for and how. TOML, validated; also the flow's parameter in the Prefect UI."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from classifiers.bundle_contract import Wanted
from tiling.errors import BadInput

MAX_RECIPE_BYTES = 2**20
"""A larger file is no recipe and is not read to its end."""
RUNTIME = "Bundles only: what the network runs on; auto is the fastest that is known to answer as torch does."


class Strict(BaseModel):
    """Unknown keys are refused: a typo must not silently mean the default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageRecipe(Strict):
    """What the numbers in the file mean, for rules that cut an index of reflectance (ndwi, ndvi, ndsi)."""

    scale: float | dict[str, float] | None = Field(
        None,
        description="Reflectance per number in the file, such as 0.0001; for all bands, or by name: {green = 0.0001}. "
        "The file's own tags when empty.",
    )
    offset: float | dict[str, float] | None = Field(
        None, description="Reflectance of the number 0, such as -0.1; likewise."
    )
    radiometry: Literal["reflectance", "raw"] = Field(
        "reflectance", description="raw: the numbers are taken as they are, whatever the file's tags say."
    )


class TileRecipe(Strict):
    """The grid, in the segmenter's plane."""

    size_px: int = Field(512, ge=16, le=8192, description="Side of a tile, px.")
    halo_px: int = Field(0, ge=0, le=1024, description="Context read around a tile on each side, px.")
    batch: int = Field(8, ge=1, le=64, description="Tiles along one side of a batch: one shard, one writer.")
    pixel_size: float | None = Field(
        None, gt=0, description="Pixel size of the fine plane, m or um; the model's or the image's own when empty."
    )


class ScreenRecipe(Strict):
    """What is not even shown to the gate."""

    max_nodata: float = Field(1.0, gt=0, le=1, description="A tile with at least this share of nodata is empty.")
    min_tissue: float = Field(0.0, ge=0, le=1, description="Slides: a tile with less tissue than this share is empty.")
    tissue_cut: float | None = Field(None, description="Saturation that counts as tissue; fitted by Otsu when empty.")


class GateRecipe(Strict):
    """The cheap classifier that decides."""

    model: str = Field(description="A rule (ndwi, ndvi, ndsi, tissue, dab), a bundled gate, or the folder of a bundle.")
    cut: float | None = Field(None, description="Rules only: positive above this value of the rule.")
    positive: tuple[str, ...] = Field((), description="Classes that let a tile through; empty = all of the gate's.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="A tile passes at or above this score; 0 passes all; the bundle's own when empty."
    )
    recall: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Bundles only: instead of a threshold, the recall that it shall keep, such as 0.99.",
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="How sure to be of that recall.")
    recall_of: Literal["tiles", "area"] = Field(
        "tiles", description="Share of the tiles with the class, or of its area (on average, without a confidence)."
    )
    ring: int = Field(0, ge=0, le=16, description="Also segment this many rings of neighbours.")
    downsample: float | None = Field(
        None, ge=1, description="Gate pixels per fine pixel along one side; 8 for rules, the bundle's own otherwise."
    )
    runtime: Wanted | None = Field("auto", description=RUNTIME)
    outside: Literal["warn", "refuse"] = Field(
        "warn",
        description="Bundles only: what to do with an image most of which looks like nothing it was calibrated on.",
    )


class AuditRecipe(Strict):
    """How many rejected tiles are segmented anyway."""

    tiles: int = Field(100, ge=0, description="Gate-negative tiles drawn at random and segmented; 0 = no audit.")
    bound: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Instead of tiles: as many as it takes to say, if they hold nothing, that at most this share of the "
        "rejected area was missed.",
    )


class SegmentRecipe(Strict):
    """The expensive step."""

    model: str = Field(description="A rule, a bundled segmenter, or the folder of a bundle.")
    cut: float | None = Field(None, description="Rules only: positive above this value of the rule.")
    runtime: Wanted | None = Field("auto", description=RUNTIME)
    approve_above: int | None = Field(
        None,
        ge=0,
        description="Wait for an operator before more tiles than this are segmented, audited ones included; never when "
        "empty.",
    )


class AreaRecipe(Strict):
    """How areas are told to people; summary.json is always in m2 or um2."""

    unit: Literal["ha", "m2", "km2", "mm2", "um2"] = "ha"
    zones: str | None = Field(
        None,
        description="A file of polygons (any CRS; QuPath's GeoJSON on slides): areas are told for each of them, too.",
    )
    zones_name: str | None = Field(
        None, description="The column that names a zone; name or id when empty, else their number."
    )
    aoi: str | None = Field(
        None, description="A file of polygons: what lies outside of all of them is neither read nor counted."
    )
    method: Literal["ellipsoidal", "planar"] = Field(
        "ellipsoidal", description="Images with a CRS: true area, or map metres."
    )


class StoreRecipe(Strict):
    """What the run keeps."""

    pixels: bool = Field(True, description="Keep the pixels that gate and segmenter saw, beside the mask.")


class Recipe(Strict):
    """One question to an image."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$")
    image: ImageRecipe = ImageRecipe()
    tile: TileRecipe = TileRecipe()
    screen: ScreenRecipe = ScreenRecipe()
    gate: GateRecipe
    audit: AuditRecipe = AuditRecipe()
    segment: SegmentRecipe
    area: AreaRecipe = AreaRecipe()
    store: StoreRecipe = StoreRecipe()


def bundled_recipes() -> dict[str, Path]:
    """Recipes that come with tilegate, by name."""
    folder = Path(str(files("flows") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(name_or_path: str, changes: tuple[str, ...] = ()) -> Recipe:
    """A bundled recipe by name or a TOML file, with "key.sub=value" changes. Raises BadInput."""
    bundled = bundled_recipes()
    path = bundled.get(name_or_path, Path(name_or_path))
    try:
        plain = tomllib.loads(_read(path).decode())
    except FileNotFoundError:
        raise BadInput(f"no recipe {name_or_path}: neither a file nor one of {', '.join(bundled)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"recipe {path} is not readable TOML: {error}") from error
    for change in changes:
        _change(plain, change)
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise BadInput(f"recipe {path}: {_explain(error)}") from error


def planned_recipe(plain: dict[str, Any]) -> Recipe:
    """The recipe of a plan. Raises BadInput: the fingerprint does not hold all of it, so it may have been edited."""
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise BadInput(
            f"the plan's recipe was edited or damaged: {_explain(error)}. Measure the image anew."
        ) from error


def _read(path: Path) -> bytes:
    """All of a recipe. Raises ValueError for a file too large to be one."""
    with path.open("rb") as file:
        text = file.read(MAX_RECIPE_BYTES + 1)
    if len(text) > MAX_RECIPE_BYTES:
        raise ValueError(f"it is larger than {MAX_RECIPE_BYTES:,} bytes, a recipe is a page")
    return text


def _change(plain: dict[str, Any], change: str) -> None:
    key, found, text = change.partition("=")
    if not found or not key:
        raise BadInput(f"--set {change}: write it as key.sub=value, such as gate.threshold=0")
    *parents, last = key.strip().split(".")
    place = plain
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise BadInput(f"--set {change}: {parent} is not a table of the recipe")
    place[last] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except (ValueError, RecursionError):
        return text


def _explain(error: ValidationError) -> str:
    """Pydantic's findings, one line each."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key {where}; known: {', '.join(_known_keys(problem['loc']))}")
        else:
            lines.append(f"{where}: {problem['msg']} (given: {problem['input']!r:.80})")
    return "; ".join(lines)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Recipe
    for part in location[:-1]:
        model = model.model_fields[str(part)].annotation
    return list(model.model_fields)
