"""Training from folders and masks as a person would do it: one command, resumable, refusing what makes no sense."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifiers.bundle import load_bundle
from classifiers.labels.sample import LabelledTiles, Sample
from classifiers.training.lesson import FakeWatcher
from flows.models import open_gate, open_segmenter
from flows.stopping import Stopped
from flows.training.defaults import suited
from flows.training.recipe import load_training_recipe, training_recipe
from flows.training.stages import fit_stage, let_go, prepare_stage
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import PixelSize
from tiling.stack import TileStack

HOUSE = Path(__file__).parents[2]
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}
COLOURS = {"field": (60, 130, 50), "lake": (30, 60, 140)}
TINY = ("network.architecture=test_resnet", "fit.epochs=3", "fit.frozen_epochs=0", "fit.batch=8", "data.pixel_size=10")
TINY_UNET = ("network.architecture=tu-test_resnet", "network.decoder_channels=[8,8,8,8,8]", *TINY[1:])


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    let_go()


def patch(colour, random, side=32):
    """Coarse blotches around a colour: no two are near-duplicates."""
    coarse = random.normal(0, 25, (8, 8, 1)).repeat(side // 8, 0).repeat(side // 8, 1)
    return np.clip(np.array(colour) + coarse + random.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    """DATA/field and DATA/lake, 20 pictures each."""
    random = np.random.default_rng(4)
    for name, colour in COLOURS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(patch(colour, random)).save(tmp_path / "data" / name / f"{name}_{i}.png")
    return tmp_path / "data"


@pytest.fixture
def masks(tmp_path):
    """DATA/images and DATA/masks: ten pictures of fields with a round lake each, masks 1 = lake."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[:64, :64]
    for folder in ("images", "masks"):
        (tmp_path / "scenes" / folder).mkdir(parents=True)
    for i in range(10):
        lake = (y - random.integers(20, 44)) ** 2 + (x - random.integers(20, 44)) ** 2 < random.integers(10, 18) ** 2
        field, water = patch(COLOURS["field"], random, 64), patch(COLOURS["lake"], random, 64)
        Image.fromarray(np.where(lake[..., None], water, field)).save(tmp_path / f"scenes/images/{i}.png")
        Image.fromarray(lake.astype(np.uint8)).save(tmp_path / f"scenes/masks/{i}.png")
    return tmp_path / "scenes"


def settings(*changes):
    return [word for change in changes for word in ("--set", change)]


def stack_of(pixels):
    """Pictures (n, h, w, 3) as a model receives them."""
    tile = TileGrid(shape_px=pixels.shape[1:3], tile_px=pixels.shape[1]).tile(0, 0)
    bands = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return TileStack(tiles=(tile,) * len(pixels), pixels=bands, valid=np.ones(pixels.shape[:3], bool))


def test_a_gate_from_folders(folders, tilegate, tmp_path):
    out = tmp_path / "gate"
    seen = tilegate("train", "gate", folders, "--out", out, "--engine", "local", *settings(*TINY))
    assert seen.code == 0, seen.err
    assert "epoch 1 of 3: loss" in seen.err
    assert "train " in seen.err
    assert f"--set gate.model={out}" in seen.out
    bundle = load_bundle(out, out)
    assert bundle.classes == ("field", "lake")
    assert bundle.name == "data"
    assert "tilegate train gate data --recipe training.json" in " ".join((out / "README.md").read_text().split())
    assert "<svg" in (out / "evaluation.html").read_text()

    figures = json.loads((out / "evaluation.json").read_text())
    names = bundle.calibration.tiles
    pixels = np.stack([np.asarray(Image.open(folders / name)) for name in names])
    answers = open_gate(str(out), None, "auto").score(stack_of(pixels)).argmax(axis=1)
    right = [bundle.classes[answer] == Path(name).parent.name for answer, name in zip(answers, names, strict=True)]
    assert figures["accuracy"] == pytest.approx(np.mean(right))
    assert figures["tiles"] == len(names)
    assert figures["data"] == "data"


def test_json_is_one_object_with_every_key(folders, tilegate, tmp_path):
    seen = tilegate("train", "gate", folders, "--out", tmp_path / "gate", "--json", *settings(*TINY, "fit.epochs=1"))
    assert seen.code == 0, seen.err
    keys = (
        "accuracy precision recall f1 roc_auc pr_auc ece iou dice area_bias threshold tiles groups per_class per_group"
    )
    assert set(keys.split()) < set(seen.json)
    assert seen.json["iou"] is None
    assert "epoch" not in seen.err


