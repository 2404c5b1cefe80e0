"""Cases that slides get wrong elsewhere: far corners, odd pyramids, discs of known area, empty glass, many slides."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
import zarr
from numpy.typing import NDArray
from openslide import OpenSlide

from flows.engine import LocalEngine
from flows.export.command import export_run
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.errors import BadInput
from tiling.info import Plane, native_plane, plane_at
from tiling.open import open_source
from tiling.source import SourceSpec
from tiling.window import Window

HOUSE = Path(__file__).parents[2]
MakeSlide = Callable[..., Path]
GLASS, PINK = (245, 245, 245), (200, 90, 150)
HALF_PINK = "segment.cut=0.275"
"""Half of the saturation of PINK, so that a pixel half covered is at the border."""


def spec_of(path: Path) -> SourceSpec:
    return SourceSpec(uris=(str(path),))


def measured(path: Path, out: Path, *changes: str, workers: int = 1) -> Any:
    recipe = load_recipe("tissue", ("tile.size_px=64", "tile.batch=2", "audit.tiles=0", *changes))
    return execute(make_plan(spec_of(path), recipe), out, LocalEngine(workers), Silent())


def painted(where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(y, x, 3): pink where True, glass elsewhere."""
    return np.where(where[..., None], np.array(PINK), np.array(GLASS)).astype(np.uint8)


