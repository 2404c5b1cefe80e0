"""A run on disk: made whole, opened again, never overwritten, and its arrays are plain Zarr."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from affine import Affine
from numpy.typing import NDArray

from storage.ledger import BatchRecord
from storage.plan import RunPlan
from storage.run import Run
from tiling.errors import BadInput
from tiling.grid import Batch
from tiling.record import TileRecord
from tiling.state import State

MakePlan = Callable[..., RunPlan]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and time."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def stored(run: Run, name: str) -> NDArray[Any]:
    """An array as anyone with Zarr reads it."""
    return np.asarray(zarr.open_group(Path(run.uri) / "run.zarr", mode="r")[name][...])


def cut(batch: Batch, plane: NDArray[Any]) -> dict[tuple[int, int], NDArray[Any]]:
    """The tiles of a batch out of a whole plane (…, y, x)."""
    return {(tile.row, tile.col): plane[..., *tile.core.slices] for tile in batch.tiles}


def test_creating_twice_opens_the_same_run(tiny_plan: MakePlan, tmp_path: Path) -> None:
    first = Run.create(tmp_path / "run", tiny_plan())
    first.write_mask(first.plan.grid.batch(0, 0), {(1, 0): np.ones((16, 16), np.uint8)})
    before = files(tmp_path)
    again, opened = Run.create(tmp_path / "run", tiny_plan()), Run.open(tmp_path / "run")
    assert again.plan == opened.plan == tiny_plan()
    assert files(tmp_path) == before


def test_another_plan_is_refused_by_name_and_nothing_is_touched(tiny_plan: MakePlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    run.write_mask(run.plan.grid.batch(0, 0), {(1, 0): np.ones((16, 16), np.uint8)})
    before = files(tmp_path)
    other = tiny_plan(recipe={"name": "water", "gate": {"threshold": 0.3, "positive": []}}, gate_tile_px=8)
    with pytest.raises(BadInput, match=r"left as it is") as caught:
        Run.create(tmp_path / "run", other)
    assert "recipe.gate.threshold: 0.1 -> 0.3" in str(caught.value)
    assert "gate_tile_px: 4 -> 8" in str(caught.value)
    assert files(tmp_path) == before


def test_an_image_that_moved_is_read_where_it_now_is(tiny_plan: MakePlan, tmp_path: Path) -> None:
    plan = tiny_plan()
    Run.create(tmp_path / "run", plan)
    moved = tiny_plan(source=replace(plan.source, uris=("/new/place.tif",)))
    assert Run.create(tmp_path / "run", moved).plan.source.uris == ("/new/place.tif",)
    assert Run.open(tmp_path / "run").plan.source.uris == ("/new/place.tif",)


def test_a_signed_address_lies_aside_until_another_is_given_or_the_run_is_finished(
    tiny_plan: MakePlan, tmp_path: Path
) -> None:
    plan, aside = tiny_plan(), tmp_path / "run" / ".address"
    signed = tiny_plan(source=replace(plan.source, uris=("https://host/scene.tif?sig=secret",)))
    Run.create(tmp_path / "run", signed)
    assert Run.open(tmp_path / "run").plan.source.uris == ("https://host/scene.tif?sig=secret",)
    assert "secret" not in (tmp_path / "run" / "run.zarr" / "zarr.json").read_text()
    aside.write_bytes(b"[1,")
    with pytest.raises(BadInput, match=r"\.address is damaged"):
        Run.open(tmp_path / "run")
    aside.unlink()
    Run.create(tmp_path / "run", signed).finish()
    assert Run.open(tmp_path / "run").plan.source.uris == ("https://host/scene.tif",)
    Run.create(tmp_path / "run", signed)
    local = tiny_plan(source=replace(plan.source, uris=("/data/scene.tif",)))
    Run.create(tmp_path / "run", local)  # workers must not go on with the old address
    assert Run.open(tmp_path / "run").plan.source.uris == ("/data/scene.tif",)
    assert not aside.exists()


def test_a_folder_with_something_else_in_it_is_refused(tiny_plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("four years of work")
    before = files(tmp_path)
    with pytest.raises(BadInput, match="not empty and holds no run"):
        Run.create(tmp_path, tiny_plan())
    with pytest.raises(BadInput, match="is a file"):
        Run.create(tmp_path / "thesis.docx", tiny_plan())
    with pytest.raises(BadInput, match="holds no run"):
        Run.open(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("attributes", [{}, {"ome": {"version": "0.5"}}], ids=["bare", "described"])
def test_a_store_of_someone_else_is_not_wiped(tiny_plan: MakePlan, tmp_path: Path, attributes: dict[str, Any]) -> None:
    root = zarr.open_group(tmp_path / "run.zarr", mode="w", attributes=attributes)
    root.create_array("measurements", data=np.arange(9))
    before = files(tmp_path)
    with pytest.raises(BadInput, match="no run"):
        Run.create(tmp_path, tiny_plan())
    assert files(tmp_path) == before


def test_an_interrupted_creation_is_simply_done_again(tiny_plan: MakePlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    run.write_mask(run.plan.grid.batch(1, 1), {(3, 2): np.ones((2, 16), np.uint8)})
    zarr.open_group(Path(run.uri) / "run.zarr", mode="r+").attrs.clear()  # the plan is written last: it was not reached
    with pytest.raises(BadInput, match="holds no run"):
        Run.open(Path(run.uri))
    assert Run.create(Path(run.uri), tiny_plan()).plan == tiny_plan()
    assert Run.open(Path(run.uri)).plan == tiny_plan()
    assert not stored(run, "mask/0").any()


def test_a_damaged_store_is_said(tiny_plan: MakePlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    (Path(run.uri) / "run.zarr" / "zarr.json").write_text('{"half": ')
    with pytest.raises(BadInput, match=r"zarr\.json is damaged"):
        Run.create(tmp_path / "run", tiny_plan())


def test_every_array_is_laid_out_at_once(tiny_plan: MakePlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    root = zarr.open_group(Path(run.uri) / "run.zarr", mode="r")
    layout = {name: (root[name].shape, str(root[name].dtype)) for name in ("pixels/fine", "pixels/gate", "mask/0")}
    assert layout == {
        "pixels/fine": ((2, 50, 70), "uint16"),
        "pixels/gate": ((2, 13, 18), "uint16"),
        "mask/0": ((50, 70), "uint8"),
    }
    assert root["mask/0"].shards == (32, 32)
    assert root["mask/0"].chunks == (16, 16)
    assert root["pixels/gate"].chunks == (2, 8, 8)  # a batch of the gate's plane is one chunk
    shared = Run.create(tmp_path / "shared", tiny_plan(gate_tile_px=16))
    assert "gate" not in zarr.open_group(Path(shared.uri) / "run.zarr", mode="r")["pixels"]


def test_masks_come_back_whole_whatever_the_order_of_batches(tiny_plan: MakePlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    labels = np.random.default_rng(1).integers(0, 3, (50, 70), dtype=np.uint8)
    for batch in sorted(run.plan.grid.batches(), key=lambda batch: (-batch.col, batch.row)):
        sealed = run.write_mask(batch, cut(batch, labels))
        shard = Path(run.uri) / "run.zarr" / "mask" / "0" / "c" / str(batch.row) / str(batch.col)
        assert sealed == {"mask/0": hashlib.sha256(shard.read_bytes()).hexdigest()}
    np.testing.assert_array_equal(stored(run, "mask/0"), labels)
    np.testing.assert_array_equal(np.asarray(run.array("mask/0")[31:33, 63:65]), labels[31:33, 63:65])


def test_the_same_bytes_are_written_twice(tiny_plan: MakePlan, tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 3, (50, 70), dtype=np.uint8)
    digests = set()
    for name in ("a", "b"):
        run = Run.create(tmp_path / name, tiny_plan())
        batch = run.plan.grid.batch(0, 1)
        tiles = cut(batch, labels)
        backwards = dict(reversed(tiles.items()))
        digests |= {run.write_mask(batch, given)["mask/0"] for given in (tiles, tiles, backwards)}
    assert len(digests) == 1


def test_an_all_zero_shard_leaves_no_file(tiny_plan: MakePlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    batch, shard = run.plan.grid.batch(1, 2), Path(run.uri) / "run.zarr" / "mask" / "0" / "c" / "1" / "2"
    background = {(2, 4): np.zeros((16, 6), np.uint8)}
    for nothing in ({}, background):
        assert run.write_mask(batch, nothing) == {"mask/0": ""}
        assert not shard.exists()
        assert run.write_mask(batch, {(3, 4): np.ones((2, 6), np.uint8)})["mask/0"]
        assert shard.exists()
        assert run.write_mask(batch, nothing) == {"mask/0": ""}  # done again, with nothing found
        assert not shard.exists()


@pytest.mark.parametrize("gate_tile_px", [4, 16], ids=["two planes", "one plane"])
def test_pixels_of_both_planes_come_back(tiny_plan: MakePlan, tmp_path: Path, gate_tile_px: int) -> None:
    plan = tiny_plan(gate_tile_px=gate_tile_px)
    run, rng = Run.create(tmp_path / "run", plan), np.random.default_rng(2)
    gate = rng.integers(0, 65536, (2, *plan.gate_grid.shape_px), dtype=np.uint16)
    for batch in plan.gate_grid.batches():
        run.write_gate_pixels(batch, cut(batch, gate))
    np.testing.assert_array_equal(stored(run, "pixels/fine" if plan.one_plane else "pixels/gate"), gate)
    if not plan.one_plane:
        fine = rng.integers(0, 65536, (2, 16, 6), dtype=np.uint16)
        run.write_fine_pixels(plan.grid.batch(1, 2), {(2, 4): fine})
        expected = np.zeros((2, 50, 70), np.uint16)
        expected[:, 32:48, 64:] = fine
        np.testing.assert_array_equal(stored(run, "pixels/fine"), expected)


def test_float_rasters_with_a_nodata_of_nan_can_be_stored(tiny_plan: MakePlan, tmp_path: Path) -> None:
    plan = tiny_plan(image=replace(tiny_plan().image, dtype="float32", nodata=math.nan))
    run = Run.create(tmp_path / "run", plan)
    opened = Run.open(tmp_path / "run").plan
    assert opened.fingerprint == plan.fingerprint
    assert opened.image.nodata is not None
    assert math.isnan(opened.image.nodata)
    values = np.full((2, 4, 4), np.nan, np.float32)
    values[0, 0, 0] = 1.5
    run.write_gate_pixels(plan.gate_grid.batch(0, 0), {(0, 0): values, (1, 1): values})
    np.testing.assert_array_equal(stored(run, "pixels/gate")[:, :4, :4], values)
    np.testing.assert_array_equal(stored(run, "pixels/gate")[:, 4:8, 4:8], values)


def test_attributes_place_the_planes_on_the_ground(tiny_plan: MakePlan, tmp_path: Path) -> None:
    plan = tiny_plan()
    run = Run.create(tmp_path / "run", plan)
    attributes = dict(zarr.open_group(Path(run.uri) / "run.zarr", mode="r").attrs)
    (multiscale,) = attributes["ome"]["multiscales"]
    scales = {data["path"]: data["coordinateTransformations"][0]["scale"] for data in multiscale["datasets"]}
    assert scales == {"pixels/fine": [1.0, 20.0, 20.0], "pixels/gate": [1.0, 80.0, 80.0]}
    assert [axis.get("unit") for axis in multiscale["axes"]] == [None, "meter", "meter"]
    fine = Affine(*attributes["multiscales"]["layout"][0]["spatial:transform"])
    image = plan.image.transform
    assert image is not None
    assert fine @ (70, 50) == image @ (140, 100)  # the far corner, in pixels of each
    assert attributes["multiscales"]["layout"][0]["spatial:shape"] == [50, 70]
    assert attributes["tilegate"]["fingerprint"] == plan.fingerprint


def test_what_is_committed_is_there_for_everyone(tiny_plan: MakePlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    assert run.committed("gate") == run.committed("segment") == []
    tile = TileRecord(row=0, col=1, state=State.SEGMENTED, valid_area=2.0, pixels=(1, 2), area=(0.1, 0.2))
    record = BatchRecord(stage="segment", row=0, col=0, tiles=(tile,), shards={"mask/0": ""}, seconds=1.5)
    run.commit(record)
    assert Run.open(Path(run.uri)).committed("segment") == [record]
    assert run.committed("gate") == []


def test_results_are_files_beside_the_store(tiny_plan: MakePlan, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny_plan())
    assert run.summary() is None
    run.write("summary.json", b'{"schema": 1}')
    assert run.summary() == {"schema": 1}
    run.write_tiles([TileRecord(row=0, col=c, state=State.NEGATIVE, score=0.5) for c in range(3)])
    assert pq.read_table(Path(run.uri) / "tiles.parquet").column("col").to_pylist() == [0, 1, 2]
    run.write("picture.png", b"png")
    assert run.read("picture.png") == (Path(run.uri) / "picture.png").read_bytes() == b"png"
    assert sorted(path.name for path in Path(run.uri).iterdir()) == [
        "picture.png",
        "run.zarr",
        "summary.json",
        "tiles.parquet",
    ]