def test_a_segmenter_from_masks(masks, tilegate, tmp_path):
    out, classes = tmp_path / "unet", 'data.classes.lake=["1"]'
    seen = tilegate(
        "train", "segmenter", masks, "--out", out, "--json", *settings(*TINY_UNET, classes, "data.tile_px=64")
    )
    assert seen.code == 0, seen.err
    assert load_bundle(out, out).task == "segmentation"
    assert (
        "segment.model"
        in tilegate("train", "segmenter", masks, "--out", out, *settings(*TINY_UNET, classes, "data.tile_px=64")).out
    )

    every = tilegate("evaluate", "segmenter", out, masks, "--json").json
    images, truth = (
        np.stack([np.asarray(Image.open(masks / kind / f"{i}.png")) for i in range(10)]) for kind in ("images", "masks")
    )
    mapped = open_segmenter(str(out), None, "auto").segment(stack_of(images)).labels
    assert every["iou"] == pytest.approx(((mapped == 1) & (truth == 1)).sum() / ((mapped == 1) | (truth == 1)).sum())
    assert every["area_bias"] == pytest.approx((mapped == 1).sum() / (truth == 1).sum() - 1)
    assert every["roc_auc"] is None
    assert "learnt from" in every["warnings"][0]


class Patient(FakeWatcher):
    def close(self):
        """Nothing to let go of."""


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def learnt(folder):
    """What of a bundle is the same for the same training: OpenVINO numbers the layers of a graph as it likes."""
    found = hashes(folder)
    return {name: found[name] for name in ("model.safetensors", "model.bin", "README.md", "training.json")}


def test_a_stopped_training_goes_on_from_its_last_epoch(folders, tilegate, tmp_path, monkeypatch):
    """Stopped after the second epoch, by what a signal raises: the rest gives the bundle of an unbroken training."""

    class Stopping(Patient):
        def epoch(self, report):
            if report.epoch == 2:
                raise Stopped(15)

    command = ("train", "gate", folders, "--engine", "local", *settings(*TINY))
    assert tilegate(*command, "--out", tmp_path / "unbroken").code == 0
    monkeypatch.setattr("flows.training.commands.watcher_for_people", Stopping)
    stopped = tilegate(*command, "--out", tmp_path / "broken")
    assert stopped.code == 128 + 15
    assert "the same command goes on from the last epoch" in stopped.err
    assert not (tmp_path / "broken" / "bundle.json").exists()

    watcher = Patient()
    monkeypatch.setattr("flows.training.commands.watcher_for_people", lambda: watcher)
    assert tilegate(*command, "--out", tmp_path / "broken").code == 0
    assert [report.epoch for report in watcher.reports] == [3]
    assert learnt(tmp_path / "broken") == learnt(tmp_path / "unbroken")

    before = hashes(tmp_path / "broken")
    again = tilegate(*command, "--out", tmp_path / "broken")
    assert "trained already" in again.err
    assert [report.epoch for report in watcher.reports] == [3]
    assert hashes(tmp_path / "broken") == before


def test_its_own_record_makes_the_same_bundle(folders, tilegate, tmp_path):
    assert tilegate("train", "gate", folders, "--out", tmp_path / "one", *settings(*TINY)).code == 0
    recipe = tmp_path / "one" / "training.json"
    assert tilegate("train", "gate", folders, "--out", tmp_path / "two", "--recipe", recipe).code == 0
    assert learnt(tmp_path / "one") == learnt(tmp_path / "two")


def test_a_folder_with_something_else_is_left_alone(folders, tilegate, tmp_path):
    out = tmp_path / "gate"
    prepare_stage(str(folders), recipe_of(*TINY), str(out))
    (out / ".training").mkdir()
    (out / ".training/epoch-1.safetensors").write_bytes(b"weights")
    seen = tilegate("train", "gate", folders, "--out", out, *settings(*TINY, "fit.epochs=4", "model.name=data"))
    assert seen.code == 2
    assert "recipe.fit.epochs: 3 -> 4" in seen.err
    next(folders.glob("lake/*")).unlink()
    let_go()
    seen = tilegate("train", "gate", folders, "--out", out, "--recipe", out / "training.json")
    assert seen.code == 2
    assert "data_sha256" in seen.err
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear colleague")
    seen = tilegate("train", "gate", folders, "--out", tmp_path / "letters", *settings(*TINY))
    assert seen.code == 2
    assert "not begun by tilegate train" in seen.err
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]
    assert "lies in DATA" in tilegate("train", "gate", folders, "--out", folders / "model").err
    assert "on a disk" in tilegate("train", "gate", folders, "--out", "s3://bucket/gate").err


