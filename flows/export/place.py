"""Where an export goes: under a temporary name first, so that a half written one is never taken for whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiling.errors import BadInput


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A path of the same name in a new folder beside `out`; what is written there takes its place in the end.

    Raises BadInput for a folder, and where nothing can be written.
    """
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder; name the file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=".tilegate-", dir=out.parent))
    except OSError as error:
        raise BadInput(f"--out {out} cannot be written: {error.strerror or error!r}; name a file elsewhere") from error
    try:
        yield room / out.name
        (room / out.name).replace(out)
    finally:
        shutil.rmtree(room, ignore_errors=True)
