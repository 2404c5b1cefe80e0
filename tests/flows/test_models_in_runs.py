"""Recipes with weights, and screening: what a model was not made for is refused before anything runs."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from rasterio.transform import from_origin
from scipy.ndimage import binary_dilation, gaussian_filter

import classifiers.machine
from classifiers.bundle import load_bundle
from classifiers.bundle_schema import to_json
from classifiers.runtime import Machine
from flows.doctor import examine
from flows.models import bundle_folder, gate_runtime, open_gate, open_segmenter, segmenter_runtime
from flows.planning import make_plan
from flows.recipe import load_recipe
from tiling.errors import BadInput
from tiling.source import SourceSpec


@pytest.fixture
def rgb(tmp_path):
    """Make an RGB raster of some pixel size and type."""

    def make(pixel_m=10.0, dtype="uint8", shape=(300, 300)):
        path = tmp_path / f"rgb-{pixel_m}-{dtype}.tif"
        transform = from_origin(500_000, 5_000_000, pixel_m, pixel_m)
        profile = {"count": 3, "dtype": dtype, "crs": "EPSG:32633", "transform": transform, "photometric": "RGB"}
        with rasterio.open(path, "w", driver="GTiff", height=shape[0], width=shape[1], **profile) as file:
            file.write(np.broadcast_to(np.array([28, 40, 42])[:, None, None], (3, *shape)).astype(dtype))
        return path

    return make


def run(tilegate, image, out, recipe, *options):
    return tilegate("run", image, "--recipe", recipe, "--out", out, "--engine", "local", "--json", *options)


def test_the_forest_pair_runs_on_its_pixel_size(rgb, tilegate, tmp_path):
    seen = run(tilegate, rgb(), tmp_path / "run", "forest")
    assert seen.code == 0, seen.err
    own = load_bundle("forest-gate", bundle_folder("classifiers")).threshold
    assert seen.json["gate"]["threshold"] == own
    assert seen.json["segmenter"]["model"] == "forest-unet"


def test_a_finer_image_is_brought_to_the_model(rgb, tilegate, tmp_path):
    """2.5 m pixels are averaged to 10 m: 1,200 px become 300 px, four tiles of 256 px."""
    everything = ("--set", "gate.threshold=0", "--set", "area.method=planar")
    seen = run(tilegate, rgb(2.5, shape=(1200, 1200)), tmp_path / "run", "forest", *everything)
    assert seen.json["tiles"]["total"] == 4
    assert seen.json["area"]["observed"] == pytest.approx(1200 * 1200 * 2.5**2)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ((30.0, "uint8"), [], "valid for 0.8 to 1.25 times 9.942 x 10.01 m"),
        ((10.0, "uint16"), [], "holds uint16 values; forest-gate was trained on uint8"),
        ((10.0, "uint8"), ["--set", "gate.downsample=1"], "forest-gate would see pixels of 10 x 10 m"),
        ((10.0, "uint8"), ["--set", "tile.pixel_size=20"], "forest-unet would see pixels of 20 x 20 m"),
        ((10.0, "uint8"), ["--set", "gate.cut=1"], "is a bundle and has its own"),
        ((10.0, "uint8"), ["--set", "gate.runtime=openvino-int8"], "can not be had for forest-gate: it brings no"),
        ((10.0, "uint8"), ["--set", "gate.runtime=onnx"], "gate.runtime: Input should be 'auto', 'openvino-bf16'"),
        ((10.0, "uint8"), ["--set", "segment.runtim=torch"], "unknown key segment.runtim; known: model, cut, runtime"),
        ((10.0, "uint8"), ["--set", "gate.model=./nowhere"], "nowhere does not exist"),
        ((10.0, "uint8"), ["--set", "gate.model=../secret/model"], "does not exist"),
    ],
)
def test_what_a_model_was_not_made_for_is_refused(rgb, tilegate, tmp_path, image, options, message):
    seen = run(tilegate, rgb(*image), tmp_path / "run", "forest", *options)
    assert seen.code == 2
    assert message in seen.err
    assert not (tmp_path / "run").exists()


def test_glass_is_screened_out_before_the_gate(tilegate, tmp_path):
    """Tiles with less than a tenth of tissue are empty, whatever the gate would say."""
    slide = np.full((512, 512, 3), 245, "uint8")
    slide[:256, :256] = (200, 90, 150)  # a quarter is tissue, exactly four of the sixteen tiles
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, slide, tile=(128, 128), photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3)
    options = ["--set", "screen.min_tissue=0.1", "--set", "tile.size_px=128", "--set", "gate.threshold=0"]
    seen = run(tilegate, path, tmp_path / "run", "dab", *options)
    assert seen.code == 0, seen.err
    assert (seen.json["tiles"]["empty"], seen.json["tiles"]["positive"]) == (12, 4)
    assert seen.json["area"]["observed"] == pytest.approx(512 * 512 * 0.25)  # glass was looked at, too


def stained(path):
    """A slide of 0.5 um with nuclei of 12 x 9 um between redder fibres; (h, w) where the nuclei are."""
    side, random = 768, np.random.default_rng(1)
    y, x = np.mgrid[:side, :side]
    nuclei = np.zeros((side, side), bool)
    for row in range(40, side - 40, 64):
        for col in range(40, side - 40, 64):
            off_y, off_x = random.integers(-12, 13, 2)
            nuclei |= ((y - row - off_y) / 12) ** 2 + ((x - col - off_x) / 9) ** 2 < 1
    fibres = np.sin(x / 9 + y / 30) > 0.3
    colours = np.where(nuclei, 2, np.where(fibres, 1, 0))
    slide = np.array([(228, 190, 215), (215, 130, 165), (95, 55, 135)], float)[colours]
    slide = gaussian_filter(slide, (1, 1, 0)) + random.normal(0, 4, slide.shape)
    pixels = np.clip(slide, 0, 255).astype(np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3)
    return nuclei


def test_nuclei_are_mapped_and_fibres_are_not(tilegate, tmp_path):
    nuclei = stained(tmp_path / "slide.tif")
    seen = run(tilegate, tmp_path / "slide.tif", tmp_path / "run", "nuclei")
    assert seen.code == 0, seen.err
    mapped = zarr.open_array(tmp_path / "run/run.zarr/mask/0", mode="r")[...] == 1
    assert 2 * (mapped & nuclei).sum() / (mapped.sum() + nuclei.sum()) > 0.88
    assert (mapped & ~binary_dilation(nuclei, iterations=2)).sum() < 0.01 * nuclei.sum()
    assert seen.json["area"]["classes"][0]["mapped"] == pytest.approx(mapped.sum() * 0.25)


def on(monkeypatch, *, bf16, cuda=False):
    """A machine with this hardware."""
    monkeypatch.setattr(classifiers.machine, "this_machine", lambda: Machine(bf16=bf16, cuda=cuda))
    open_gate.cache_clear()
    open_segmenter.cache_clear()


def plan_of(image, *changes, recipe="forest"):
    return make_plan(SourceSpec(uris=(str(image),)), load_recipe(recipe, changes))


@pytest.mark.parametrize(("bf16", "picked"), [(True, "openvino-bf16"), (False, "openvino-f32")])
def test_the_plan_says_what_networks_run_on(rgb, monkeypatch, bf16, picked):
    on(monkeypatch, bf16=bf16)
    assert (gate_runtime("forest-gate", "auto"), segmenter_runtime("forest-unet", None)) == (picked, picked)
    if bf16 and not classifiers.machine.bf16_flags():
        pytest.skip("this CPU has no bf16")
    plan = plan_of(rgb())
    assert (plan.recipe["gate"]["runtime"], plan.recipe["segment"]["runtime"]) == (picked, picked)
    asked = plan_of(rgb(), "gate.runtime=openvino-f32", "segment.runtime=torch")
    assert (asked.recipe["gate"]["runtime"], asked.recipe["segment"]["runtime"]) == ("openvino-f32", "torch")


def test_rules_run_on_nothing(make_scene):
    plan = plan_of(make_scene().path, recipe="water")
    assert (plan.recipe["gate"]["runtime"], plan.recipe["segment"]["runtime"]) == (None, None)
    with pytest.raises(BadInput, match="runtime = torch is for bundles; ndwi is a rule"):
        plan_of(make_scene().path, "gate.runtime=torch", recipe="water")


def test_a_run_is_not_resumed_on_another_runtime(rgb, monkeypatch, tilegate, tmp_path):
    image = rgb()
    on(monkeypatch, bf16=False)
    seen = run(tilegate, image, tmp_path / "run", "forest")
    assert seen.code == 0, seen.err
    seen = run(tilegate, image, tmp_path / "run", "forest", "--set", "segment.runtime=torch")
    assert seen.code == 2
    assert "recipe.segment.runtime: openvino-f32 -> torch" in seen.err


def test_a_worker_that_can_not_do_what_was_planned_says_so(monkeypatch):
    on(monkeypatch, bf16=False)
    with pytest.raises(BadInput, match="openvino-bf16 can not be had for forest-unet: this CPU has neither AMX"):
        open_segmenter("forest-unet", None, "openvino-bf16")
    with pytest.raises(BadInput, match="openvino-bf16 can not be had for forest-gate: this CPU has neither AMX"):
        open_gate("forest-gate", None, "openvino-bf16")


def test_a_bundle_without_an_export_runs_on_torch(rgb, monkeypatch, tilegate, tmp_path):
    """As every bundle did that was written before there were exports."""
    on(monkeypatch, bf16=True)
    plain = Path(shutil.copytree(bundle_folder("downstream") / "forest-unet", tmp_path / "plain"))
    for path in plain.glob("model*.[xb]*"):
        path.unlink()
    written = load_bundle("forest-unet", bundle_folder("downstream"))
    (plain / "bundle.json").write_bytes(to_json(replace(written, exports={}, drift={})))
    assert segmenter_runtime(str(plain), "auto") == "torch"
    options = ["--set", f"segment.model={plain}", "--set", "gate.runtime=openvino-f32"]
    seen = run(tilegate, rgb(), tmp_path / "run", "forest", *options)
    assert seen.code == 0, seen.err
    assert seen.json["area"]["classes"][0]["pixels"] > 0


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"bf16": True}, "auto takes openvino-bf16 where a bundle's measured drift allows it"),
        ({"bf16": False}, "auto takes openvino-f32"),
        ({"bf16": True, "cuda": True}, "auto takes torch: there is a CUDA GPU"),
    ],
)
def test_the_doctor_says_what_auto_picks(monkeypatch, hardware, words):
    on(monkeypatch, **hardware)
    found = {check.name: check for check in examine()}["models"]
    assert found.ok
    assert found.found.startswith(words)


def test_tiles_too_small_for_the_gate_are_refused_before_anything_is_written(rgb, tilegate, tmp_path):
    """Four pixels of a gate that halves its side five times."""
    done = tilegate("run", rgb(), "--recipe", "forest", "--set", "tile.size_px=16", "--out", tmp_path / "run")
    assert done.code == 2
    assert "forest-gate cannot score tiles of 4 x 4 px" in done.err
    assert not (tmp_path / "run").exists()
