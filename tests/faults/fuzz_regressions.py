"""The smallest inputs that once broke a rule, made here. Each is (what it was, how to try it).

`python tests/faults/fuzz_regressions.py FOLDER` writes the files, to be looked at with other tools.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_seeds
import fuzz_trials
import numpy as np
import tifffile
from fuzz_seeds import BARE, TISSUE, WATER, Seed
from fuzz_tiff import Tiff
from fuzz_trials import Result
from zygote import Zygote

Go = Callable[[Zygote, Path, Result], None]
LONG, LONG8 = 4, 16


def slide(path: Path, **how: Any) -> Path:
    """One tile of grey glass."""
    shared = {"photometric": "rgb", "metadata": None, "resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=how.pop("bigtiff", False)) as file:
        file.write(np.full((64, 64, 3), 200, np.uint8), tile=(64, 64), **shared, **how)
    return path


def set_tags(path: Path, values: dict[int, int], kind: int = LONG, directory: int = 0) -> Path:
    """Tags of one directory declare other single values."""
    tiff = Tiff(path.read_bytes())
    for entry in tiff.directories[directory].entries:
        if entry.tag in values:
            tiff.put("H", entry.at + 2, kind)
            tiff.put(tiff.word, entry.at + 4, 1)
            tiff.put("Q" if kind == LONG8 else "I", entry.at + (12 if tiff.big else 8), values[entry.tag])
    path.write_bytes(tiff.data)
    return path


def zero_array(path: Path, tag: int, directory: int) -> Path:
    """All values of an array of a directory are 0."""
    tiff = Tiff(path.read_bytes())
    for entry in tiff.directories[directory].entries:
        if entry.tag == tag:
            tiff.data[entry.values_at : entry.values_at + entry.size] = bytes(entry.size)
    path.write_bytes(tiff.data)
    return path


def huge_byte_count(folder: Path) -> Seed:
    """OpenSlide allocates what a JPEG tile claims to take, and GLib aborts the process when that fails."""
    path = slide(folder / "bytes.tif", compression="jpeg", bigtiff=True)
    return Seed("huge byte count", set_tags(path, {325: 2**40}, LONG8), TISSUE)


def huge_tile(folder: Path, compression: str | None = None, description: str | None = None) -> Seed:
    """The same with the size of a decoded tile."""
    path = slide(folder / f"tile-{compression}.tif", compression=compression, description=description)
    return Seed("huge tile", set_tags(path, {322: 2**20, 323: 2**20}), TISSUE)


def narrow_level(folder: Path) -> Seed:
    """Level 1 has other tiles than it says: transparent there, but level 0 is whole."""
    path = fuzz_seeds.slide(folder / "narrow.tif", None, compression="lzw")
    return Seed("narrow level", set_tags(path, {322: 2}, directory=1), TISSUE)


def tall_level(folder: Path) -> Seed:
    """Level 1 claims to be taller than it can be."""
    path = fuzz_seeds.slide(folder / "tall.svs", fuzz_seeds.APERIO)
    return Seed("tall level", set_tags(path, {257: 255}, directory=1), TISSUE)


def empty_level(folder: Path) -> Seed:
    """Level 1 holds no tile at all: OpenSlide reads it as transparent."""
    path = fuzz_seeds.slide(folder / "empty.svs", fuzz_seeds.APERIO)
    return Seed("empty level", zero_array(path, 325, directory=1), TISSUE)


def huge_block(folder: Path) -> Seed:
    """GDAL allocates a whole block, however little of it is in the image."""
    path = fuzz_seeds.raster(folder / "block.tif", compress="deflate", **fuzz_seeds.TILED)
    return Seed("huge block", set_tags(path, {323: 2**24}), WATER)


def broken_part(folder: Path) -> Seed:
    """One block of a VRT's part is cut off: its tiles are unreadable, the others are measured."""
    part = fuzz_seeds.raster(folder / "part.tif", compress="deflate", **fuzz_seeds.TILED)
    part.write_bytes(part.read_bytes()[:-500])
    path = folder / "broken.vrt"
    path.write_text(fuzz_seeds.VRT)
    return Seed("broken part", path, WATER, beside=(part,))


def missing_part(folder: Path) -> Seed:
    """A VRT whose part is not there."""
    path = folder / "missing.vrt"
    path.write_text(fuzz_seeds.VRT.replace("part.tif", "nowhere.tif"))
    return Seed("missing part", path, WATER)


def broken_sidecar(folder: Path, name: str, keep: int) -> Seed:
    """GDAL goes on without a mask or metadata beside the image that it cannot read."""
    [seed] = [seed for seed in fuzz_seeds.all_seeds(folder)["sidecar"] if seed.name == name]
    seed.broken.write_bytes(seed.broken.read_bytes()[:keep])
    return seed


def png_without_end(folder: Path) -> Seed:
    """GDAL's fast path gives other pixels at every read of it."""
    path = fuzz_seeds.pictures()["drawing.png"](folder / "endless.png")
    path.write_bytes(path.read_bytes()[:-12])
    return Seed("png without end", path, BARE)


