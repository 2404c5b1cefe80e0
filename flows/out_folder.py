"""The folder that --out names, looked at before the work is done and not after it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tiling.errors import BadInput


def require_folder(path: Path) -> Path:
    """The folder, absolute; it is not made yet. Raises BadInput for a file, and where no folder can be made."""
    wanted = path.expanduser().absolute()
    try:
        there = next(each for each in (wanted, *wanted.parents) if each.exists())
        if there.is_dir():
            Path(tempfile.mkdtemp(prefix=".tilegate-", dir=there)).rmdir()  # permissions alone do not tell, see /proc
    except OSError as error:
        raise BadInput(
            f"--out {path} cannot be made or written to: {error.strerror or error!r}; name a folder elsewhere"
        ) from error
    if not there.is_dir():
        raise BadInput(f"--out {path}: {there} is a file; name a folder")
    return wanted
