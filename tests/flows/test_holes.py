"""What cannot be read or computed is counted as what it is, and never becomes background."""

import numpy as np
import pytest
import rasterio
import tifffile

import flows.job
from classifiers.protocol import ModelId
from classifiers.rule_gate import RuleGate
from classifiers.rules import RULES
from downstream.rule_segmenter import RuleSegmenter
from flows.results import ledger_tiles
from storage.run import Run
from tiling.errors import BadInput
from tiling.open import open_source
from tiling.stack import MaskStack

UTM_M2 = 100 / 0.9996**2
"""A pixel of 10 m at the meridian of its UTM zone."""

ALL = ("gate.threshold=0", "audit.tiles=0")


def corrupt_block(path, row, col):
    """Overwrite the compressed bytes of one 64 x 64 block."""
    with rasterio.open(path) as file:
        offset = int(file.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1))
        size = int(file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
    raw = bytearray(path.read_bytes())
    raw[offset : offset + size] = b"\x55" * size
    path.write_bytes(bytes(raw))


def test_a_corrupt_block_costs_its_own_tiles_only(make_scene, tilegate, tmp_path):
    scene = make_scene(compress="deflate", interleave="pixel")
    corrupt_block(scene.path, 1, 2)  # rows 64-128, columns 128-192: four tiles of 32 px
    arguments = ["run", scene.path, "--recipe", "water", "--out", tmp_path / "run", "--engine", "local", "--json"]
    grid = ["--set", "tile.size_px=32", "--set", "tile.batch=2", "--set", "gate.downsample=4"]
    seen = tilegate(*arguments, *grid, "--set", "gate.threshold=0")
    assert seen.code == 3
    summary = seen.json
    assert summary["status"] == "partial"
    assert summary["tiles"]["unreadable"] == 4
    assert summary["area"]["not_observed"] == pytest.approx(4 * 32 * 32 * UTM_M2, rel=1e-6)
    rest = scene.water.copy()
    rest[64:128, 128:192] = False
    assert summary["area"]["classes"][0]["pixels"] == rest.sum()
    told = tilegate("report", tmp_path / "run")
    assert told.code == 3
    assert "4 x unreadable (40.96 ha)" in told.out
    assert "rows 64-128 columns 128-192" in told.out
    assert "PARTIAL" in told.out
    assert "rows 64-128 columns 128-192" in (tmp_path / "run" / "report.html").read_text()
    told = tilegate("report", tmp_path / "run", "--json")
    (hole,) = told.json.pop("holes")
    assert told.json.keys() >= summary.keys()
    assert (hole["state"], hole["tiles"], hole["area"]) == ("unreadable", 4, summary["area"]["not_observed"])
    assert hole["windows"] == [[64, 128, 32, 32], [64, 160, 32, 32], [96, 128, 32, 32], [96, 160, 32, 32]]
    assert "cannot be read" in hole["reason"]


class Moody:
    """The water rule, but one tile makes it misbehave."""

    def __init__(self, bad: str, how: str) -> None:
        self._bad, self._how = bad, how
        self._gate, self._segmenter = RuleGate(RULES["ndwi"]), RuleSegmenter(RULES["ndwi"])
        self.model, self.bands, self.classes = ModelId(name="moody", sha256=how), self._gate.bands, ("water",)

    def score(self, stack):
        scores = self._gate.score(stack)
        for i, tile in enumerate(stack.tiles):
            if tile.id == self._bad:
                if self._how == "raise":
                    raise MemoryError("out of memory")
                scores[i] = np.nan
        return scores[:, [0, 0]] if self._how == "shape" and self._bad in {t.id for t in stack.tiles} else scores

    def segment(self, stack):
        mask = self._segmenter.segment(stack)
        if stack.tiles[0].id != self._bad:
            return mask
        if self._how == "raise":
            raise RuntimeError("CUDA is gone")
        labels = mask.labels[:, :-1] if self._how == "shape" else mask.labels + 7
        return MaskStack(tiles=mask.tiles, labels=labels, classes=mask.classes)


@pytest.mark.parametrize("how", ["raise", "nan", "shape"])
def test_a_gate_that_fails_on_one_tile_fails_that_tile(make_scene, measure, monkeypatch, tmp_path, how):
    monkeypatch.setattr(flows.job, "open_gate", lambda *_: Moody("r0001c0001", how))
    scene = make_scene()
    summary = measure(scene, *ALL)
    assert summary["tiles"]["failed"] == 1
    assert summary["tiles"]["positive"] == 89
    rest = scene.water.copy()
    rest[32:64, 32:64] = False
    assert summary["area"]["classes"][0]["pixels"] == rest.sum()
    (record,) = [t for r in Run.open(tmp_path / "run").committed("gate") for t in r.tiles if t.state == "failed"]
    assert (record.row, record.col) == (1, 1)
    assert "gate" in record.reason


@pytest.mark.parametrize("how", ["raise", "label", "shape"])
def test_a_segmenter_that_fails_on_one_tile_fails_that_tile(make_scene, measure, monkeypatch, how):
    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: Moody("r0001c0001", how))
    summary = measure(make_scene(), *ALL)
    assert summary["status"] == "partial"
    assert summary["tiles"]["failed"] == 1
    assert summary["area"]["not_observed"] == pytest.approx(32 * 32 * UTM_M2, rel=1e-6)
    assert summary["area"]["observed"] == pytest.approx((300 * 260 - 32 * 32) * 100 / 0.9996**2)


