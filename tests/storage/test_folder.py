"""Files by name, whole or not at all, on a disk."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.disk import LocalFolder
from storage.folder import CannotStore
from storage.place import folder_at, settled
from tiling.errors import BadInput


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow larger, as a quota would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_comes_back(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "new" / "run")
    assert folder.read("ledger/gate/a") is None
    folder.write("ledger/gate/a", b"one")
    folder.write("ledger/gate/a", b"two")
    assert folder.read("ledger/gate/a") == (tmp_path / "new/run/ledger/gate/a").read_bytes() == b"two"
    assert folder.names("ledger/gate") == {"a"}
    assert folder.names("nowhere") == set()
    folder.remove("ledger/gate/a")
    folder.remove("ledger/gate/a")
    assert folder.names("ledger/gate") == set()


def test_a_write_that_finds_no_room_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("summary.json", b"old")
    with files_of_at_most(1000), pytest.raises(CannotStore, match=r"summary\.json \(2,000 bytes\).*no room"):
        folder.write("summary.json", b"n" * 2000)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("summary.json", b"old")]
    folder.write("summary.json", b"n" * 2000)
    assert folder.read("summary.json") == b"n" * 2000


def test_a_folder_is_cleared_and_nothing_beside_it(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    for name in ("run.zarr/zarr.json", "run.zarr/mask/0/zarr.json", "run.zarr.txt"):
        folder.write(name, b"x")
    folder.clear("run.zarr")
    folder.clear("run.zarr")
    assert [path.name for path in tmp_path.rglob("*")] == ["run.zarr.txt"]


def test_what_is_private_is_for_the_owner_alone(tmp_path: Path) -> None:
    LocalFolder(tmp_path).write(".address", b"signed", private=True)
    assert stat.S_IMODE((tmp_path / ".address").stat().st_mode) == 0o600


def test_damage_is_found(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("a", b"abc")
    right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc" in FIPS 180-2
    assert folder.damaged({"a": right, "nothing": ""}) == set()
    assert folder.damaged({"a": right[::-1], "gone": right}) == {"a", "gone"}
    assert folder.damaged({"a": ""}) == {"a"}  # a shard where there should be none


HOLD = """
import sys
from pathlib import Path
from storage.disk import LocalFolder
with LocalFolder(Path(sys.argv[1])).hold():
    print("in", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_and_a_dead_one_blocks_nobody(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(BadInput, match="another process is working on"), LocalFolder(tmp_path).hold():
            pass
    finally:
        other.kill()
        other.wait()
    with LocalFolder(tmp_path).hold():
        assert True


def test_litter_of_a_killed_process_is_swept(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("run.zarr/mask/0/c/0/0", b"shard")
    (tmp_path / "run.zarr/mask/0/c/0/.0.1234abcd.tmp").write_bytes(b"half a sh")
    with folder.hold():
        pass
    assert folder.names("run.zarr/mask/0/c/0") == {"0"}


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settled("runs/a") == str(tmp_path / "runs" / "a")
    assert settled("s3://bucket/a") == "s3://bucket/a"
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="is a file"):
        folder_at("file")
    with pytest.raises(BadInput, match="no address of a bucket"):
        folder_at("nonsense://bucket/a")
