"""Which batches a process was at when it died: a mark is made before a batch and taken away after it, however it ends.

Only the death of the process leaves a mark. A batch that outlived two processes is suspected of having killed them: a
decoder that crashes on a hostile block, or a tile that needs more memory than there is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from storage.folder import Folder

MARK = re.compile(r"r(\d+)c(\d+)\.doing")
DEATHS_TO_SUSPECT = 2


@contextmanager
def attempting(folder: Folder, stage: str, batch_id: str) -> Iterator[None]:
    """Mark a batch while it is worked on, counting the processes that were at it."""
    name = f"ledger/{stage}/{batch_id}.doing"
    folder.write(name, str(_count(folder.read(name)) + 1).encode(), durable=False)
    try:
        yield
    finally:
        folder.remove(name)


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


def _count(mark: bytes | None) -> int:
    return int(mark) if mark and mark.isdigit() else 0
