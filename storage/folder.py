"""Where a run lies: whole files by name below one place, on a disk (storage/disk.py) or in a bucket (storage/bucket.py)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tiling.errors import TilegateError

LOCK = ".lock"
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""Names of files that are being written, or that a killed process left half written."""


class CannotStore(TilegateError, OSError):
    """The place of the run takes no more: no room, no permission, no connection. What was committed is safe."""


class Folder(Protocol):
    """Files by name, such as ledger/gate/r0000c0000.parquet: each is there whole or not at all."""

    uri: str
    """The place, as a worker would open it."""
    readers: int
    """How many small files are best read at a time."""

    def read(self, name: str) -> bytes | None:
        """The content of a file, None when there is none."""

    def write(self, name: str, data: bytes, *, private: bool = False, durable: bool = True) -> None:
        """A file, whole, in place of an older one. private: for the owner's eyes only. durable: survives a power cut."""

    def remove(self, name: str) -> None:
        """A file, if it is there."""

    def clear(self, below: str) -> None:
        """All that lies in a folder, if it is there."""

    def names(self, below: str = "") -> set[str]:
        """What lies directly in a folder."""

    def damaged(self, files: Mapping[str, str]) -> set[str]:
        """Those of {name: sha256} that are gone or hold other bytes."""

    def zarr(self, name: str) -> Any:
        """A zarr store at a folder, to read from."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep other processes out meanwhile. Raises BadInput while another one is in."""


def digest(data: bytes | None) -> str:
    """sha256 of a file; "" when there is none."""
    return "" if data is None else hashlib.sha256(data).hexdigest()
