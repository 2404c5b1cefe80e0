"""Files from people nobody knows: refused with exit 2 or read with holes and exit 3, in bounded time and memory."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import rasterio
import tifffile

from flows.cli import MaxPixels
from flows.commands import parse_count
from flows.models import bundle_folder
from storage.run import Run
from tiling.errors import BadInput
from tiling.source import MAX_PIXELS

UTM_M2 = 100 / 0.9996**2
"""A pixel of 10 m at the meridian of its UTM zone."""

LOCAL = ("--recipe", "water", "--engine", "local", "--json", "--set", "gate.threshold=0", "--set", "tile.size_px=64")


@pytest.fixture
def run(tilegate, tmp_path):
    """(image, options) -> outcome of `tilegate run` into tmp_path/run."""
    return lambda image, *options: tilegate("run", image, *LOCAL, "--out", tmp_path / "run", *options)


def refused(seen, *words):
    """Exit 2, one message that holds all words, nothing on stdout, no traceback."""
    assert seen.code == 2, seen.err
    assert seen.out == ""
    assert "Traceback" not in seen.err
    for word in words:
        assert str(word) in seen.err, seen.err


def sparse(path, height, width, **profile):
    """A GeoTIFF of two bands without a single block written."""
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), "sparse_ok": True}
    shape = {"height": height, "width": width, "count": 2, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **place, **shape, **profile) as file:
        file.descriptions = ("green", "nir")
    return path


class TestDeclaredSize:
    def test_more_pixels_than_allowed_are_refused_with_both_numbers(self, run, tilegate, tmp_path):
        tiles = {"tiled": True, "blockxsize": 8192, "blockysize": 8192, "bigtiff": True}
        huge = sparse(tmp_path / "huge.tif", 400_000, 300_000, **tiles)
        for seen in (run(huge), tilegate("plan", huge, "--recipe", "water")):
            refused(seen, huge, "400,000 x 300,000", "1.2e+11", "1e+11", "--max-pixels")
        assert not (tmp_path / "run").exists()

    def test_the_limit_is_the_callers_and_travels_with_the_plan(self, run, tilegate, make_scene, tmp_path):
        scene = make_scene()  # 300 x 260 px
        refused(run(scene.path, "--max-pixels", 77_999), "300 x 260")
        first = run(scene.path, "--max-pixels", "7.8e4")
        assert first.code == 0, first.err
        assert Run.open(tmp_path / "run").plan.source.max_pixels == 78_000
        assert tilegate("resume", tmp_path / "run", "--json").json["area"] == first.json["area"]
        assert run(scene.path).code == 0  # the limit is no part of the result: the same run

    def test_the_default_is_the_one_of_the_library(self):
        import inspect

        from flows import cli

        for command in (cli.run, cli.plan):
            parameter = inspect.signature(command, eval_str=True).parameters["max_pixels"]
            assert parameter.annotation == MaxPixels
            assert parse_count(parameter.default, "") == MAX_PIXELS

    @pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "inf", "1e99", "many", ""])
    def test_what_is_no_count_is_refused(self, text):
        with pytest.raises(BadInput, match="--max-pixels"):
            parse_count(text, "--max-pixels")


class TestPlaces:
    @pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300, -2e10])
    @pytest.mark.parametrize("place", range(6))
    def test_a_geotransform_that_is_no_place_is_refused(self, run, tmp_path, number, place):
        numbers = [500_000, 10, 0, 5_000_000, 0, -10]
        numbers[place] = number
        (tmp_path / "a.vrt").write_text(
            '<VRTDataset rasterXSize="99" rasterYSize="99"><SRS>EPSG:32633</SRS>'
            f"<GeoTransform>{', '.join(map(repr, numbers))}</GeoTransform>"
            '<VRTRasterBand dataType="Byte" band="1"/><VRTRasterBand dataType="Byte" band="2"/></VRTDataset>'
        )
        refused(run(tmp_path / "a.vrt", "--bands", "green=1,nir=2"), "a.vrt")


class TestSecrets:
    SIGNED = ("http://{}/scene.tif?X-Amz-Signature=SECRET123", "/vsicurl?url=http%3A%2F%2F{}%2Fscene.tif%3Fsig%3DSECRET123",
        "/vsicurl/http://me:SECRET123@{}/scene.tif")  # fmt: skip

    @pytest.mark.parametrize("form", SIGNED)
    def test_a_signature_is_used_and_never_told(self, run, tilegate, make_scene, tmp_path, host, form):
        scene = make_scene()
        scene.path.rename(tmp_path / "web/scene.tif")
        seen = run(form.format(host), "--set", "tile.size_px=32")
        assert seen.code == 0, seen.err
        assert seen.json["area"]["classes"][0]["pixels"] == scene.water.sum()
        assert f"http://{host}/scene.tif" in seen.json["image"]["uri"]
        told = tilegate("report", tmp_path / "run")
        assert "SECRET123" not in seen.out + seen.err + told.out + told.err
        holders = [
            path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"SECRET123" in path.read_bytes()
        ]
        assert not holders

    def test_what_cannot_be_fetched_is_told_without_it(self, run, host):
        refused(seen := run(f"http://{host}/gone.tif?X-Amz-Signature=SECRET123"), f"http://{host}/gone.tif")
        assert "SECRET123" not in seen.err


def break_block(path, tile, page=0):
    """The second half of one stored block becomes zeros, as in a download that stopped there."""
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[page].dataoffsets[tile], file.pages[page].databytecounts[tile]
    raw = bytearray(path.read_bytes())
    raw[start + size // 2 : start + size] = bytes(size - size // 2)
    path.write_bytes(raw)


class TestDamage:
    @pytest.mark.parametrize("codec", ["jpeg", "deflate", "lzw"])
    @pytest.mark.parametrize("interleave", ["band", "pixel"])
    def test_a_block_cut_in_half_is_a_hole_of_its_own_size(
        self, run, tilegate, make_scene, tmp_path, codec, interleave
    ):
        scene = make_scene(shape=(320, 320), compress=codec, interleave=interleave)
        break_block(scene.path, 12)  # row 2, column 2 of 5 x 5, of the first band or of both
        for again in (False, True):
            seen = tilegate("resume", tmp_path / "run", "--json") if again else run(scene.path)
            assert seen.code == 3, seen.err
            assert seen.json["tiles"]["unreadable"] == 1
            assert seen.json["area"]["not_observed"] == pytest.approx(64 * 64 * UTM_M2, rel=1e-6)

    def test_a_tile_missing_from_one_level_of_a_slide_is_not_lost(self, tilegate, tmp_path):
        """The coarse level that the gate reads lacks a tile, the native one has it: not empty, but looked at."""
        picture = np.full((1024, 1024, 3), (190, 80, 140), np.uint8)
        path = tmp_path / "slide.tif"
        shared = {"tile": (128, 128), "photometric": "rgb", "metadata": None, "compression": "deflate"}
        with tifffile.TiffWriter(path) as file:
            file.write(picture, **shared, resolution=(20_000, 20_000), resolutionunit=3)
            file.write(picture[::4, ::4], **shared, subfiletype=1)
        with tifffile.TiffFile(path) as file:
            counts = file.pages[1].tags[325]
        raw = bytearray(path.read_bytes())
        raw[counts.valueoffset : counts.valueoffset + (2 if counts.dtype == 3 else 4)] = bytes(
            2 if counts.dtype == 3 else 4
        )
        path.write_bytes(raw)
        options = [
            "--set",
            "tile.size_px=256",
            "--set",
            "gate.downsample=4",
            "--set",
            "segment.cut=0.1",
            "--engine",
            "local",
        ]
        seen = tilegate("run", path, "--recipe", "tissue", "--out", tmp_path / "run", "--json", *options)
        assert seen.code == 0, seen.err
        assert seen.json["area"]["classes"][0]["pixels"] == 1024 * 1024


class TestModelsAndRecipes:
    @pytest.fixture
    def bundle(self, tmp_path):
        """A copy of the gate that comes with tilegate: (its folder, a function that gives it other weights)."""
        folder = shutil.copytree(bundle_folder("classifiers") / "forest-gate", tmp_path / "bundle")

        def reweigh(weights):
            (folder / "model.safetensors").write_bytes(weights)
            plain = json.loads((folder / "bundle.json").read_text())
            plain["tilegate:sha256"] = hashlib.sha256(weights).hexdigest()
            (folder / "bundle.json").write_text(json.dumps(plain))

        return folder, reweigh

    @pytest.mark.parametrize("claimed", [2**20, 2**40, 2**62])
    def test_weights_that_claim_more_than_their_file_holds_are_refused(self, run, make_scene, bundle, claimed):
        folder, reweigh = bundle
        header = {"w": {"dtype": "F32", "shape": [claimed], "data_offsets": [0, 4 * claimed]}}
        text = json.dumps(header).encode()
        reweigh(len(text).to_bytes(8, "little") + text + bytes(64))
        on_torch = ("--set", "gate.runtime=torch")  # the runtime that reads them; others read the exported network
        refused(run(make_scene().path, "--set", f"gate.model={folder}", *on_torch), folder)

    @pytest.mark.parametrize(
        "name", ["../../etc", "..", "/etc", "a/../../b", "hf-hub:timm/resnet18", "https://h/model"]
    )
    def test_no_name_of_a_model_leads_out_or_to_the_network(self, run, make_scene, name):
        refused(run(make_scene().path, "--set", f"gate.model={name}"))

    def test_a_file_too_large_for_a_recipe_is_refused(self, tilegate, make_scene, tmp_path):
        recipe = tmp_path / "huge.toml"
        with recipe.open("wb") as file:
            file.truncate(2**40)
        seen = tilegate("run", make_scene().path, "--recipe", recipe, "--out", tmp_path / "run", "--engine", "local")
        refused(seen, recipe, "1,048,576 bytes")

    def test_a_recipe_nested_too_deep_is_refused(self, tilegate, make_scene, tmp_path):
        (tmp_path / "deep.toml").write_text(f"a = {'[' * 100_000}")
        seen = tilegate("run", make_scene().path, "--recipe", tmp_path / "deep.toml", "--out", tmp_path / "run")
        refused(seen, "deep.toml")
