"""A run on a disk: temporary name, fsync, rename; one process at a time by a lock that the kernel lets go."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zarr.storage import LocalStore

from storage.folder import LOCK, TEMPORARY, CannotStore, Folder, digest
from tiling.errors import BadInput

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalFolder:
    """A folder of this machine's file systems."""

    def __init__(self, path: Path) -> None:
        """path: made when it is first written to."""
        self._path = path.absolute()
        self.uri = str(self._path)

    def read(self, name: str) -> bytes | None:
        """See Folder."""
        try:
            return (self._path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, data: bytes, *, private: bool = False, durable: bool = True) -> None:
        """See Folder."""
        write_whole(self._path / name, data, private=private, durable=durable)

    def remove(self, name: str) -> None:
        """See Folder."""
        (self._path / name).unlink(missing_ok=True)

    def names(self, below: str = "") -> set[str]:
        """See Folder."""
        try:
            return {child.name for child in (self._path / below).iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def damaged(self, files: Mapping[str, str]) -> set[str]:
        """See Folder: every file is hashed, about a second per gigabyte."""
        return {name for name, sha256 in files.items() if digest(self.read(name)) != sha256}

    def zarr(self, name: str) -> LocalStore:
        """See Folder."""
        return _DurableStore(self._path / name)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """See Folder. The kernel lets go when the process ends, however it ends: no stale lock blocks a resume."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            lock = (self._path / LOCK).open("ab")  # never replaced: two processes must find the same file
        except OSError as error:
            raise _cannot(self.uri, error) from error
        with lock:
            if not _locked(lock.fileno()):
                raise BadInput(f"another process is working on {self.uri}; wait for it, or stop it first")
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Half-written files that a killed process left under temporary names."""
        for found in self._path.rglob(".*.tmp"):
            if TEMPORARY.fullmatch(found.name):
                found.unlink(missing_ok=True)


class _DurableStore(LocalStore):
    """zarr's own store, with every file written as all others of a run are."""

    async def set(self, key: str, value: Any) -> None:
        """One file, whole and durable."""
        await asyncio.to_thread(write_whole, self.root / key, value.to_bytes())

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """The same where there is none: a run is made by one process."""
        if not await self.exists(key):
            await self.set(key, value)


def write_whole(path: Path, data: bytes, *, private: bool = False, durable: bool = True) -> None:
    """Temporary name, fsync, rename, fsync of the folder: a reader sees the old file or the new one, never half.

    Raises CannotStore.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb", opener=_private if private else None) as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            _sync(path.parent)
    except OSError as error:
        raise _cannot(f"{path} ({len(data):,} bytes)", error) from error


def _cannot(what: str, error: OSError) -> CannotStore:
    why = "no room is left there" if error.errno in FULL else error.strerror or repr(error)
    return CannotStore(f"{what} cannot be written: {why}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours; one that a killed process still holds is waited for, it takes a moment to die."""
    for _ in range(10):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return True
    return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


_: type[Folder] = LocalFolder
