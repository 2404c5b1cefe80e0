"""Which batches a process was at when it died: a mark is made before a batch and taken away after it, however it ends.

Only the death of the process leaves a mark. A batch that outlived two processes is suspected of having killed them: a
decoder that crashes on a hostile block, or a tile that needs more memory than there is.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Self

from storage.folder import Folder
from storage.ledger import batch_id

MARK = re.compile(r"r(\d+)c(\d+)\.doing")
DEATHS_TO_SUSPECT = 2


class Attempts:
    """The batches of one span that are in work: several, since its steps overlap."""

    def __init__(self, folder: Folder, stage: str) -> None:
        """stage: gate or segment."""
        self._folder, self._stage, self._marks = folder, stage, set[str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in sorted(self._marks):
            self._folder.remove(name)

    def begin(self, row: int, col: int) -> None:
        """Mark a batch, counting the processes that were at it."""
        name = f"ledger/{self._stage}/{batch_id(row, col)}.doing"
        self._folder.write(name, _mark(_count(self._folder.read(name)) + 1), durable=False)
        self._marks.add(name)

    def end(self, row: int, col: int) -> None:
        """Take the mark away, once the batch is committed."""
        name = f"ledger/{self._stage}/{batch_id(row, col)}.doing"
        self._folder.remove(name)
        self._marks.discard(name)


def suspects(folder: Folder, stage: str, pending: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those pending at which more than one process has died, (row, col); marks of batches that are done are removed."""
    found: set[tuple[int, int]] = set()
    for name in folder.names(f"ledger/{stage}"):
        mark = MARK.fullmatch(name)
        if not mark:
            continue
        key = int(mark[1]), int(mark[2])
        if key not in pending:  # its process died between the commit and the end of the attempt
            folder.remove(f"ledger/{stage}/{name}")
        elif _count(folder.read(f"ledger/{stage}/{name}")) >= DEATHS_TO_SUSPECT:
            found.add(key)
    return found


def _mark(deaths: int) -> bytes:
    """An empty file for the first process: nearly all marks are, and it takes no room on a disk that is full."""
    return b"" if deaths == 1 else str(deaths).encode()


def _count(mark: bytes | None) -> int:
    if mark is None:
        return 0
    return int(mark) if mark.isdigit() else 1
