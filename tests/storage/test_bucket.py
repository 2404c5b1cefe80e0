"""Files by name in a bucket of a real S3 server, and the lease that keeps two processes apart."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3
import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import storage.lease
from storage.bucket import BucketFolder
from storage.folder import CannotStore
from storage.ledger import BatchRecord, read_parts, write_part
from storage.place import folder_at
from tiling.errors import BadInput


@pytest.fixture(scope="module")
def server(s3_url: str) -> Iterator[Any]:
    """An S3 client of a server with the bucket "runs"; the environment points there."""
    names = {
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
        client.create_bucket(Bucket="runs")
        yield client


@pytest.fixture
def folder(server: Any, request: pytest.FixtureRequest) -> BucketFolder:
    """A prefix of its own for every test."""
    return BucketFolder(f"s3://runs/{request.node.name}")


def test_a_file_comes_back(folder: BucketFolder, server: Any, request: pytest.FixtureRequest) -> None:
    assert folder.read("ledger/gate/a") is None
    folder.write("ledger/gate/a", b"one")
    folder.write("ledger/gate/a", b"two")
    folder.write("ledger/b", b"")
    assert folder.read("ledger/gate/a") == b"two"
    assert server.get_object(Bucket="runs", Key=f"{request.node.name}/ledger/gate/a")["Body"].read() == b"two"
    assert folder.names() == {"ledger"}
    assert folder.names("ledger") == {"gate", "b"}
    assert folder.names("nowhere") == set()
    folder.remove("ledger/gate/a")
    folder.remove("ledger/gate/a")
    assert folder.names("ledger") == {"b"}


def test_arrays_are_read_there(folder: BucketFolder) -> None:
    pixels, files = np.random.default_rng(1).integers(0, 255, (64, 48), "uint8"), dict[str, Any]()
    array: Any = zarr.create_array(
        MemoryStore(files), name="mask/0", shape=(64, 48), chunks=(8, 8), shards=(32, 32), dtype="uint8", fill_value=0
    )
    array[:32, :32] = pixels[:32, :32]
    for name, content in files.items():
        folder.write(f"run.zarr/{name}", content.to_bytes())
    again = zarr.open_array(folder.zarr("run.zarr/mask/0"), mode="r")
    np.testing.assert_array_equal(again[:32, :32], pixels[:32, :32])
    assert not np.asarray(again[32:]).any()  # there is no such object
    assert folder.names("run.zarr/mask/0/c/0") == {"0"}


def test_a_folder_is_cleared_and_nothing_beside_it(folder: BucketFolder) -> None:
    for name in ("run.zarr/zarr.json", "run.zarr/mask/0/zarr.json", "run.zarr.txt"):
        folder.write(name, b"x")
    folder.clear("run.zarr")
    folder.clear("run.zarr")
    assert folder.names() == {"run.zarr.txt"}


def test_parts_that_are_read_at_a_time_come_in_the_order_of_the_grid(folder: BucketFolder) -> None:
    records = [
        BatchRecord(stage="gate", row=row, col=col, tiles=(), shards={}, seconds=row + col / 8)
        for row in range(3)
        for col in range(12)
    ]
    for record in reversed(records):
        write_part(folder, record, (), "print")
    assert read_parts(folder, "gate", (), "print") == records


def test_what_is_gone_is_damaged(folder: BucketFolder) -> None:
    folder.write("run.zarr/mask/0/c/0/0", b"shard")
    here, gone = "run.zarr/mask/0/c/0/0", "run.zarr/mask/0/c/0/1"
    assert folder.damaged({here: "ab", gone: ""}) == set()
    assert folder.damaged({here: "", gone: "ab"}) == {here, gone}


def test_a_bucket_that_is_not_there(server: Any) -> None:
    with pytest.raises(CannotStore, match=r"s3://nobody/run/a cannot be written.*NoSuchBucket"):
        folder_at("s3://nobody/run").write("a", b"x")


def lease(**changes: Any) -> bytes:
    mine = {"host": "elsewhere", "pid": 1, "until": time.time() + 60}
    return json.dumps(mine | changes).encode()


def test_one_process_at_a_time(folder: BucketFolder) -> None:
    with folder.hold():
        assert folder.names() == {".lock"}
    assert folder.names() == set()
    folder.write(".lock", lease())
    with (
        pytest.raises(BadInput, match=r"another process is working on s3://runs.*process 1 on elsewhere"),
        folder.hold(),
    ):
        pass
    assert json.loads(folder.read(".lock") or b"")["host"] == "elsewhere"


@pytest.mark.parametrize("dead", ["lapsed", "killed here", "a process of ours before", "unreadable"])
def test_a_dead_process_blocks_nobody(folder: BucketFolder, dead: str) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = socket.gethostname()
    leases = {
        "lapsed": lease(until=time.time() - 1),
        "killed here": lease(host=here, pid=gone.pid),
        "a process of ours before": lease(host=here, pid=os.getpid()),
        "unreadable": b"{",
    }
    folder.write(".lock", leases[dead])
    with folder.hold():
        assert json.loads(folder.read(".lock") or b"")["pid"] == os.getpid()


def test_of_two_that_find_a_dead_lease_one_gets_it(folder: BucketFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other takes it between our look and our PUT: the entity tag tells."""
    folder.write(".lock", lease(until=0))
    read = storage.lease._read

    looks = []

    def slow(store: Any) -> tuple[bytes, str]:
        found = read(store)
        looks.append(found)
        if len(looks) == 2:  # the first look tells a lost answer from a lost race
            folder.write(".lock", lease(host="the faster one"))
        return found

    monkeypatch.setattr(storage.lease, "_read", slow)
    with pytest.raises(BadInput, match="has just begun"), folder.hold():
        pass


def test_a_lease_is_renewed_while_its_holder_lives(folder: BucketFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.lease, "LEASE_S", 4.0)
    with folder.hold():
        first = json.loads(folder.read(".lock") or b"")["until"]
        time.sleep(3)
        later = json.loads(folder.read(".lock") or b"")["until"]
        assert later > first + 0.5
        assert later > time.time()