def recipe_of(*changes):
    return load_training_recipe("landcover", ("model.name=data", "network.pretrained=''", *changes))


def test_a_strangers_folder_ends_in_a_bundle(folders, tilegate, tmp_path):
    """Unequal classes, two sizes, a corrupt file, RGBA and 16 bits among them: told, and not in the way."""
    random = np.random.default_rng(8)
    for i in range(25):
        Image.fromarray(patch(COLOURS["field"], random)).save(folders / f"field/more_{i}.jpg")
    Image.fromarray(patch(COLOURS["field"], random, 64)).save(folders / "field/large.png")
    Image.fromarray(patch(COLOURS["lake"], random)).convert("RGBA").save(folders / "lake/alpha.png")
    Image.fromarray(random.integers(0, 60_000, (32, 32), np.uint16)).save(folders / "lake/deep.png")
    (folders / "lake/cut.png").write_bytes((folders / "lake/lake_0.png").read_bytes()[:200])
    (folders / "lake/empty.png").write_bytes(b"")
    (folders / "lake/Thumbs.db").write_bytes(b"x")
    seen = tilegate("train", "gate", folders, "--out", tmp_path / "gate", *settings(*TINY))
    assert seen.code == 0, seen.err
    assert "Traceback" not in seen.err
    for name in ("cut.png", "empty.png", "deep.png"):
        assert name in seen.err
    load_bundle(tmp_path / "gate", tmp_path)


def test_what_nothing_can_be_learnt_from_is_refused(folders, tilegate, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one/only").mkdir(parents=True)
    (folders / "lake/lake_0.png").rename(tmp_path / "one/only/a.png")
    cases = {
        tmp_path / "none": "does not exist",
        tmp_path / "empty": "",
        tmp_path / "one": "",
        folders / "field/field_0.png": "is an image without labels",
    }
    for data, message in cases.items():
        seen = tilegate("train", "gate", data, "--out", tmp_path / "out", *settings(*TINY))
        assert seen.code == 2, data
        assert message in seen.err
        assert "Traceback" not in seen.err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "lava"], "no training recipe lava"),
        (["--recipe", "nuclei"], "trains a segmenter"),
        (["--set", "fit.epoch=3"], "unknown key fit.epoch; known: epochs"),
        (["--set", "kind=segmenter"], "tilegate train gate was asked for"),
        (["--set", "split.test=0.99"], "nothing is left to learn from"),
    ],
)
def test_bad_options(folders, tilegate, tmp_path, options, message):
    seen = tilegate("train", "gate", folders, "--out", tmp_path / "out", *options)
    assert seen.code == 2
    assert message in seen.err


def test_a_finished_folder_is_not_learnt_again_by_a_task_either(folders, tmp_path):
    recipe, out = recipe_of(*TINY), str(tmp_path / "gate")
    first, second = FakeWatcher(), FakeWatcher()
    prepare_stage(str(folders), recipe, out)
    told = fit_stage(str(folders), recipe, out, first)
    assert fit_stage(str(folders), recipe, out, second) == told
    assert (len(first.reports), len(second.reports)) == (3, 0)


def tiles(side, n=400, labels=None, dtype=np.uint8):
    labels = np.eye(2, dtype=np.float32)[np.arange(n) % 2] if labels is None else labels
    return LabelledTiles(
        samples=tuple(Sample(name=str(i), group=str(i)) for i in range(n)),
        classes=("a", "b"),
        exclusive=True,
        bands=("red", "green", "blue"),
        pixel_size=PixelSize(y=10, x=10, unit="m"),
        tile_px=side,
        halo_px=0,
        pixels=np.broadcast_to(dtype(0), (n, 3, side, side)),
        valid=np.broadcast_to(True, (n, side, side)),
        labels=labels,
        fractions=labels,
    )


GATE = training_recipe({"kind": "gate", "model": {"name": "any"}}, "test")
SEGMENTER = training_recipe({"kind": "segmenter", "model": {"name": "any"}}, "test")