def test_failed_tiles_are_tried_again_and_only_they(make_scene, measure, monkeypatch, tmp_path):
    scene = make_scene()
    with monkeypatch.context() as broken:
        broken.setattr(flows.job, "open_segmenter", lambda *_: Moody("r0001c0001", "raise"))
        assert measure(scene, *ALL)["tiles"]["failed"] == 1
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "ledger").rglob("*.parquet")}
    summary = measure(scene, *ALL)
    touched = [p for p, before in parts.items() if p.stat().st_mtime_ns != before]
    assert summary["status"] == "complete"
    assert summary["area"]["classes"][0]["pixels"] == scene.water.sum()
    assert [p.name for p in touched] == ["r0000c0000.parquet"]


def test_a_segmenter_that_stumbles_once_is_tried_again(make_scene, measure, monkeypatch):
    class Stumbling(Moody):
        stumbled = False

        def segment(self, stack):
            if not self.stumbled:
                self.stumbled = True
                raise MemoryError("not now")
            return self._segmenter.segment(stack)

    model = Stumbling("", "")
    monkeypatch.setattr(flows.job, "open_segmenter", lambda *_: model)
    summary = measure(make_scene(), *ALL, workers=1)
    assert model.stumbled
    assert summary["status"] == "complete"


def test_a_cut_is_fitted_around_a_hole(tilegate, tmp_path):
    """A slide of one level with a broken JPEG tile: Otsu looks at the rest, and the tile is counted as unreadable."""
    rng = np.random.default_rng(3)
    picture = np.full((768, 768, 3), 240, "uint8")
    picture[:, :300] = np.array((190, 80, 140)) + rng.integers(0, 9, (768, 300, 3), "uint8")
    path = tmp_path / "slide.tif"
    tifffile.imwrite(
        path, picture, tile=(256, 256), photometric="rgb", compression="jpeg", resolution=(20_000, 20_000),
        resolutionunit=3, metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        offset, size = page.dataoffsets[4], page.databytecounts[4]  # the tile in the middle
    raw = bytearray(path.read_bytes())
    raw[offset : offset + size] = b"\xff" * size
    path.write_bytes(bytes(raw))
    options = ["--set", "tile.size_px=256", "--set", "gate.threshold=0", "--engine", "local", "--json"]
    seen = tilegate("run", path, "--recipe", "tissue", "--out", tmp_path / "run", *options)
    assert seen.code == 3, seen.err
    assert seen.json["tiles"]["unreadable"] == 1
    assert seen.json["area"]["not_observed"] == 256 * 256 * 0.25
    sides = 768 * 300 - 256 * (300 - 256)  # the broken tile held columns 256 to 300
    assert seen.json["area"]["classes"][0]["pixels"] == pytest.approx(sides, rel=0.01)  # JPEG blurs the border


@pytest.mark.parametrize("bad", ["r0001c0001", "r0004c0006"])  # a tile of a lake, and one of dry land
def test_a_gate_that_is_mended_leaves_no_trace_of_the_first_draw(make_scene, measure, monkeypatch, tmp_path, bad):
    """Mended, the negatives are others and so is the audit: mask, tables and areas equal those of an unbroken run."""
    scene = make_scene()
    changes = ("gate.threshold=0.3", "audit.tiles=7")
    unbroken = measure(scene, *changes, out="unbroken")
    with monkeypatch.context() as broken:
        broken.setattr(flows.job, "open_gate", lambda *_: Moody(bad, "raise"))
        assert measure(scene, *changes, out="mended")["tiles"]["failed"] == 1
    mended = measure(scene, *changes, out="mended")
    assert mended["area"] == unbroken["area"]
    assert mended["tiles"] == unbroken["tiles"]
    one, other = (Run.open(tmp_path / name) for name in ("unbroken", "mended"))
    for name in ("mask/0", "pixels/fine", "pixels/gate"):
        assert np.array_equal(one.array(name)[...], other.array(name)[...]), name
    assert (tmp_path / "mended/tiles.parquet").read_bytes() == (tmp_path / "unbroken/tiles.parquet").read_bytes()
    folders = (tmp_path / "unbroken", tmp_path / "mended")
    files = [{p.relative_to(folder) for p in folder.rglob("c/**/*")} for folder in folders]
    assert files[0] == files[1]
    mask = other.array("mask/0")[...]
    assert (mask == 1).sum() == mended["area"]["classes"][0]["pixels"]


def test_an_image_that_goes_away_meanwhile_costs_its_tiles_and_is_finished_when_it_is_back(
    make_scene, measure, monkeypatch, tmp_path
):
    scene = make_scene()
    opened = []

    def gone_for_the_segmenter(spec):
        opened.append(spec)
        if len(opened) > 2:  # two spans of the gate
            raise BadInput(f"{spec.uri} does not exist")
        return open_source(spec)

    with monkeypatch.context() as broken:
        broken.setattr(flows.job, "open_source", gone_for_the_segmenter)
        summary = measure(scene, *ALL)
    assert summary["status"] == "partial"
    assert summary["tiles"]["unreadable"] == 90
    assert summary["area"]["not_observed"] == pytest.approx(300 * 260 * UTM_M2, rel=1e-6)
    assert {tile.reason for tile in ledger_tiles(Run.open(tmp_path / "run"))} == {f"{scene.path} does not exist"}
    assert measure(scene, *ALL)["area"]["classes"][0]["pixels"] == scene.water.sum()
