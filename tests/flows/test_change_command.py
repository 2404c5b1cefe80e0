"""tilegate change on real small runs: one grid, other grids, holes, nodata, and what is refused."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from PIL import Image
from rasterio.enums import Resampling
from rasterio.transform import Affine, from_origin
from rasterio.warp import reproject, transform_bounds

from flows.change.dates import date_of
from flows.change.display import change_text
from storage.run import Run

EVERYTHING = ("gate.threshold=0", "audit.tiles=0")
PLANAR = (*EVERYTHING, "area.method=planar")  # for truths by pencil


def mask_of(run: Path):
    return np.asarray(zarr.open_array(run / "run.zarr/mask/0", mode="r")[...]) > 0


def move_lakes(scene, by=(15, -20)):
    """The same scene at a later date: its lakes have moved, y and x."""
    with rasterio.open(scene.path, "r+") as file:
        file.write(np.roll(file.read(), by, axis=(1, 2)))
    return scene


def water(result):
    return next(row for row in result["classes"] if row["name"] == "water")


@pytest.fixture
def two_dates(make_scene, measure, tmp_path):
    """Runs `a` and `b` of everything, on one grid; lakes move in between."""
    measure(make_scene(name="s_20100131.tif"), *PLANAR, out="a")
    measure(move_lakes(make_scene(name="s_20200131.tif")), *PLANAR, out="b")
    return tmp_path / "a", tmp_path / "b"


def test_one_grid_is_a_numpy_one_liner(two_dates, tilegate):
    a, b = map(mask_of, two_dates)
    done = tilegate("change", *two_dates, "--json")
    row = water(done.json)
    assert done.code == 0
    assert (row["gained"]["pixels"], row["lost"]["pixels"]) == ((b & ~a).sum(), (a & ~b).sum())
    assert row["stable"]["pixels"] == (a & b).sum() > 0
    assert row["net"]["pixels"] == int(b.sum()) - int(a.sum())
    assert row["gained"]["area"] == 100.0 * (b & ~a).sum() == row["gained"]["low"] == row["gained"]["high"]
    assert done.json["matrix"]["pixels"] == [[(~a & ~b).sum(), (b & ~a).sum()], [(a & ~b).sum(), (a & b).sum()]]
    assert done.json["grid"]["resampled"] is None
    assert done.json["area"]["both"] == 300 * 260 * 100.0
    assert (done.json["a"]["date"], done.json["b"]["date"]) == ("2010-01-31", "2020-01-31")


def test_a_run_against_itself_has_not_changed(two_dates, tilegate):
    found = tilegate("change", two_dates[0], two_dates[0], "--json").json
    assert (water(found)["gained"]["pixels"], water(found)["lost"]["pixels"]) == (0, 0)
    assert water(found)["stable"]["pixels"] == mask_of(two_dates[0]).sum()


def test_swapped_dates_swap_gain_and_loss_and_say_so(two_dates, tilegate):
    there, back = (tilegate("change", *pair, "--json").json for pair in (two_dates, two_dates[::-1]))
    assert water(there)["gained"] == water(back)["lost"]
    assert water(there)["lost"] == water(back)["gained"]
    assert any("A is later than B" in note for note in back["notes"])
    assert not any("A is later than B" in note for note in there["notes"])


def test_windows_do_not_change_a_bit(make_scene, measure, tmp_path, tilegate, monkeypatch):
    geographic = {"transform": from_origin(12.0, 47.0, 1e-4, 1e-4), "crs": "EPSG:4326"}
    measure(make_scene(name="a.tif", **geographic), *EVERYTHING, out="a")
    measure(move_lakes(make_scene(name="b.tif", **geographic)), *EVERYTHING, out="b")
    whole = tilegate("change", tmp_path / "a", tmp_path / "b", "--json").json
    monkeypatch.setattr("flows.change.compare.WINDOW_PX", 1)
    pieces = tilegate("change", tmp_path / "a", tmp_path / "b", "--json").json
    assert pieces["matrix"]["pixels"] == whole["matrix"]["pixels"]
    assert water(pieces)["gained"]["area"] == pytest.approx(water(whole)["gained"]["area"], rel=1e-13)
    assert whole["area"]["method"] == "ellipsoidal"


@pytest.mark.parametrize(
    ("crs", "step", "base"), [("EPSG:4326", 1.3e-4, "a"), ("EPSG:32632", 10.0, "a"), ("EPSG:32632", 7.0, "b")]
)
def test_other_grids_are_what_gdal_makes_of_them(make_scene, measure, tmp_path, tilegate, crs, step, base):
    """Nearest neighbour on the finer grid; pixels whose centre is within rounding of an edge may go either way."""
    west, _, _, north = transform_bounds("EPSG:32633", crs, 500_300, 4_997_500, 502_300, 4_999_500)
    first, second = (
        make_scene(name="a.tif"),
        make_scene(name="b.tif", transform=from_origin(west, north, step, step), crs=crs),
    )
    measure(first, *EVERYTHING, out="a")
    measure(second, *EVERYTHING, out="b")
    found = tilegate("change", tmp_path / "a", tmp_path / "b", "--json").json
    masks = {"a": first.water.astype(np.uint8), "b": second.water.astype(np.uint8)}
    places = {}
    for name, scene in (("a", first), ("b", second)):
        with rasterio.open(scene.path) as file:
            places[name] = {"crs": file.crs, "transform": file.transform}
    other = "b" if base == "a" else "a"
    laid = np.full(masks[base].shape, 255, np.uint8)
    reproject(
        masks[other], laid, src_crs=places[other]["crs"], src_transform=places[other]["transform"],
        dst_crs=places[base]["crs"], dst_transform=places[base]["transform"],
        resampling=Resampling.nearest, init_dest_nodata=False, tolerance=0,
    )  # fmt: skip
    on = {base: masks[base], other: laid}
    truth = [[((on["a"] == i) & (on["b"] == j)).sum() for j in (0, 1)] for i in (0, 1)]
    assert (found["grid"]["of"], found["grid"]["resampled"]) == (base, other)
    assert np.abs(np.array(found["matrix"]["pixels"]) - truth).max() <= 0.002 * laid.size
    assert found["area"]["pixels"][f"only_{base}"] == pytest.approx((laid == 255).sum(), abs=0.002 * laid.size)
    assert water(found)["stable"]["pixels"] > 100
    assert any(f"on the grid of {base.upper()}" in note for note in found["notes"])


def test_a_grid_moved_by_whole_pixels_is_compared_pixel_by_pixel(make_scene, measure, tmp_path, tilegate):
    measure(make_scene(name="a.tif"), *EVERYTHING, out="a")
    measure(make_scene(name="b.tif", transform=from_origin(500_300, 4_999_800, 10, 10)), *EVERYTHING, out="b")
    found = tilegate("change", tmp_path / "a", tmp_path / "b", "--json").json
    a, b = mask_of(tmp_path / "a")[20:, 30:], mask_of(tmp_path / "b")[:-20, :-30]
    assert (found["grid"]["resampled"], found["grid"]["shift_px"]) == (None, [-20, -30])
    assert water(found)["gained"]["pixels"] == (b & ~a).sum()
    assert water(found)["lost"]["pixels"] == (a & ~b).sum()
    assert found["area"]["pixels"] == {"both": a.size, "only_a": 300 * 260 - a.size, "only_b": 0, "neither": 0}


def test_nodata_of_either_date_is_no_change(make_scene, measure, tmp_path, tilegate):
    """A cloud masked out over the lake is no loss of water."""
    first, second = make_scene(name="a.tif", nodata=0), make_scene(name="b.tif", nodata=0)
    for scene, hole in ((first, np.s_[:, 230:250, :]), (second, np.s_[:, 33:71, 41:77])):
        with rasterio.open(scene.path, "r+") as file:
            pixels = file.read()
            pixels[hole] = 0
            file.write(pixels)
    for scene, out in ((first, "a"), (second, "b")):
        measure(scene, "gate.threshold=0.2", "audit.tiles=5", out=out)
    done = tilegate("change", tmp_path / "a", tmp_path / "b", "--json")
    valid_a, valid_b = np.ones((300, 260), bool), np.ones((300, 260), bool)
    valid_a[230:250], valid_b[33:71, 41:77] = False, False
    a, b, both = mask_of(tmp_path / "a"), mask_of(tmp_path / "b"), valid_a & valid_b
    row = water(done.json)
    assert done.code == 0
    assert done.json["area"]["pixels"] == {
        "both": both.sum(),
        "only_a": (valid_a & ~valid_b).sum(),
        "only_b": (valid_b & ~valid_a).sum(),
        "neither": (~valid_a & ~valid_b).sum(),
    }
    assert row["gained"]["pixels"] == (b & ~a & both).sum()
    assert row["lost"]["pixels"] == (a & ~b & both).sum()


def test_without_its_image_a_tile_with_nodata_is_not_observed(make_scene, measure, tmp_path, tilegate):
    """Only the image knows where the nodata of a tile lies; when it is gone, nothing is guessed."""
    first, second = make_scene(name="a.tif", nodata=0), make_scene(name="b.tif", nodata=0)
    with rasterio.open(second.path, "r+") as file:
        pixels = file.read()
        pixels[:, 40:50, 70:80] = 0
        file.write(pixels)
    for scene, out in ((first, "a"), (second, "b")):
        measure(scene, *PLANAR, out=out)
    second.path.unlink()
    done = tilegate("change", tmp_path / "a", tmp_path / "b", "--json")
    assert done.code == 3
    assert done.json["status"] == "partial"
    assert done.json["area"]["failed"] == {"a": 0.0, "b": 32 * 32 * 100.0}
    assert done.json["area"]["only_a"] == 32 * 32 * 100.0
    assert any("Tiles of B with some nodata in them: 1." in note for note in done.json["notes"])


def test_tiles_that_failed_are_neither_gained_nor_lost(two_dates, tmp_path, tilegate, make_scene, measure):
    """A block of B cannot be decoded: the water under it is not lost, and the command says what is missing."""
    broken = make_scene(name="broken.tif", compress="deflate")
    with rasterio.open(broken.path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    data = bytearray(broken.path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    broken.path.write_bytes(data)
    summary = measure(broken, *PLANAR, out="broken")
    lost = summary["area"]["not_observed"]
    done = tilegate("change", two_dates[0], tmp_path / "broken", "--json")
    a = mask_of(two_dates[0])
    assert lost > 0
    assert done.code == 3
    assert done.json["area"]["failed"] == {"a": 0.0, "b": lost}
    assert done.json["area"]["only_a"] == lost
    assert water(done.json)["lost"]["pixels"] == 0
    assert 0 < water(done.json)["stable"]["pixels"] < a.sum()
    told = tilegate("change", two_dates[0], tmp_path / "broken")
    assert told.code == 3
    assert "PARTIAL" in told.out


def test_the_bounds_of_both_audits_are_carried_over(make_scene, measure, tmp_path, tilegate):
    """A strict gate skips water; the truth of everything segmented lies within what the audited runs say."""
    scenes = make_scene(name="a.tif"), move_lakes(make_scene(name="b.tif"))
    for scene, out in zip(scenes, "ab", strict=True):
        measure(scene, "gate.threshold=0.9", "gate.ring=0", "audit.tiles=6", out=out)
        measure(scene, *EVERYTHING, out=f"{out}_all")
    gated = tilegate("change", tmp_path / "a", tmp_path / "b", "--json").json
    truth = tilegate("change", tmp_path / "a_all", tmp_path / "b_all", "--json").json
    for kind in ("stable", "gained", "lost", "net"):
        found = water(gated)[kind]
        assert found["low"] < found["high"]
        assert found["low"] <= water(truth)[kind]["area"] <= found["high"]
    assert water(gated)["gained"]["area"] != water(truth)["gained"]["area"]
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert water(gated)["missed"]["a"]["high"] == summary["area"]["classes"][0]["missed_high"]
    assert gated["area"]["rejected"]["a"] > 0


def test_the_folder_holds_four_files_that_say_the_same(two_dates, tmp_path, tilegate):
    done = tilegate("change", *two_dates, "--out", tmp_path / "out" / "change", "--json")
    folder = tmp_path / "out" / "change"
    assert json.loads((folder / "change.json").read_text()) == done.json
    (row,) = csv.DictReader(io.StringIO((folder / "change.csv").read_text()))
    assert float(row["gained"]) == water(done.json)["gained"]["area"] / 1e4
    assert (row["unit"], row["in"]) == ("ha", "both")
    png, page = (folder / "change.png").read_bytes(), (folder / "change.html").read_text()
    assert base64.b64encode(png).decode() in page
    assert not re.findall(r'(?:src|href)=(?!"data:)', page)  # nothing from elsewhere
    colours = {pixel for _, pixel in Image.open(io.BytesIO(png)).getcolors(2**24)}
    assert {(0, 114, 178), (213, 94, 0), (70, 70, 70)} <= colours
    assert f"{water(done.json)['lost']['area'] / 1e4:.4g} ha" in page


def test_runs_made_in_other_ways_and_other_classes_are_told(make_scene, measure, tmp_path, tilegate):
    scene = make_scene()
    measure(scene, *EVERYTHING, out="a")
    measure(scene, *EVERYTHING, "segment.cut=0.1", out="b")
    measure(scene, *EVERYTHING, recipe="vegetation", bands=(("nir", 2), ("red", 1)), out="c")
    cut = tilegate("change", tmp_path / "a", tmp_path / "b", "--json").json
    assert any("recipe.segment.cut: 0.0 -> 0.1" in note for note in cut["notes"])
    other = tilegate("change", tmp_path / "a", tmp_path / "c", "--json").json
    assert [(row["name"], row["in"], row["gained"]) for row in other["classes"]] == [
        ("water", "a", None),
        ("vegetation", "b", None),
    ]
    assert any("water (A), vegetation (B)" in note for note in other["notes"])
    assert "only A looks for it" in change_text(other)
    done = tilegate("change", tmp_path / "a", tmp_path / "c", "--out", tmp_path / "out")  # no class to draw
    assert done.code == 0
    assert Image.open(tmp_path / "out" / "change.png").size[0] > 640


def test_what_is_refused(two_dates, make_scene, measure, tmp_path, tilegate):
    far = make_scene(name="far.tif", transform=from_origin(700_000, 5_000_000, 10, 10))
    measure(far, *EVERYTHING, out="far")
    apart = tilegate("change", two_dates[0], tmp_path / "far")
    assert apart.code == 2
    assert "x 500000 to 502600" in apart.err
    assert "x 700000 to 702600" in apart.err
    assert tilegate("change", two_dates[0], tmp_path / "nothing").code == 2
    (two_dates[1] / "summary.json").unlink()
    unfinished = tilegate("change", *two_dates)
    assert unfinished.code == 2
    assert "tilegate resume" in unfinished.err


def test_a_mask_that_went_away_is_no_background(two_dates, tilegate):
    """Zarr reads a missing shard as zeros: all water would be lost."""
    shard = next(path for path in sorted((two_dates[1] / "run.zarr/mask/0/c").rglob("*")) if path.is_file())
    shard.unlink()
    done = tilegate("change", *two_dates)
    assert done.code == 2
    assert shard.name in done.err
    assert "tilegate resume" in done.err


@pytest.mark.parametrize(
    ("uri", "date"),
    [
        ("/data/landsat/1985.tif", "1985"),
        ("naip/m_4709963_se_14_1_20090818.tif", "2009-08-18"),
        ("Boadella_2020-01-13.tif", "2020-01-13"),
        ("S2A_MSIL1C_20181013T155151_N0206.SAFE/B02.jp2", "2018-10-13"),
        ("s2_nc_20181013/B02.tiff,s2_nc_20181013/B03.tiff", "2018-10-13"),
        ("20100101_20200101.tif", None),
        ("scene_20201399.tif", None),
        ("tile_12019850.tif", None),
        ("scene.tif", None),
    ],
)
def test_dates_are_read_from_names_and_never_guessed(uri, date):
    assert date_of(uri) == date


def test_rotated_grids_meet(make_scene, measure, tmp_path, tilegate):
    turned = Affine(10, 0, 500_000, 0, -10, 5_000_000) @ Affine.rotation(20)
    measure(make_scene(name="a.tif"), *EVERYTHING, out="a")
    measure(make_scene(name="b.tif", transform=turned), *EVERYTHING, out="b")
    found = tilegate("change", tmp_path / "a", tmp_path / "b", "--json").json
    assert found["grid"]["resampled"] == "b"
    assert 0 < found["area"]["both"] < 300 * 260 * 100.0


def test_slides_of_one_scan_are_compared_pixel_by_pixel(tiny_slide, tmp_path, tilegate):
    """Glass has no place: the same shape and pixel size, or both are told and nothing is compared."""
    rgb = np.full((128, 192, 3), 240, np.uint8)
    rgb[20:60, 30:90] = (200, 40, 90)
    later = rgb.copy()
    later[40:100, 30:60] = (200, 40, 90)
    slides = {"a": tiny_slide(rgb, name="a.tif"), "b": tiny_slide(later, name="b.tif")}
    slides["c"] = tiny_slide(rgb, (0.25, 0.25), name="c.tif")
    recipe = ("--recipe", "tissue", "--set", "gate.threshold=0", "--set", "segment.cut=0.5", "--set", "tile.size_px=64")
    for name, slide in slides.items():
        assert tilegate("run", slide, *recipe, "--out", tmp_path / name).code == 0
    found = tilegate("change", tmp_path / "a", tmp_path / "b", "--json").json
    (row,) = found["classes"]
    assert found["area"]["unit"] == "um2"
    assert (row["gained"]["pixels"], row["lost"]["pixels"], row["stable"]["pixels"]) == (40 * 30, 0, 40 * 60)
    assert row["gained"]["area"] == 40 * 30 * 0.25
    refused = tilegate("change", tmp_path / "a", tmp_path / "c")
    assert refused.code == 2
    assert "128 x 192 px of 0.5 x 0.5 um" in refused.err
    assert "128 x 192 px of 0.25 x 0.25 um" in refused.err


def test_dates_come_from_the_images_before_their_names_and_the_page_says_whence(
    make_scene, measure, tmp_path, tilegate
):
    """The tag of a file wins over its name and that is told; a plan keeps the date, its fingerprint does not."""
    for name, stamp in (("scene_2020.tif", "2021:03:04 05:06:07"), ("scene_2018-05-06.tif", "")):
        scene = make_scene(name=name)
        with rasterio.open(scene.path, "r+") as file:
            file.update_tags(**({"TIFFTAG_DATETIME": stamp} if stamp else {}))
        summary = measure(scene, *EVERYTHING, out=name[:-4])
        told = {"date": "2021-03-04", "date_from": "TIFFTAG_DATETIME"} if stamp else {}
        assert {key: value for key, value in summary["image"].items() if key.startswith("date")} == told
    plan = Run.open(tmp_path / "scene_2020").plan
    assert replace(plan, image=replace(plan.image, date=None)).fingerprint == plan.fingerprint
    done = tilegate(
        "change", tmp_path / "scene_2020", tmp_path / "scene_2018-05-06", "--out", tmp_path / "change", "--json"
    )
    assert done.code == 0, done.err
    dates = [(done.json[key]["date"], done.json[key]["date_from"]) for key in "ab"]
    assert dates == [("2021-03-04", "TIFFTAG_DATETIME"), ("2018-05-06", "file name")]
    assert "A is later than B: gained means there in 2018-05-06, not in 2021-03-04." in done.json["notes"]
    other = (
        "The name of A says 2020, its TIFFTAG_DATETIME 2021-03-04: that is taken, but may be when the file was made."
    )
    assert other in done.json["notes"]
    page = (tmp_path / "change/change.html").read_text()
    assert "date from" in page
    assert "TIFFTAG_DATETIME" in page
    text = tilegate("change", tmp_path / "scene_2020", tmp_path / "scene_2018-05-06").out
    assert "dates: A 2021-03-04 by TIFFTAG_DATETIME, B 2018-05-06 by file name" in text
