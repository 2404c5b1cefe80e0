"""Images, command lines and comparisons for runs that are broken on purpose and finished afterwards."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import rasterio
import tifffile
from rasterio.transform import from_origin

from storage.ledger import BatchRecord
from storage.run import Run
from tiling.errors import BadInput

UTM = from_origin(500_000, 5_000_000, 10, 10)


@dataclass(frozen=True)
class Case:
    """What is measured again and again."""

    image: Path
    recipe: str
    changes: tuple[str, ...]
    workers: int = 2

    def run(self, folder: Path) -> list[object]:
        """The command that starts the run, or finishes it."""
        changes = [word for change in self.changes for word in ("--set", change)]
        fixed = ("--engine", "local", "--workers", self.workers, "--json")
        return ["run", self.image, "--recipe", self.recipe, "--out", folder, *fixed, *changes]

    def resume(self, folder: Path) -> list[object]:
        """The other command that finishes it."""
        return ["resume", folder, "--workers", self.workers, "--json"]


def write_scene(path: Path, shape: tuple[int, int] = (600, 520)) -> Path:
    """Bands green and nir with two lakes and noise."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: shape[0], : shape[1]]
    lakes = ((y - 60) ** 2 + (x - 70) ** 2 < 45**2) | ((y - 240) ** 2 + (x - 200) ** 2 < 60**2)
    green = np.where(lakes, 90, 60) + rng.integers(0, 20, shape)
    nir = np.where(lakes, 40, 100) + rng.integers(0, 20, shape)
    size = {"height": shape[0], "width": shape[1], "count": 2, "dtype": "uint8"}
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    with rasterio.open(path, "w", driver="GTiff", transform=UTM, crs="EPSG:32633", **size, **tiled) as file:
        file.write(np.stack([green, nir]).astype("uint8"))
        file.descriptions = ("green", "nir")
    return path


def write_slide(path: Path, side: int = 512) -> Path:
    """White glass with one piece of pink tissue and a brown spot in it, 0.5 um a pixel."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:side, :side] / side
    rgb = np.full((side, side, 3), 244)
    rgb[(y - 0.5) ** 2 + (x - 0.4) ** 2 < 0.09] = (214, 150, 190)
    rgb[(y - 0.55) ** 2 + (x - 0.45) ** 2 < 0.01] = (110, 70, 40)
    noisy = np.clip(rgb + rng.integers(-8, 9, rgb.shape), 0, 255).astype("uint8")
    per_cm = 10_000 / 0.5
    with tifffile.TiffWriter(path) as file:
        file.write(
            noisy, tile=(64, 64), photometric="rgb", compression="deflate", metadata=None,
            resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
        )  # fmt: skip
    return path


def contents(folder: Path) -> dict[str, str]:
    """All that a finished run must hold, without what clocks wrote: {file: sha256}. Litter shows up as a file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(timeless(path)).hexdigest() for path in files}


def timeless(path: Path) -> bytes:
    """A file's bytes; of those that hold timings, everything else."""
    if path.name == "summary.json":
        summary = json.loads(path.read_text())
        del summary["seconds"]
        return json.dumps(summary).encode()
    if path.name == "report.html":
        return re.sub(rb"<td>seconds<td><code>[^<]*", b"", path.read_bytes())
    if path.suffix == ".parquet" and "ledger" in path.parts:
        table = pq.read_table(path)
        told = {key: value for key, value in (table.schema.metadata or {}).items() if key != b"seconds"}
        return repr((sorted(told.items()), table.to_pylist())).encode()
    return path.read_bytes()


def differences(folder: Path, wanted: dict[str, str]) -> list[str]:
    """Files that differ from those of an unbroken run, are missing, or should not be there."""
    found = contents(folder)
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


@dataclass
class Watch:
    """What a reader saw of a run while it was written, killed and resumed."""

    checked: int = 0
    lies: list[str] = field(default_factory=list)
    _known: set[tuple[str, ...]] = field(default_factory=set)

    def look(self, folder: Path) -> None:
        """Every shard that a commit record names must be whole, whenever one looks."""
        try:
            run = Run.open(folder)
        except BadInput as error:
            if "holds no run" not in str(error):  # a plan is there or not, never half
                self.lies.append(str(error))
            return
        for stage in ("gate", "segment"):
            for record in run.committed(stage):
                self._check(folder, record)

    def _check(self, folder: Path, record: BatchRecord) -> None:
        for name, digest in record.shards.items():
            key = (str(folder), name, record.id, digest)
            if key in self._known:
                continue
            found = sha256_of(shard_path(folder, name, record.row, record.col))
            if found != digest:
                self.lies.append(f"{folder.name} {name} {record.id}: committed as {digest[:8]}, holds {found[:8]}")
            self._known.add(key)
            self.checked += 1


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """A reader in a thread of its own, until the block is left; then it looks once more."""
    watch, stop = Watch(), threading.Event()

    def keep_looking() -> None:
        while not stop.is_set():
            try:
                watch.look(folder)
            except Exception as error:  # a reader must never stumble either
                watch.lies.append(repr(error))
            time.sleep(0.02)

    thread = threading.Thread(target=keep_looking)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
    watch.look(folder)


def shard_path(folder: Path, name: str, row: int, col: int) -> Path:
    """Where the shard of a batch lies (default chunk keys of Zarr v3)."""
    bands = () if name.startswith("mask") else ("0",)
    return folder.joinpath("run.zarr", name, "c", *bands, str(row), str(col))


def sha256_of(path: Path) -> str:
    """Of a file's bytes, "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def litter(folder: Path) -> list[str]:
    """What a writer that was killed left behind."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in (".partial", ".tmp"))


def plain_error(err: str, *words: Any) -> bool:
    """True for a message meant for people: no traceback, and every word in it."""
    return "Traceback" not in err and all(str(word) in err for word in words)
