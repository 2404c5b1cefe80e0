"""Rules see reflectance where a file or a recipe says how to make it; networks see the numbers they learnt from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from numpy.typing import NDArray
from rasterio.transform import from_origin

from classifiers.bundle import load_bundle
from classifiers.bundle_schema import from_json as schema_from_json
from classifiers.bundle_schema import to_json as schema_to_json
from flows.engine import LocalEngine
from flows.models import bundle_folder
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from storage.plan import from_json, to_json
from tiling.errors import BadInput
from tiling.source import SourceSpec

SMALL = (
    "tile.size_px=32",
    "tile.batch=2",
    "gate.downsample=4",
    "gate.threshold=0",
    "audit.tiles=0",
    "area.method=planar",
)
CUTS = {"water": ("green", "nir", 0.0), "vegetation": ("nir", "red", 0.3), "snow": ("green", "swir", 0.4)}
"""(a, b, cut): positive where (a - b) / (a + b) > cut."""


def numbers(offset: int = 0) -> NDArray[np.uint16]:
    """(2, 90, 70): reflectance * 10000 + offset of anything there is, some of it as dark as can be."""
    rng = np.random.default_rng(11)
    low = rng.integers(0, 3, (2, 90, 70)) == 0
    return (np.where(low, rng.integers(0, 4, low.shape), rng.integers(0, 6000, low.shape)) + offset).astype(np.uint16)


def write(path: Path, pixels: NDArray[Any], bands: tuple[str, str], **profile: Any) -> Path:
    """`scales`, `offsets`: tags of the bands."""
    tags = {name: profile.pop(name) for name in ("scales", "offsets") if name in profile}
    shape = {"count": 2, "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place, **profile) as file:
        file.write(pixels)
        file.descriptions = bands
        for name, values in tags.items():
            setattr(file, name, values)
    return path


def measure(path: Path, out: Path, recipe: str, *changes: str, **spec: Any) -> Any:
    plan = make_plan(SourceSpec(uris=(str(path),), **spec), load_recipe(recipe, (*SMALL, *changes)))
    return execute(plan, out, LocalEngine(1), Silent())


def mask_of(folder: Path) -> NDArray[np.bool_]:
    return np.asarray(zarr.open_array(folder / "run.zarr" / "mask/0", mode="r")[...], bool)


def truth(path: Path, cut: float) -> NDArray[np.bool_]:
    """Of the whole image at once, by rasterio and numpy."""
    with rasterio.open(path) as file:
        raw = file.read().astype(float)
        a, b = np.clip(raw * np.array(file.scales)[:, None, None] + np.array(file.offsets)[:, None, None], 0, None)
    a, b = a.astype(np.float32).astype(float), b.astype(np.float32).astype(float)
    with np.errstate(invalid="ignore"):
        return np.asarray((a - b) / (a + b) > cut)


@pytest.mark.parametrize("recipe", CUTS)
def test_the_tags_of_a_file_are_applied_before_a_rule_cuts(tmp_path: Path, tilegate: Any, recipe: str) -> None:
    """To the pixel, and other than without the tags wherever the cut is not 0; told where it is looked for."""
    a, b, cut = CUTS[recipe]
    tagged = write(tmp_path / "tagged.tif", numbers(1000), (a, b), scales=(1e-4, 1e-4), offsets=(-0.1, -0.1))
    summary = measure(tagged, tmp_path / "run", recipe)
    np.testing.assert_array_equal(mask_of(tmp_path / "run"), truth(tagged, cut))
    row = {"scale": 1e-4, "offset": -0.1}
    assert summary["image"]["radiometry"] == {"bands": [{"name": a, **row}, {"name": b, **row}], "whence": "file"}
    assert json.loads((tmp_path / "run/summary.json").read_text()) == summary
    assert f"{a} x 0.0001 -0.1, {b} x 0.0001 -0.1 (by file)" in (tmp_path / "run/report.html").read_text()
    planned = tilegate("plan", tagged, "--recipe", recipe).out
    assert f"rules see reflectance: {a} x 0.0001 -0.1, {b} x 0.0001 -0.1 (by file)" in planned
    bare = write(tmp_path / "bare.tif", numbers(1000), (a, b))
    other = measure(bare, tmp_path / "bare", recipe)
    assert "radiometry" not in other["image"]
    pixels, raw = (each["area"]["classes"][0]["pixels"] for each in (summary, other))
    assert (raw < 0.8 * pixels) == (cut != 0)
    np.testing.assert_array_equal(mask_of(tmp_path / "bare"), truth(bare, cut))


@pytest.mark.parametrize("recipe", CUTS)
def test_both_baselines_of_sentinel_2_give_the_same_area(tmp_path: Path, recipe: str) -> None:
    """One scene as it was processed before baseline 04.00 and since: with tags, or said by the recipe."""
    a, b, _ = CUTS[recipe]
    before = write(tmp_path / "before.tif", numbers(), (a, b), scales=(1e-4, 1e-4), offsets=(0, 0))
    since = write(tmp_path / "since.tif", numbers(1000), (a, b), scales=(1e-4, 1e-4), offsets=(-0.1, -0.1))
    silent = write(tmp_path / "silent.tif", numbers(1000), (a, b))
    areas = {
        measure(before, tmp_path / "a", recipe)["area"]["classes"][0]["mapped"],
        measure(since, tmp_path / "b", recipe)["area"]["classes"][0]["mapped"],
        measure(silent, tmp_path / "c", recipe, "image.scale=0.0001", "image.offset=-0.1")["area"]["classes"][0][
            "mapped"
        ],
        measure(silent, tmp_path / "d", recipe, "image.offset=-1000")["area"]["classes"][0]["mapped"],
    }
    assert (
        len(areas) <= 2
    )  # the last is in units of 1/10000: what lies on the cut to the last digit may fall either way
    assert max(areas) - min(areas) <= 100.0 * 3
    np.testing.assert_array_equal(mask_of(tmp_path / "a"), mask_of(tmp_path / "b"))
    np.testing.assert_array_equal(mask_of(tmp_path / "a"), mask_of(tmp_path / "c"))


def test_raw_leaves_the_tags_aside(tmp_path: Path) -> None:
    tagged = write(tmp_path / "tagged.tif", numbers(1000), ("nir", "red"), scales=(1e-4, 1e-4), offsets=(-0.1, -0.1))
    bare = write(tmp_path / "bare.tif", numbers(1000), ("nir", "red"))
    summary = measure(tagged, tmp_path / "raw", "vegetation", "image.radiometry=raw")
    assert "radiometry" not in summary["image"]
    np.testing.assert_array_equal(mask_of(tmp_path / "raw"), truth(bare, 0.3))
    with pytest.raises(BadInput, match=r"takes no image\.scale"):
        measure(tagged, tmp_path / "both", "vegetation", "image.radiometry=raw", "image.offset=-0.1")


def test_nodata_is_a_number_of_the_file(tmp_path: Path) -> None:
    """1000 is no data, whatever its reflectance, and 0 is data, by the file or by hand."""
    pixels = numbers(1000)
    pixels[:, :20], pixels[:, 20:30] = 1000, 0
    tags = {"scales": (1e-4, 1e-4), "offsets": (-0.1, -0.1)}
    own = write(tmp_path / "own.tif", pixels, ("green", "nir"), nodata=1000, **tags)
    hand = write(tmp_path / "hand.tif", pixels, ("green", "nir"), **tags)
    valid = (pixels != 1000).all(0)
    assert not valid[:20].any()
    assert measure(own, tmp_path / "a", "water")["area"]["observed"] == valid.sum() * 100.0
    assert measure(hand, tmp_path / "b", "water", nodata=1000.0)["area"]["observed"] == valid.sum() * 100.0
    np.testing.assert_array_equal(mask_of(tmp_path / "a"), truth(own, 0.0) & valid)


def test_what_is_stored_are_the_numbers_of_the_file(tmp_path: Path) -> None:
    tagged = write(tmp_path / "tagged.tif", numbers(1000), ("nir", "red"), scales=(1e-4, 1e-4), offsets=(-0.1, -0.1))
    measure(tagged, tmp_path / "run", "vegetation")
    kept = zarr.open_array(tmp_path / "run/run.zarr/pixels/fine", mode="r")
    assert kept.dtype == np.uint16
    np.testing.assert_array_equal(kept[...], numbers(1000))


def test_a_network_sees_the_numbers_it_learnt_from(make_rgb: Any, land: Any, tmp_path: Path) -> None:
    """To the bit of every score and mask, and the plan is the same: nobody looks at the tags."""
    path = make_rgb(land((300, 300), seed=2))
    spec, changes = (
        SourceSpec(uris=(str(path),)),
        ("tile.size_px=128", "tile.halo_px=0", "tile.batch=2", "audit.tiles=0"),
    )
    plan = make_plan(spec, load_recipe("forest", changes))
    plain = execute(plan, tmp_path / "plain", LocalEngine(1), Silent())
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.004,) * 3, (-0.1,) * 3
    tagged = make_plan(spec, load_recipe("forest", changes))
    summary = execute(tagged, tmp_path / "tagged", LocalEngine(1), Silent())
    assert summary["area"]["classes"] == plain["area"]["classes"]
    np.testing.assert_array_equal(mask_of(tmp_path / "plain"), mask_of(tmp_path / "tagged"))
    assert "radiometry" not in summary["image"]
    assert [line for line in plan.differences(tagged) if "identity" not in line] == []
    with pytest.raises(
        BadInput, match=r"are for rules of reflectance \(ndwi, ndvi, ndsi\); .*forest-unet sees numbers"
    ):
        make_plan(spec, load_recipe("forest", (*changes, "image.offset=-0.1")))


def test_a_network_that_learnt_from_reflectance_is_shown_that(make_rgb: Any, land: Any, tmp_path: Path) -> None:
    """Bundles that say so: from numbers ten times as large and 100 higher they see, to the bit, what they saw."""
    pixels = land((300, 300), seed=2)
    plain = make_rgb(pixels)
    with rasterio.open(plain) as file:
        profile = file.profile | {"dtype": "uint16"}
    with rasterio.open(tmp_path / "tens.tif", "w", **profile) as file:
        file.write(pixels.astype(np.uint16) * 10 + 100)
        file.scales, file.offsets = (0.1,) * 3, (-10.0,) * 3
        file.descriptions = ("red", "green", "blue")
    for room, name in (("classifiers", "forest-gate"), ("downstream", "forest-unet")):
        shutil.copytree(bundle_folder(room) / name, tmp_path / name)
        said = json.loads((tmp_path / name / "bundle.json").read_text())
        told = said | {"tilegate:dtype": "float32", "tilegate:sees": "reflectance"}
        (tmp_path / name / "bundle.json").write_text(json.dumps(told))
        bundle = load_bundle(tmp_path / name, tmp_path)
        assert bundle.model.sees == "reflectance"
        assert schema_from_json(schema_to_json(bundle), bundle.path).sees == "reflectance"
    changes = ("tile.size_px=128", "tile.batch=2", "audit.tiles=0", "gate.threshold=0", "segment.runtime=torch")
    others = (f"gate.model={tmp_path}/forest-gate", f"segment.model={tmp_path}/forest-unet")
    for path, out, more in ((plain, "a", ()), (tmp_path / "tens.tif", "b", others)):
        plan = make_plan(SourceSpec(uris=(str(path),)), load_recipe("forest", (*changes, *more)))
        assert execute(plan, tmp_path / out, LocalEngine(1), Silent())["tiles"]["failed"] == 0
    assert 0.1 < mask_of(tmp_path / "a").mean() < 0.97
    np.testing.assert_array_equal(mask_of(tmp_path / "a"), mask_of(tmp_path / "b"))
    with pytest.raises(BadInput, match="holds uint16 values; forest-gate was trained on float32"):
        make_plan(
            SourceSpec(uris=(str(tmp_path / "tens.tif"),)), load_recipe("forest", (*others, "image.radiometry=raw"))
        )


def test_the_plan_keeps_it_and_a_run_goes_on_only_with_the_same(tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.tif", numbers(1000), ("nir", "red"))
    spec = SourceSpec(uris=(str(silent),))
    plain, said = (
        make_plan(spec, load_recipe("vegetation", (*SMALL, *more)))
        for more in ((), ("image.scale=0.0001", "image.offset={red=-0.1,nir=-0.05}"))
    )
    assert said.image.radiometry is not None
    assert said.image.radiometry.offset == (-0.05, -0.1)
    assert from_json(to_json(said)) == said
    assert from_json(to_json(said)).fingerprint == said.fingerprint != plain.fingerprint
    (line,) = plain.differences(said)
    assert line.startswith("image.radiometry: None -> {")
    assert "radiometry" not in to_json(plain)["image"]  # as plans of before there was any


def test_a_wrong_unit_is_refused_with_the_right_one(tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.tif", numbers(1000), ("nir", "red"))
    with pytest.raises(BadInput, match=r"-1000 over 10000 is image\.scale = 0\.0001"):
        measure(silent, tmp_path / "run", "vegetation", "image.scale=0.0001", "image.offset=-1000")
    assert not (tmp_path / "run").exists()


def test_what_is_evaluated_and_explained_is_what_a_run_sees(tmp_path: Path, tilegate: Any) -> None:
    """A rule against the masks that rasterio and numpy make of the tags; an image with other tags is left out."""
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/masks").mkdir()
    tags = {"scales": (1e-4, 1e-4), "offsets": (-0.1, -0.1)}
    for i in range(11):
        path = write(tmp_path / f"data/images/{i}.tif", numbers(1000), ("nir", "red"), **(tags if i else {}))
        with rasterio.open(path) as file:
            profile = file.profile | {"count": 1, "dtype": "uint8"}
        with rasterio.open(tmp_path / f"data/masks/{i}.tif", "w", **profile) as file:
            file.write(truth(path, 0.3).astype(np.uint8), 1)
    seen = tilegate("evaluate", "segmenter", "ndvi", tmp_path / "data", "--json", "--set", "data.tile_px=32")
    assert seen.code == 0, seen.err
    assert seen.json["iou"] == 1.0
    assert [left["name"] for left in seen.json["skipped"]] == ["images/0.tif"]
    image = tmp_path / "data/images/1.tif"
    told = tilegate("explain", "ndvi", image, "--out", tmp_path / "seen", "--json")
    assert told.code == 0, told.err
    assert told.json["tiles"][0]["score"] == pytest.approx(truth(image, 0.3).mean(), abs=1e-6)
