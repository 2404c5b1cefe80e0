"""Disk full, quota, files too large: one clear message, nothing half done, and a resume once there is room."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from broken_runs import Case, Watch, contents, differences, litter, write_scene
from counts import COUNTS
from small_room import kind_of
from zygote import Zygote

from flows.cli import main

pytestmark = pytest.mark.faults

CHANGES = ("tile.size_px=128", "tile.batch=4", "gate.downsample=2", "audit.tiles=20")
"""Four batches: shards of 70 KB (gate) and 290 KB (fine), larger than commit records and tables."""
KINDS = {
    *("pixels/gate", "pixels/fine", "mask/0", "ledger/gate", "ledger/segment"),
    *("tiles.parquet", "areas.csv", "overview.png", "report.html", "summary.json"),
}


def assert_no_room(err: str, name: str) -> None:
    """One message for people: which file, that there is no room, how to go on."""
    assert "Traceback" not in err
    assert f"{name} (" in err, err
    assert "no room is left" in err
    assert "tilegate resume" in err
    assert len(err.strip().splitlines()) == 2, err


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote")) as started:
        yield started


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(write_scene(tmp_path_factory.mktemp("images") / "scene.tif", (1000, 900)), "water", CHANGES, workers=1)


@pytest.fixture(scope="module")
def whole(zygote: Zygote, case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with room for everything."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ended = zygote.call(*case.run(folder))
    assert ended.code == 0, ended.err
    return folder


def rewind(whole: Path, folder: Path, before: str) -> int:
    """A copy of the run as it was before a kind of file was first written. Returns the size of the largest of them."""
    shutil.copytree(whole, folder)
    order = ["pixels/gate", "ledger/gate", "mask/0", "pixels/fine", "ledger/segment"]
    order += ["tiles.parquet", "areas.csv", "overview.png", "report.html", "summary.json"]
    largest = 0
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        kind = kind_of(str(path.relative_to(folder)))
        if kind == before:
            largest = max(largest, path.stat().st_size)
        if kind and order.index(kind) >= order.index(before):
            path.unlink()
    return largest


@pytest.mark.parametrize(
    "kind", ["pixels/gate", "mask/0", "pixels/fine", "tiles.parquet", "overview.png", "report.html"]
)
def test_a_file_that_may_not_grow_ends_the_run_clearly(kind, zygote, case, whole, tmp_path):
    """EFBIG, by a limit below what the largest file of a kind needs (report.html holds timings, so by a tenth)."""
    folder = tmp_path / "run"
    largest = rewind(whole, folder, kind)
    starved = zygote.call(*case.run(folder), file_bytes=largest * 9 // 10)
    assert starved.code == 1, starved.err
    assert_no_room(starved.err, "")
    assert kind in starved.err
    check_what_is_left(folder)
    assert zygote.call(*case.resume(folder)).code == 0
    assert differences(folder, contents(whole)) == []


def test_a_commit_record_that_may_not_grow_commits_nothing(zygote, case, tmp_path):
    """EFBIG at the ledger: without pixels it is the first file of a batch."""
    bare = Case(case.image, case.recipe, (*case.changes, "store.pixels=false"), workers=1)
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert zygote.call(*bare.run(whole)).code == 0
    smallest = min(p.stat().st_size for p in (whole / "ledger" / "gate").iterdir())
    rewind(whole, folder, "ledger/gate")
    starved = zygote.call(*bare.run(folder), file_bytes=smallest - 1)
    assert starved.code == 1
    assert_no_room(starved.err, "")
    assert "ledger/gate" in starved.err
    assert [p for p in (folder / "ledger").rglob("*") if p.is_file()] == []
    assert zygote.call(*bare.resume(folder)).code == 0
    assert differences(folder, contents(whole)) == []


def check_what_is_left(folder: Path) -> None:
    """Nothing committed that is not whole, no summary, no litter."""
    watch = Watch()
    watch.look(folder)
    assert watch.lies == []
    assert litter(folder) == []
    assert not (folder / "summary.json").exists()


@pytest.fixture(scope="module")
def full_disks(case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened on disks of every size at which another file finds no room."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no user namespaces here: a small disk cannot be mounted")
    request = {
        "image": str(case.image), "recipe": case.recipe, "changes": case.changes,
        "house": str(tmp_path_factory.mktemp("small")),
    }  # fmt: skip
    script = Path(__file__).with_name("small_room.py")
    done = subprocess.run(
        [*unshare, sys.executable, str(script)], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_full_disk_ends_the_run_clearly_at_every_kind_of_file(full_disks):
    exact = {name for name in full_disks if kind_of(name)}
    assert {kind_of(name) for name in exact} == KINDS
    for name, seen in full_disks.items():
        assert seen["codes"] == [1, 1, 0], f"{name}: {seen}"
        assert_no_room(seen["err"], name if name in exact else "")
        assert_no_room(seen["again"], "")  # what was written last is written again, and needs the room first


def test_nothing_half_done_is_left_on_a_full_disk(full_disks):
    for name, seen in full_disks.items():
        assert seen["lies"] == [], name
        assert seen["litter"] == [], name
        assert not seen["summary"], name


def test_with_room_again_a_resume_ends_with_the_same_bytes(full_disks):
    assert {name: seen["wrong"] for name, seen in full_disks.items() if seen["wrong"]} == {}
    COUNTS.append(f"full disks: {len(full_disks)} survived, 0 bytes different")


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC, errno.EIO], ids=["quota", "full", "broken"])
@pytest.mark.parametrize("nth", [1, 12, 25])
def test_an_error_told_late_by_fsync_is_heeded(number, nth, case, zygote, whole, tmp_path, monkeypatch, capsys):
    """Quotas and network disks say it when the data is flushed, not when it is written."""
    calls = 0
    real = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= nth:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(sys, "argv", ["tilegate", *map(str, case.run(folder))])
        with pytest.raises(SystemExit) as left:
            main()
    err = capsys.readouterr().err
    assert left.value.code == 1, err
    assert calls >= nth
    if number == errno.EIO:
        assert "cannot be written" in err
        assert "Traceback" not in err
    else:
        assert_no_room(err, "")
    assert zygote.call(*case.run(folder)).code == 0
    assert differences(folder, contents(whole)) == []