def endless_box(folder: Path) -> Seed:
    """A box of length 0 inside another: GDAL never comes to the end of its IMAGE_STRUCTURE (compression, interleaving)."""
    path = fuzz_seeds.pictures()["paper.jp2"](folder / "endless.jp2")
    data = path.read_bytes()
    at = data.index(b"ihdr") - 4
    path.write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    return Seed("endless box", path, BARE)


IMAGES: dict[str, Callable[[Path], Seed]] = {
    "huge byte count": huge_byte_count,
    "huge tile": huge_tile,
    "huge tile, jpeg": lambda folder: huge_tile(folder, "jpeg"),
    "huge tile, aperio": lambda folder: huge_tile(folder, "lzw", fuzz_seeds.APERIO.replace("256x192", "64x64")),
    "narrow level": narrow_level,
    "tall level": tall_level,
    "empty level": empty_level,
    "huge block": huge_block,
    "broken part": broken_part,
    "missing part": missing_part,
    "png without end": png_without_end,
    "endless box": endless_box,
    "mask beside it is cut": lambda folder: broken_sidecar(folder, "msk", 100),
    "mask beside it is empty": lambda folder: broken_sidecar(folder, "msk", 0),
    "metadata beside it is cut": lambda folder: broken_sidecar(folder, "aux", 100),
    "metadata beside it is empty": lambda folder: broken_sidecar(folder, "aux", 0),
}

RECIPES = {
    "a number of 5,000 digits": fuzz_seeds.RECIPE.replace("size_px = 32", f"size_px = {'9' * 5000}"),
    "nested arrays": fuzz_seeds.RECIPE.replace("size_px = 32", f"size_px = {'[' * 3000}"),
    "nested tables": f"{fuzz_seeds.RECIPE}\nx = {'{a=' * 3000}",
    "a long word": fuzz_seeds.RECIPE.replace("size_px = 32", f'size_px = "{"a" * 200_000}"'),
    "a long word as model": fuzz_seeds.RECIPE.replace('model = "ndwi"', f'model = "/{"a" * 200_000}"'),
}

CHANGES = {
    "a number of 5,000 digits": f"tile.size_px={'9' * 5000}",
    "nested arrays": f"tile.size_px={'[' * 3000}",
    "a deep key": f"{'a.' * 20_000}a=1",
}

RUNS: dict[str, tuple[str, bytes]] = {
    "mask shard": ("run.zarr/mask/0/c/0/0", b"\xff" * 64),
    "mask shard at an edge": ("run.zarr/mask/0/c/2/2", b"\xff" * 64),
    "pixel shard": ("run.zarr/pixels/fine/c/0/0/0", b""),
    "gate shard": ("run.zarr/pixels/gate/c/0/0/0", b"\0"),
    "array is no JSON": ("run.zarr/mask/0/zarr.json", b"\xff"),
    "array is another": ("run.zarr/pixels/fine/zarr.json", b"{}"),
    "plan too deep": ("run.zarr/zarr.json", b"[" * 100_000),
    "plan is null": ("run.zarr/zarr.json", b"null"),
    "plan is empty": ("run.zarr/zarr.json", b'{"attributes": {"tilegate": {"plan": null}}}'),
    "part of the ledger": ("ledger/segment/r0001c0001.parquet", b"PAR1PAR1"),
    "summary too deep": ("summary.json", b'{"a":' * 50_000),
    "summary is a list": ("summary.json", b"[]"),
    "summary is empty": ("summary.json", b"{}"),
}
"""A file of a run and what stands there in its place."""


def try_image(make: Callable[[Path], Seed]) -> Go:
    """Measured, and estimated."""

    def go(zygote: Zygote, folder: Path, result: Result) -> None:
        (folder / "made").mkdir()
        seed = make(folder / "made")
        trial = folder / "trial"
        trial.mkdir()
        fuzz_trials.measure(zygote, seed, seed.path.read_bytes(), trial, result)
        fuzz_trials.estimate(zygote, seed, trial / "in" / seed.path.name, result)

    return go


def try_recipe(image: Path, text: str, *more: str) -> Go:
    """Refused, and soon."""

    def go(zygote: Zygote, folder: Path, result: Result) -> None:
        (folder / "recipe.toml").write_text(text)
        recipe = (folder / "recipe.toml", "--bands=green=1,nir=2", *more)
        fuzz_trials.call(zygote, result, "plan", image, "--recipe", *recipe, timeout_s=20)

    return go


def try_run(made: fuzz_trials.MadeRun, file: str, data: bytes, finished: bool) -> Go:
    """The same area, or refused."""

    def go(zygote: Zygote, folder: Path, result: Result) -> None:
        run = fuzz_trials.copy_run(made, folder, finished)
        (run / file).write_bytes(data)
        fuzz_trials.judge_run(zygote, run, made, result, finished)

    return go


if __name__ == "__main__":
    where = Path(sys.argv[1])
    where.mkdir(parents=True, exist_ok=True)
    print(json.dumps({name: str(make(where).path) for name, make in IMAGES.items()}, indent=2))
