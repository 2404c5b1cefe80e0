"""A run on a disk: temporary name, fsync, rename; one process at a time by a lock that the kernel lets go."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.folder import LOCK, TEMPORARY, CannotStore, Folder, digest
from tiling.errors import BadInput

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalFolder:
    """A folder of this machine's file systems."""

    readers = 1

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

    def clear(self, below: str) -> None:
        """See Folder."""
        try:
            shutil.rmtree(self._path / below)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CannotStore(f"{self._path / below} cannot be removed: {error.strerror or error!r}") from error

    def names(self, below: str = "") -> set[str]:
        """See Folder."""
        try:
            return {child.name for child in (self._path / below).iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def damaged(self, files: Mapping[str, str]) -> set[str]:
        """See Folder: every file is hashed, about a second per gigabyte."""
        return {name for name, sha256 in files.items() if digest(self.read(name)) != sha256}

    def zarr(self, name: str) -> Any:
        """See Folder."""
        from zarr.storage import LocalStore

        return LocalStore(self._path / name, read_only=True)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """See Folder. The kernel lets go when the process ends, however it ends: no stale lock blocks a resume."""
        try:
            _make_folder(self._path)
            lock = (self._path / LOCK).open("ab")  # never replaced: two processes must find the same file
        except OSError as error:
            raise _cannot(f"{self.uri}/{LOCK} (0 bytes)", error) from error
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


def write_whole(path: Path, data: bytes, *, private: bool = False, durable: bool = True) -> None:
    """Temporary name, fsync, rename, fsync of the folder: a reader sees the old file or the new one, never half.

    Raises CannotStore.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        _make_folder(path.parent)
        try:
            with open(temporary, "xb", opener=_private if private else None) as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            _sync(path.parent)
    except OSError as error:
        raise _cannot(f"{path} ({len(data):,} bytes)", error) from error


def _make_folder(path: Path) -> None:
    """A folder and those above it, each durable in the one above."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync(path.parent)


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
