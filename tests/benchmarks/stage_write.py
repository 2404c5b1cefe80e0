"""Writing shards against raw files."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from bench_timing import Case, Stage
from numpy.typing import NDArray

Key = tuple[int, int]
"""(row, col) of a tile in the grid."""
WRITES = 5
"""Of a shard per round: one alone is a few milliseconds."""


def write(arguments: argparse.Namespace) -> Stage:
    """One shard of a run: masks or pixels, of all tiles of a batch or of a few; fsynced and renamed on both sides."""
    from flows.planning import make_plan
    from flows.recipe import load_recipe
    from storage.run import Run
    from tiling.source import SourceSpec

    _, what, density = arguments.stage.split("-")
    changes = ("gate.threshold=0.5", f"tile.batch={arguments.side}")
    plan = make_plan(SourceSpec(uris=(str(arguments.image),)), load_recipe(str(arguments.recipe), changes))
    folder: Path = arguments.folder
    run, batch = Run.create(folder, plan), plan.grid.batch(0, 0)
    tiles: dict[Key, NDArray[Any]] = batch_tiles(arguments.image, plan, batch)
    tiles = dict(list(tiles.items())[:: 1 if density == "dense" else max(2, len(tiles) // 3)])
    if what == "mask":
        tiles = {key: (colours.min(axis=0) < 140).astype(np.uint8) for key, colours in tiles.items()}
    put = run.write_mask if what == "mask" else run.write_fine_pixels
    put(batch, tiles)
    encoded = max(
        (p for p in (folder / "run.zarr").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    ).read_bytes()
    plain = b"".join(tile.tobytes() for tile in tiles.values())
    cases: dict[str, Case] = {
        "raw, not encoded": lambda: [raw_write(folder / "raw.bin", plain) for _ in range(WRITES)],
        "raw, same bytes": lambda: [raw_write(folder / "raw.bin", encoded) for _ in range(WRITES)],
        "tilegate": lambda: [put(batch, tiles) for _ in range(WRITES)],
    }
    title = f"Write: one shard of {len(tiles)} tiles ({what}, {len(plain) / 1e6:.1f} MB, encoded {len(encoded) / 1e6:.2f} MB)"
    return (
        f"{title}, {WRITES} times; raw = write, fsync, rename, fsync of the folder.",
        "MB",
        WRITES * len(plain) / 1e6,
        cases,
    )


def batch_tiles(image: Path, plan: Any, batch: Any) -> dict[Key, NDArray[np.generic]]:
    """{(row, col): (band, h, w)} of the batch."""
    from tiling.open import open_source
    from tiling.source import SourceSpec

    source = open_source(SourceSpec(uris=(str(image),)))
    found = {(tile.row, tile.col): source.read(tile.core, plan.fine).data for tile in batch.tiles}
    source.close()
    return found


def raw_write(path: Path, data: bytes) -> None:
    """What a durable write costs at least."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
