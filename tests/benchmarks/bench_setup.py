"""What every benchmark runs with: paths, recipe, options; and one tilegate run as a measured process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_process import measure, tilegate

RECIPE = """name = "bench"
[tile]
size_px = {tile_px}
halo_px = 0
[gate]
model = "{gate}"
[audit]
tiles = 0
[segment]
model = "{unet}"
[area]
unit = "{unit}"
"""
UNITS = {"slide": "mm2", "cog": "ha"}
SHARES = (2, 5, 10, 25, 50)
"""Per cent of the tiles that pass the gate."""
NONE, ALL = 1.0, 0.0
"""Thresholds that let nothing and everything through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Plain values; made once."""

    folder: Path
    """bench-out: images, models, recipes, scratch."""
    size_px: int
    """Side of the images."""
    rounds: int
    """Of everything but the plain loop."""
    plain_rounds: int
    """Of the plain loop."""
    quick: bool
    """Small images, fewer shares."""
    changes: tuple[str, ...]
    """--set of every tilegate run."""
    images: dict[str, Path]
    """By kind: slide, cog."""
    models: dict[str, dict[str, Path]]
    """By kind and name: gate, unet."""

    @property
    def shares(self) -> tuple[int, ...]:
        """Per cent positive that are run."""
        return (5, 25) if self.quick else SHARES

    @property
    def run_timeout_s(self) -> float:
        """After which a run of tilegate hangs."""
        return 120 if self.quick else 1800

    @property
    def scratch(self) -> Path:
        """For runs; emptied behind each."""
        return self.folder / "scratch"

    def recipe(self, kind: str, tile_px: int) -> Path:
        """The recipe of one kind of image, written."""
        path = self.folder / f"bench-{kind}.toml"
        models = self.models[kind]
        path.write_text(RECIPE.format(tile_px=tile_px, gate=models["gate"], unet=models["unet"], unit=UNITS[kind]))
        return path


@contextmanager
def scratch_run(folder: Path, name: str) -> Iterator[Path]:
    """A new folder for a run, gone afterwards."""
    out = folder / f"{name}-{os.getpid()}"
    shutil.rmtree(out, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield out
    finally:
        shutil.rmtree(out, ignore_errors=True)


def run(
    setup: Setup,
    image: Path,
    recipe: Path,
    threshold: float,
    options: Sequence[str] = ("--engine", "local"),
    env: dict[str, str] | None = None,
) -> dict[str, Any]:
    """One `tilegate run` as a whole process: its figures, and what its summary says."""
    changes = (f"gate.threshold={threshold!r}", *setup.changes)
    with scratch_run(setup.scratch, "run") as out:
        sets = [word for change in changes for word in ("--set", change)]
        command = tilegate("run", image, "--recipe", recipe, "--out", out, "--json", *sets, *options)
        done = measure(command, env=clean_environment() | (env or {}), timeout_s=setup.run_timeout_s)
        summary = json.loads(done.out)
        return done.figures() | summary_figures(summary) | {"shards": shards_sha256(out), "bytes": bytes_below(out)}


def clean_environment() -> dict[str, str]:
    """Ours, without a Prefect that somebody has set up, and with modules compiled once, as installed ones are."""
    ours = ("PREFECT_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def summary_figures(summary: dict[str, Any]) -> dict[str, Any]:
    """Of a summary.json."""
    timeless = {name: value for name, value in summary.items() if name != "seconds"}
    return {
        "status": summary["status"],
        "tiles": summary["tiles"]["total"],
        "positive": summary["tiles"]["positive"],
        "pixels": sum(row["pixels"] for row in summary["area"]["classes"]),
        "stage_s": summary["seconds"],
        "summary_sha256": hashlib.sha256(json.dumps(timeless, sort_keys=True).encode()).hexdigest(),
        "runtimes": {who: summary[who].get("runtime") for who in ("gate", "segmenter")},
    }


def shards_sha256(out: Path) -> str:
    """Of every file of the mask, with its name."""
    digest = hashlib.sha256()
    for path in sorted((out / "run.zarr" / "mask").rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(out)).encode() + path.read_bytes())
    return digest.hexdigest()


def bytes_below(folder: Path) -> int:
    """Sum of the sizes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
