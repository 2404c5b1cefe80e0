"""From the address of a run to its folder."""

from __future__ import annotations

from pathlib import Path

from storage.disk import LocalFolder
from storage.folder import Folder
from tiling.errors import BadInput


def folder_at(place: str | Path) -> Folder:
    """The folder at a path or a URL (s3://bucket/prefix). Raises BadInput when it is a file."""
    if "://" in str(place):
        from storage.bucket import BucketFolder

        return BucketFolder(str(place))
    if Path(place).is_file():
        raise BadInput(f"{place} is a file; --out names a folder")
    return LocalFolder(Path(place))


def settled(place: str) -> str:
    """A place as a worker anywhere finds it: paths made absolute, URLs as they are."""
    return place if "://" in place else str(Path(place).expanduser().absolute())
