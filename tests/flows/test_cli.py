"""Bad input: one clear message, the right exit code, no traceback, nothing that looks finished."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile

UTM_M2 = 100 / 0.9996**2
"""A pixel of 10 m at the meridian of its UTM zone."""


@pytest.fixture
def bad(make_scene, tmp_path):
    """Inputs people really bring."""
    scene = make_scene()
    whole = scene.path.read_bytes()
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "letter.tif").write_text("Dear colleague, please find the image attached.")
    (tmp_path / "header-cut.tif").write_bytes(whole[:6])
    (tmp_path / "folder").mkdir()
    (tmp_path / "unknown-key.toml").write_text(
        'name = "x"\n[gate]\nmodel = "ndwi"\nthresold = 1\n[segment]\nmodel = "ndwi"\n'
    )
    (tmp_path / "broken.toml").write_text("name = [")
    make_scene(name="mercator.tif", crs="EPSG:3857")
    make_scene(name="nowhere.tif", crs=None)
    grey = np.full((300, 300, 3), 200, "uint8")
    tifffile.imwrite(tmp_path / "no-mpp.tif", grey, tile=(128, 128), photometric="rgb")
    tifffile.imwrite(
        tmp_path / "dpi72.tif", grey, tile=(128, 128), photometric="rgb", resolution=(72, 72), resolutionunit="INCH"
    )
    return tmp_path


CASES = {
    "missing.tif": ("water", [], "does not exist"),
    "empty.tif": ("water", [], "empty file"),
    "letter.tif": ("water", [], "cannot be opened"),
    "header-cut.tif": ("water", [], "cannot be opened"),
    "folder": ("water", [], "is a directory"),
    "mercator.tif": ("water", ["--set", "area.method=planar"], "gdalwarp"),
    "nowhere.tif": ("water", [], "--pixel-size"),
    "no-mpp.tif": ("tissue", [], "--mpp"),
    "dpi72.tif": ("tissue", [], "352.778"),
    "scene.tif": ("tissue", [], "bands are green, nir"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_images(bad, tilegate, name):
    recipe, options, message = CASES[name]
    seen = tilegate("run", bad / name, "--recipe", recipe, "--out", bad / "out", "--engine", "local", *options)
    assert seen.code == 2
    assert message in seen.err
    assert seen.err.startswith("tilegate: ") or "\ntilegate: " in seen.err
    assert "Traceback" not in seen.err
    assert not (bad / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bands", "green=1,nir=9"], "has no band 9; it has 1=green, 2=nir"),
        (["--bands", "green=1,nir=infrared"], "has no band infrared"),
        (["--bands", "green:1"], "green=2,nir=B08"),
        (["--recipe", "unknown-key.toml"], "unknown key gate.thresold; known: model"),
        (["--recipe", "broken.toml"], "not readable TOML"),
        (["--recipe", "lava"], "no recipe lava"),
        (["--set", "gate.threshold=2"], "gate.threshold"),
        (["--set", "gate.thresold=0"], "unknown key gate.thresold"),
        (["--set", "gate"], "key.sub=value"),
        (["--set", "gate.model=nonesuch"], "nonesuch"),
        (["--set", "gate.positive=['lava']"], "this gate knows water"),
        (["--set", "tile.pixel_size=5"], "finer than the file"),
        (["--mpp", "0.5", "--pixel-size", "3"], "exclude each other"),
        (["--pixel-size", "-3"], "one positive number"),
    ],
)
def test_bad_options(bad, tilegate, monkeypatch, options, message):
    monkeypatch.chdir(bad)
    recipe = [] if "--recipe" in options else ["--recipe", "water"]
    seen = tilegate("run", "scene.tif", *recipe, "--out", "out", "--engine", "local", *options)
    assert seen.code == 2
    assert message in seen.err
    assert not (bad / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(bad, tilegate):
    (bad / "folder" / "thesis.txt").write_text("do not lose me")
    seen = tilegate("run", bad / "scene.tif", "--recipe", "water", "--out", bad / "folder", "--engine", "local")
    assert seen.code == 2
    assert "holds no run" in seen.err
    assert [p.name for p in (bad / "folder").iterdir()] == ["thesis.txt"]


def test_a_run_that_is_none_cannot_be_reported_or_resumed(bad, tilegate):
    for command in ("report", "resume"):
        seen = tilegate(command, bad / "folder")
        assert seen.code == 2
        assert "holds no run" in seen.err


@pytest.mark.parametrize(("shape", "tiles"), [((1, 1), 1), ((20, 500), 1), ((700, 3), 2)])
def test_small_and_thin_images_are_measured(make_scene, tilegate, tmp_path, shape, tiles):
    scene = make_scene(shape, tiled=False)
    with rasterio.open(scene.path, "r+") as file:
        file.write(np.stack([np.full(shape, 99, "uint8"), np.full(shape, 9, "uint8")]))
    out = tmp_path / "out"
    seen = tilegate("run", scene.path, "--recipe", "water", "--out", out, "--engine", "local", "--json")
    assert seen.code == 0
    assert seen.json["tiles"]["total"] == tiles
    assert seen.json["area"]["classes"][0]["mapped"] == pytest.approx(shape[0] * shape[1] * UTM_M2, rel=1e-6)
    assert (out / "overview.png").stat().st_size > 0


def test_an_image_of_nodata_has_nothing_to_measure(make_scene, tilegate, tmp_path):
    scene = make_scene(nodata=7)
    with rasterio.open(scene.path, "r+") as file:
        file.write(np.full((2, 300, 260), 7, "uint8"))
    out = tmp_path / "out"
    seen = tilegate("run", scene.path, "--recipe", "water", "--out", out, "--engine", "local", "--json")
    assert seen.code == 0
    assert seen.json["tiles"]["empty"] == seen.json["tiles"]["total"]
    assert seen.json["area"]["observed"] == 0
    assert seen.json["area"]["classes"][0]["mapped"] == 0


def test_a_pixel_size_by_hand(bad, tilegate):
    options = ["--pixel-size", "2,3", "--engine", "local", "--json", "--set", "gate.threshold=0"]
    seen = tilegate("run", bad / "nowhere.tif", "--recipe", "water", "--out", bad / "out", *options)
    assert seen.json["area"]["image"] == 300 * 260 * 6.0
    assert seen.json["area"]["method"] == "planar"


def test_mpp_by_hand(bad, tilegate):
    options = ["--mpp", "0.5", "--engine", "local", "--json"]
    seen = tilegate("run", bad / "no-mpp.tif", "--recipe", "tissue", "--out", bad / "out", *options)
    assert seen.code == 0
    assert seen.json["area"]["image"] == 300 * 300 * 0.25
    assert seen.json["area"]["unit"] == "um2"
    assert seen.json["area"]["classes"][0]["mapped"] == 0  # grey has no saturation


def test_plan_writes_nothing(make_scene, tilegate, tmp_path):
    scene = make_scene()
    before = sorted(tmp_path.rglob("*"))
    seen = tilegate("plan", scene.path, "--recipe", "water", "--set", "tile.size_px=32", "--json")
    assert sorted(tmp_path.rglob("*")) == before
    assert seen.json["tiles"] == 90
    assert seen.json["minutes"] > 0
    assert tilegate("plan", scene.path, "--recipe", "water").code == 0


def test_doctor_finds_this_machine_fit(tilegate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = tilegate("doctor")
    assert seen.code == 0, seen.out
    assert "ready" in seen.out
    assert list(Path(tmp_path).iterdir()) == []


def test_a_run_that_is_empty_says_so(tilegate, tmp_path):
    """A slide of glass: nothing is wrong, and nothing was looked at."""
    glass = np.full((256, 256, 3), 245, "uint8")
    glass[0, :8] = (200, 90, 150)
    tifffile.imwrite(
        tmp_path / "glass.tif", glass, tile=(64, 64), photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3
    )
    screen = ("--set", "screen.min_tissue=0.5", "--set", "tile.size_px=64")
    seen = tilegate("run", tmp_path / "glass.tif", "--recipe", "dab", "--out", tmp_path / "run", *screen)
    assert seen.code == 0, seen.err
    assert "WARNING: every tile is empty: without data, or screened out" in seen.out
