"""Real small scenes, and the command line called as a person would."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine, from_origin

from classifiers.bundle import load_bundle
from classifiers.bundle_schema import to_json
from classifiers.domain import describe, domain_of
from flows.cli import main
from flows.engine import LocalEngine
from flows.models import bundle_folder
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.grid import TileGrid
from tiling.source import SourceSpec
from tiling.stack import TileStack

UTM = from_origin(500_000, 5_000_000, 10, 10)


@dataclass
class Scene:
    path: Path
    green: NDArray[Any]
    nir: NDArray[Any]

    @property
    def water(self) -> NDArray[np.bool_]:
        """McFeeters' NDWI > 0 over the whole image at once."""
        green, nir = self.green.astype(float), self.nir.astype(float)
        return (green - nir) / (green + nir) > 0


@pytest.fixture
def make_scene(tmp_path: Path) -> Callable[..., Scene]:
    """A GeoTIFF with bands green and nir and a few lakes."""

    def make(
        shape: tuple[int, int] = (300, 260), name: str = "scene.tif", transform: Affine = UTM, **profile: Any
    ) -> Scene:
        rng = np.random.default_rng(5)
        y, x = np.mgrid[: shape[0], : shape[1]]
        lakes = ((y - 60) ** 2 + (x - 70) ** 2 < 45**2) | ((y - 240) ** 2 + (x - 200) ** 2 < 18**2)
        green = np.where(lakes, 90, 60) + rng.integers(0, 20, shape)
        nir = np.where(lakes, 40, 100) + rng.integers(0, 20, shape)
        pixels = np.stack([green, nir]).astype("uint8")
        profile = {"crs": "EPSG:32633", "tiled": True, "blockxsize": 64, "blockysize": 64, **profile}
        path = tmp_path / name
        with rasterio.open(
            path, "w", driver="GTiff", height=shape[0], width=shape[1], count=2, dtype="uint8", transform=transform, **profile
        ) as file:  # fmt: skip
            file.write(pixels)
            file.descriptions = ("green", "nir")
        return Scene(path, pixels[0], pixels[1])

    return make


SMALL = ("tile.size_px=32", "tile.batch=2", "gate.downsample=4")
"""A grid of many tiles and batches over a small scene."""


@pytest.fixture
def measure(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the recipe `water` with the local engine."""

    def run(scene: Scene, *changes: str, out: str = "run", workers: int = 2, recipe: str = "water", **spec: Any) -> Any:
        plan = make_plan(SourceSpec(uris=(str(scene.path),), **spec), load_recipe(recipe, (*SMALL, *changes)))
        return execute(plan, tmp_path / out, LocalEngine(workers), Silent())

    return run


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def tilegate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command line in this process: exit code and what it printed."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["tilegate", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as leave:
            code = int(leave.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return call


@pytest.fixture
def host(tmp_path):
    """host:port that serves tmp_path/web. A process of its own: rasterio keeps the GIL while it opens a URL."""
    (tmp_path / "web").mkdir()
    script = Path(__file__).with_name("range_server.py")
    server = subprocess.Popen([sys.executable, script, tmp_path / "web"], stdout=subprocess.PIPE, text=True)
    try:
        yield f"127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture
def gate_of(tmp_path: Path) -> Callable[[NDArray[np.uint8]], Path]:
    """Pixels (3, h, w) of 10 m -> a copy of the forest gate whose domain are their tiles of 32 px of 40 m."""

    def make(pixels: NDArray[np.uint8]) -> Path:
        return write_gate(tmp_path / "gate", pixels)

    return make


def write_gate(folder: Path, pixels: NDArray[np.uint8]) -> Path:
    """See gate_of."""
    shutil.copytree(bundle_folder("classifiers") / "forest-gate", folder)
    bundle = load_bundle(folder, folder)
    looks = describe(coarse_tiles(pixels))
    (folder / "bundle.json").write_bytes(to_json(replace(bundle, domain=domain_of(looks[::2], looks[1::2]))))
    return folder


def coarse_tiles(pixels: NDArray[np.uint8], factor: int = 4, side: int = 32) -> TileStack:
    """Whole tiles of means over blocks, as numpy makes them, row by row."""
    rows, cols = (length // (factor * side) for length in pixels.shape[1:])
    cut = pixels[:, : rows * factor * side, : cols * factor * side].astype(float)
    means = np.rint(cut.reshape(3, rows * side, factor, cols * side, factor).mean((2, 4))).astype(np.uint8)
    tiles = means.reshape(3, rows, side, cols, side).transpose(1, 3, 0, 2, 4).reshape(-1, 3, side, side)
    grid = TileGrid(shape_px=(rows * side, cols * side), tile_px=side)
    places = tuple(grid.tile(row, col) for row in range(rows) for col in range(cols))
    return TileStack(tiles=places, pixels=tiles, valid=np.ones((len(tiles), side, side), bool))


def land(shape: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """(3, h, w): dark and bright fields, some darker than others, and noise."""
    rng = np.random.default_rng(seed)
    fields = np.kron(rng.uniform(0.8, 2.4, (shape[0] // 64 + 1, shape[1] // 64 + 1)), np.ones((64, 64)))
    base = np.stack([level * fields[: shape[0], : shape[1]] for level in (30, 40, 32)])
    return np.clip(base + rng.normal(0, 6, (3, *shape)), 1, 255).astype(np.uint8)


@pytest.fixture(name="land")
def land_() -> Callable[..., NDArray[np.uint8]]:
    """See land."""
    return land


@pytest.fixture(name="coarse_tiles")
def coarse_tiles_() -> Callable[..., TileStack]:
    """See coarse_tiles."""
    return coarse_tiles


@pytest.fixture(name="write_gate", scope="session")
def write_gate_() -> Callable[[Path, NDArray[np.uint8]], Path]:
    """See gate_of."""
    return write_gate


@pytest.fixture
def make_rgb(tmp_path: Path) -> Callable[..., Path]:
    """Pixels (3, h, w) -> a GeoTIFF of 10 m."""

    def make(pixels: NDArray[Any], name: str = "rgb.tif", pixel_m: float = 10) -> Path:
        path, (bands, height, width) = tmp_path / name, pixels.shape
        place, kind = from_origin(500_000, 9_700_000, pixel_m, pixel_m), {"photometric": "RGB"} if bands == 3 else {}
        with rasterio.open(path, "w", "GTiff", width, height, bands, "EPSG:32721", place, pixels.dtype, **kind) as file:
            file.write(pixels)
        return path

    return make
