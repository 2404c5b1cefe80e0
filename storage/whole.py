"""A file or folder that is there whole or not at all, in place of an older one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A temporary name beside `out` to write to; renamed at the end, removed when that fails. Raises OSError."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        if out.is_dir() or temporary.is_dir():
            _remove(out)  # a folder can only be renamed to a name that is free
        temporary.replace(out)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