@pytest.mark.parametrize("compression", ["deflate", "jpeg"])
def test_a_feature_at_100_000_is_within_a_pixel_on_every_level(tiny_slide: MakeSlide, compression: str) -> None:
    """Levels of 25,000 and 6,250 px, rounded down: OpenSlide takes them for 4.00006 and 16.0002 times coarser."""
    rgb = np.zeros((64, 100_003, 3), np.uint8)
    rgb[16:48, 99_936:99_968] = 255
    levels = [rgb[:, : 100_003 // k * k].reshape(64 // k, k, -1, k, 3).mean((1, 3)).astype(np.uint8) for k in (4, 16)]
    path = tiny_slide(rgb, levels=levels, compression=compression)
    with OpenSlide(path) as slide:
        assert slide.level_downsamples[2] > 16.0001
    source = open_source(spec_of(path))
    for factor in (1, 4, 16):
        plane = plane_at(source.info, factor)
        left = plane.shape_px[1] - 640 // factor
        window = Window(y=0, x=left, height=plane.shape_px[0], width=640 // factor - 1)  # the last is mixed with glass
        light = source.read(window, plane).data[0].clip(40) - 40.0
        rows, cols = np.indices(light.shape) + 0.5
        assert (rows * light).sum() / light.sum() * factor == pytest.approx(32, abs=0.25 * factor)
        assert ((cols + left) * light).sum() / light.sum() * factor == pytest.approx(99_952, abs=0.25 * factor)


@pytest.mark.parametrize(
    ("levels", "asked", "seen"),
    [
        ((1, 4, 32), 16, 4),
        ((1, 4, 32), 31.9, 4),
        ((1, 4, 32), 32, 32),
        ((1, 3, 9), 3, 3),
        ((1, 3, 9), 2.99, 1),
        ((1, 3, 9), 8.9999, 9),
        ((1, 4, 16), 16.0018, 16),
        ((1, 4, 16), 15.9999, 16),
        ((1,), 16, 1),
    ],
)
def test_the_level_that_is_read(tiny_slide: MakeSlide, levels: tuple[int, ...], asked: float, seen: int) -> None:
    """Each level is painted with its number; nothing is enlarged, nothing truncated to the level below."""
    base, *others = (np.full((576 // k, 576 // k, 3), 7 * k, np.uint8) for k in levels)
    source = open_source(spec_of(tiny_slide(base, levels=others)))
    side = math.floor(576 / asked)
    plane = Plane(shape_px=(side, side), scale=(asked, asked))
    assert (source.read(Window(y=0, x=0, height=4, width=4), plane).data == 7 * seen).all()


def test_mpp_wins_over_the_objective(tmp_path: Path) -> None:
    """20x with 0.234 um, which is what a 40x scanner gives; about that much is read as it is, finer is refused."""
    path, where = tmp_path / "slide.svs", np.zeros((256, 256), bool)
    where[40:200, 64:192] = True
    tifffile.imwrite(
        path, painted(where), tile=(64, 64), photometric="rgb", metadata=None, compression="deflate",
        description="Aperio Image Library v1\n256x256|MPP = 0.234|AppMag = 20",
    )  # fmt: skip
    with OpenSlide(path) as slide:
        assert slide.properties["openslide.objective-power"] == "20"
    for out, change in {"own": (), "about": ("tile.pixel_size=0.2341",)}.items():
        area = measured(path, tmp_path / out, *change)["area"]
        assert area["image"] == pytest.approx((256 * 0.234) ** 2, rel=1e-12)
        assert area["classes"][0]["mapped"] == pytest.approx(160 * 128 * 0.234**2, rel=1e-12)
    with pytest.raises(BadInput, match=r"0\.117 um were asked for, finer than the file holds"):
        measured(path, tmp_path / "finer", "tile.pixel_size=0.117")


DISCS = ((140, 160, 80), (390, 130, 100), (290, 410, 120))
"""(y, x, radius), px along y."""
WAYS = ((), ("tile.size_px=100", "tile.halo_px=50"), ("tile.size_px=1024",))
"""Grids over the same pixels."""


@pytest.mark.parametrize(("mpp", "bounds"), [((0.25, 0.25), False), ((0.5, 0.5), True), ((0.3, 0.24), True)])
def test_discs_have_their_area(
    tiny_slide: MakeSlide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mpp: Any, bounds: bool
) -> None:
    """pi r^2 within 0.5 %, whatever pixels, bounds, tiles, halo and plane."""
    corner, stretch = ((66, 130) if bounds else (0, 0)), mpp[0] / mpp[1]  # circles on the glass
    rows, cols = np.mgrid[:640, :820] + 0.5
    where = np.zeros(rows.shape, bool)
    for y, x, r in DISCS:
        where |= np.hypot(rows - corner[0] - y, (cols - corner[1]) / stretch - x) < r
    path = tiny_slide(painted(where), mpp=mpp)
    if bounds:
        stated = {"y": 66, "x": 130, "height": 560, "width": 680}
        with OpenSlide(path) as slide:
            said = {f"openslide.bounds-{key}": str(value) for key, value in stated.items()}
            monkeypatch.setattr(OpenSlide, "properties", dict(slide.properties) | said)
    truth = sum(math.pi * (r * mpp[0]) ** 2 for _, _, r in DISCS)
    coarse = (f"tile.pixel_size={2 * mpp[0]}",)
    found = [
        measured(path, tmp_path / str(i), "gate.threshold=0", HALF_PINK, *way)["area"]["classes"][0]
        for i, way in enumerate((*WAYS, coarse))
    ]
    assert [row["mapped"] for row in found] == [pytest.approx(truth, rel=0.005)] * 4
    assert len({row["pixels"] for row in found[:3]}) == 1


@pytest.mark.parametrize(
    ("shape", "tile", "share"), [((256, 200), 64, 0), ((256, 200), 64, 1), ((50, 70), 64, 1), ((40, 30), 512, 0)]
)
def test_no_tissue_all_tissue_and_one_tile(
    tiny_slide: MakeSlide, tmp_path: Path, shape: tuple[int, int], tile: int, share: int
) -> None:
    """More workers than tiles, too: a mask, a table and exports that can be read, with the area that is there."""
    path = tiny_slide(painted(np.full(shape, bool(share))))
    summary = measured(path, tmp_path / "run", f"tile.size_px={tile}", "segment.cut=0.275", "gate.cut=0.275", workers=9)
    assert summary["status"] == "complete"
    assert summary["area"]["classes"][0]["pixels"] == share * shape[0] * shape[1]
    assert summary["area"]["observed"] == shape[0] * shape[1] * 0.25
    mask = zarr.open_array(tmp_path / "run/run.zarr/mask/0", mode="r")[...]
    assert mask.shape == shape
    assert (mask == share).all()
    features = json.loads(export_run(str(tmp_path / "run"), "qupath").path.read_text())["features"]
    outlines = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert sum(outline.area for outline in outlines) == share * shape[0] * shape[1]


def test_transparent_tiles_are_empty_and_cannot_turn_the_cut(tiny_slide: MakeSlide, tmp_path: Path) -> None:
    """Half of the slide was not scanned, and holds black: no tissue, not observed, and Otsu's cut is that of the rest."""
    where = np.zeros((256, 512), bool)
    where[60:180, 300:440] = True
    rgba = np.dstack([painted(where), np.full(where.shape, 255, np.uint8)])
    rgba[:, :256] = 0
    summary = measured(tiny_slide(rgba, extrasamples=["unassalpha"]), tmp_path / "run", "gate.downsample=1")
    assert summary["tiles"]["empty"] == 16
    assert summary["area"]["classes"][0]["pixels"] == where.sum()
    assert summary["area"]["observed"] == 256 * 256 * 0.25
    assert summary["area"]["tissue"] == where.sum() * 0.25


def test_ten_thousand_tiles_leave_few_files(tiny_slide: MakeSlide, tmp_path: Path) -> None:
    """A file per batch and stage and a shard per array, and not one per tile."""
    y, x = np.mgrid[:1600, :1600]
    path = tiny_slide(painted((y < 400) & (x < 400)))
    summary = measured(path, tmp_path / "run", "tile.size_px=16", "tile.batch=20", "tile.halo_px=0")
    assert summary["tiles"]["total"] == 10_000
    assert summary["area"]["classes"][0]["pixels"] == 400 * 400
    assert len([file for file in (tmp_path / "run").rglob("*") if file.is_file()]) < 25 * 5 + 40


MANY = """
import json, os, sys
from pathlib import Path
from flows.engine import LocalEngine
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.source import SourceSpec

recipe = load_recipe("tissue", ("tile.size_px=256", "tile.batch=2", "audit.tiles=0"))
told = []
for slide in sys.argv[1:]:
    summary = execute(make_plan(SourceSpec(uris=(slide,)), recipe), Path(slide + ".run"), LocalEngine(1), Silent())
    held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    handles = len(list(Path("/proc/self/fd").iterdir()))
    told.append([summary["area"]["classes"][0]["pixels"], held, handles])
print(json.dumps(told))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_slide_after_slide_holds_no_more_memory_or_files(tiny_slide: MakeSlide) -> None:
    """In a process of their own, slides of 3 MB of pixels: of the last twelve one leaked each would be 36 MB."""
    random = np.random.default_rng(2)
    blocks = [np.kron(random.random((16, 16)) < 0.4, np.ones((64, 64))) > 0 for _ in range(16)]
    paths = [str(tiny_slide(painted(each), name=f"slide{i}.tif")) for i, each in enumerate(blocks)]
    done = subprocess.run([sys.executable, "-c", MANY, *paths], cwd=HOUSE, capture_output=True, text=True, check=True)
    pixels, held, handles = zip(*json.loads(done.stdout.splitlines()[-1]), strict=True)
    assert pixels == tuple(each.sum() for each in blocks)
    assert held[-1] - held[3] < 18e6
    assert handles[-1] <= handles[3]


def test_a_process_forked_with_a_slide_open_reads_its_own(tiny_slide: MakeSlide) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    spec = spec_of(tiny_slide(rgb))
    mine = open_source(spec)
    window, truth = Window(y=30, x=40, height=200, width=150), rgb[30:230, 40:190].transpose(2, 0, 1)
    np.testing.assert_array_equal(mine.read(window, native_plane(mine.info)).data, truth)

    def child() -> None:
        own = open_source(spec)
        os._exit(0 if (own.read(window, native_plane(own.info)).data == truth).all() else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    np.testing.assert_array_equal(mine.read(window, native_plane(mine.info)).data, truth)
    process.join(60)
    assert process.exitcode == 0