@pytest.mark.parametrize(("side", "zoom"), [(16, 4), (32, 4), (50, 2), (64, 2), (96, 1), (256, 1)])
def test_small_tiles_are_enlarged(side, zoom):
    assert suited(GATE, tiles(side, 40))["network"]["zoom"] == zoom
    assert suited(SEGMENTER, tiles(side, 40))["network"]["zoom"] == 1


def test_a_recipe_suits_the_tiles():
    assert suited(GATE, tiles(64))["fit"]["oversample"] is False
    rare = np.eye(2, dtype=np.float32)[(np.arange(400) % 10 == 0).astype(int)]
    assert suited(GATE, tiles(64, labels=rare))["fit"]["oversample"] is True
    assert suited(GATE, tiles(64, dtype=np.uint16))["network"]["pretrained"] == ""
    assert suited(SEGMENTER, tiles(256, 40))["fit"]["loss"] == "cross-entropy + dice"
    assert suited(GATE, tiles(64, 16))["fit"]["batch"] == 2
    assert suited(GATE, tiles(64, 16))["fit"]["epochs"] == 37  # 16 tiles in steps of two: 300 steps


def test_settings_can_be_mended_before_anything_is_learnt(folders, tilegate, tmp_path):
    out = tmp_path / "gate"
    wrong = tilegate("train", "gate", folders, "--out", out, *settings(*TINY, "network.architecture=nonesuch"))
    assert wrong.code == 2
    assert "nonesuch" in wrong.err
    assert tilegate("train", "gate", folders, "--out", out, *settings(*TINY, "fit.epochs=1")).code == 0


def test_two_do_not_train_in_one_folder(folders, tilegate, tmp_path):
    """Another process holds the folder in the midst of an epoch; a folder of somebody else gets no lock either."""
    out, words = tmp_path / "gate", settings(*TINY, "fit.epochs=1")
    code = "import sys, fcntl; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    prepare_stage(str(folders), recipe_of(*TINY, "fit.epochs=1"), str(out))
    command = [sys.executable, "-c", code, str(out / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for data in (folders, tmp_path / "nowhere"):  # before the data is read
            seen = tilegate("train", "gate", data, "--out", out, *words)
            assert (seen.code, "another process is working on" in seen.err) == (2, True), seen.err
        with pytest.raises(BadInput, match="another process is working on"):
            fit_stage(str(folders), recipe_of(*TINY, "fit.epochs=1"), str(out), FakeWatcher())
        assert not list(out.rglob("epoch*"))
        other.stdin.close()
    assert tilegate("train", "gate", folders, "--out", out, "--recipe", out / "training.json").code == 0
    assert not (out / ".lock").exists()


def test_threads_of_torch_are_told_to_sleep_before_it_is_imported(tmp_path):
    """In a process of its own: nothing here may have imported it before."""
    code = (
        "import os, sys\nfrom flows.training.commands import train\n"
        "class Told:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT']); os._exit(0)\n"
        "assert 'torch' not in sys.modules\n"
        "sys.meta_path.insert(0, Told())\n"
        "try: train('gate', sys.argv[1], '', (), sys.argv[2], 'local', quiet=True)\n"
        "except ValueError: import torch\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "nowhere"), str(tmp_path / "out")]
    for set_before, told in (({}, "PASSIVE 0"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE 0")):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_WAIT", "GOMP"))}
        seen = subprocess.run(command, cwd=HOUSE, env=env | set_before, capture_output=True, text=True, check=True)
        assert seen.stdout.strip() == told


def test_a_killed_training_goes_on_where_it_was(folders, tmp_path):
    """kill -9 in a process of its own, once the first epoch is on disk."""
    out = tmp_path / "gate"
    words = ["train", "gate", folders, "--out", out, "--engine", "local", *settings(*TINY, "fit.epochs=6")]
    code = f"import sys; from flows.cli import main; sys.argv = ['tilegate', *{[str(w) for w in words]!r}]; main()"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=HOUSE, env=ALONE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob(".training/epoch-*.safetensors")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    assert not (out / "README.md").exists()
    done = subprocess.run(command, cwd=HOUSE, env=ALONE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 6 of 6" in done.stderr
    assert "epoch 1 of 6" not in done.stderr
    load_bundle(out, out)
    assert not (out / ".training").exists()
