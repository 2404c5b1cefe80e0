"""A run on object storage: one PUT is whole or absent by itself. Credentials and endpoint come from the environment."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url
from zarr.storage import ObjectStore

from storage.folder import LOCK, CannotStore, Folder
from tiling.errors import BadInput

RETRIES: Any = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"base": 2, "init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=10)},
}
"""object_store waits a random time between the last wait and twice that: backoff with jitter."""
LEASE_S = 60.0
"""A lease that was not renewed for so long has lost its holder."""


class BucketFolder:
    """A prefix of a bucket."""

    def __init__(self, uri: str) -> None:
        """uri: s3://bucket/prefix. Raises BadInput when it is no such address."""
        self.uri = uri.rstrip("/")
        self._store = _connect(self.uri)

    def read(self, name: str) -> bytes | None:
        """See Folder. Raises CannotStore when the bucket does not answer."""
        with _told(f"{self.uri}/{name}", "read"):
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def write(self, name: str, data: bytes, *, private: bool = False) -> None:  # noqa: ARG002
        """See Folder; who may read it is the bucket's own affair."""
        with _told(f"{self.uri}/{name}", "written"):
            obstore.put(self._store, name, data)

    def remove(self, name: str) -> None:
        """See Folder."""
        with _told(f"{self.uri}/{name}", "removed"):
            obstore.delete(self._store, name)

    def names(self, below: str = "") -> set[str]:
        """See Folder."""
        with _told(f"{self.uri}/{below}", "listed"):
            found = obstore.list_with_delimiter(self._store, below or None)
        return {path.rstrip("/").split("/")[-1] for path in (*found["common_prefixes"], *_paths(found["objects"]))}

    def damaged(self, files: Mapping[str, str]) -> set[str]:
        """See Folder: whether they are there; a bucket checks their bytes itself, and to fetch them all costs too much."""
        there: set[str] = set()
        with _told(self.uri, "listed"):
            for folder in {name.split("/c/")[0] for name in files}:
                there |= {path for page in obstore.list(self._store, folder) for path in _paths(page)}
        return {name for name, sha256 in files.items() if (name in there) != bool(sha256)}

    def zarr(self, name: str) -> ObjectStore[Any]:
        """See Folder."""
        return _ToldStore(_connect(f"{self.uri}/{name}"))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """See Folder: a lease, renewed while this process lives."""
        tag = _take(self._store, self.uri)
        done = threading.Event()
        keeper = threading.Thread(target=_renew, args=(self._store, tag, done), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            self.remove(LOCK)


class _ToldStore(ObjectStore[Any]):
    """zarr's object store, its errors in our words."""

    async def set(self, key: str, value: Any) -> None:
        """One PUT."""
        with _told(f"{self.store}/{key}", "written"):
            await super().set(key, value)


def _connect(uri: str) -> Any:
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    try:
        return from_url(uri, client_options={"allow_http": plain, "timeout": "60s"}, retry_config=RETRIES)
    except (BaseError, ValueError, TypeError) as error:
        raise BadInput(
            f"{uri} is no address of a bucket that can be used: {error}. Write s3://BUCKET/PREFIX"
        ) from error


@contextmanager
def _told(what: str, done: str) -> Iterator[None]:
    """What object storage complains of, in our words."""
    try:
        yield
    except (BaseError, OSError) as error:
        reason = " ".join(str(error).partition("Debug source")[0].split())
        raise CannotStore(f"{what} cannot be {done}: {type(error).__name__}: {reason:.600}") from error


def _paths(objects: Any) -> list[str]:
    return [str(found["path"]) for found in objects]


def _take(store: Any, uri: str) -> str:
    """Write the lease where there is none or a dead one. Returns its entity tag. Raises BadInput."""
    with _told(f"{uri}/{LOCK}", "written"):
        try:
            return str(obstore.put(store, LOCK, _lease(), mode="create")["e_tag"])
        except AlreadyExistsError:
            lease, tag = _read(store)
        holder = _holder(lease)
        if not _is_dead(holder):
            until = time.strftime("%H:%M:%S UTC", time.gmtime(holder["until"]))
            raise BadInput(
                f"another process is working on {uri} (process {holder['pid']} on {holder['host']}, lease until {until}); "
                "wait for it, or stop it first"
            )
        try:
            return _swap(store, tag)
        except PreconditionError:
            raise BadInput(f"another process has just begun to work on {uri}; wait for it") from None


def _swap(store: Any, tag: str) -> str:
    """Put a new lease in place of the one with this tag. Raises PreconditionError when another process was faster."""
    lease = _lease()
    try:
        return str(obstore.put(store, LOCK, lease, mode={"e_tag": tag})["e_tag"])
    except PreconditionError:
        found, tag = _read(store)
        if found != lease:  # else the answer to our own PUT was lost, and its repetition found it done
            raise
        return tag


def _read(store: Any) -> tuple[bytes, str]:
    """(the lease, its entity tag)."""
    found = obstore.get(store, LOCK)
    return bytes(found.bytes()), str(found.meta["e_tag"])


def _renew(store: Any, tag: str, done: threading.Event) -> None:
    """Three times per lease. A renewal that fails does no harm: two processes of one plan write the same bytes."""
    while not done.wait(LEASE_S / 3):
        try:
            tag = _swap(store, tag)
        except (BaseError, OSError):
            continue


def _lease() -> bytes:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "until": time.time() + LEASE_S}).encode()


def _holder(lease: bytes) -> dict[str, Any]:
    """Whoever wrote it; a lease nobody can read is over."""
    try:
        plain = json.loads(lease)
        return {"host": str(plain["host"]), "pid": int(plain["pid"]), "until": float(plain["until"])}
    except (ValueError, KeyError, TypeError):
        return {"host": "?", "pid": 0, "until": 0.0}


def _is_dead(holder: Mapping[str, Any]) -> bool:
    """Its time is up, or it ran on this very machine and is gone (with its number given to us, perhaps)."""
    if holder["until"] < time.time():
        return True
    if holder["host"] != socket.gethostname():
        return False
    return holder["pid"] == os.getpid() or not _is_alive(holder["pid"])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_: type[Folder] = BucketFolder
