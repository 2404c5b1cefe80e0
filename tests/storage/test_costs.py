"""What a batch costs, counted: memory, files, flushes, and what a worker has to import."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from storage.disk import LocalFolder
from storage.ledger import BatchRecord
from storage.plan import RunPlan
from storage.run import Run
from tiling.grid import TileGrid

MakePlan = Callable[..., RunPlan]


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is flushed to the disk from here on, in order."""
    paths: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return paths


def test_a_batch_with_one_tile_holds_no_canvas(tiny_plan: MakePlan, tmp_path: Path) -> None:
    """8 x 8 tiles of 256 x 256 x 2 px of 2 bytes are 16.8 MB, one of them 0.26 MB."""
    plan = tiny_plan(
        grid=TileGrid(shape_px=(2048, 2048), tile_px=256, batch_tiles=8),
        fine=tiny_plan().fine.coarser((2048, 2048), 1.0),
        gate_tile_px=8,
    )
    run = Run.create(tmp_path / "run", plan)
    core = np.random.default_rng(1).integers(0, 65536, (2, 256, 256), dtype=np.uint16)
    batch = plan.grid.batch(0, 0)
    tracemalloc.start()
    try:
        run.write_fine_pixels(batch, {(3, 5): core})
        run.write_mask(batch, {(3, 5): np.ones((256, 256), np.uint8)})
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_500_000
    np.testing.assert_array_equal(np.asarray(run.array("pixels/fine")[:, 768:1024, 1280:1536]), core)


def test_each_file_is_flushed_once_and_so_is_its_folder(
    tiny_plan: MakePlan, tmp_path: Path, flushed: list[Path]
) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    for col in (0, 1):
        flushed.clear()  # the folders of the first batch are new
        with run.attempts("segment") as attempts:
            attempts.begin(0, col)
            shards = run.write_mask(run.plan.grid.batch(0, col), {(0, 2 * col): np.ones((16, 16), np.uint8)})
            run.commit(BatchRecord(stage="segment", row=0, col=col, tiles=(), shards=shards, seconds=0.0))
    shard, folder_of_shards, part, folder_of_parts = flushed
    assert shard.name.startswith(".1.")
    assert folder_of_shards == shard.parent == tmp_path / "run/run.zarr/mask/0/c/0"
    assert part.name.startswith(".r0000c0001.parquet.")
    assert folder_of_parts == part.parent == tmp_path / "run/ledger/segment"


def test_new_folders_are_flushed_into_those_above(tmp_path: Path, flushed: list[Path]) -> None:
    LocalFolder(tmp_path / "run").write("ledger/gate/part", b"x")
    *above, _, folder = flushed
    assert above == [tmp_path, tmp_path / "run", tmp_path / "run/ledger"]
    assert folder == tmp_path / "run/ledger/gate"


def test_a_worker_that_writes_needs_no_zarr(tiny_plan: MakePlan, tmp_path: Path) -> None:
    """It costs a quarter of a second; the process that makes the run pays it, a worker on another place does not."""
    Run.create(tmp_path / "run", tiny_plan())
    code = (
        "import sys, numpy as np\nfrom storage.run import Run\n"
        "run = Run.open(sys.argv[1])\n"
        "assert run.write_mask(run.plan.grid.batch(0, 0), {(0, 0): np.ones((16, 16), np.uint8)})['mask/0']\n"
        "print(sorted({'zarr', 'pyarrow', 'obstore'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
