"""When a picture was taken, if its file says so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

FORMAT = "%Y:%m:%d %H:%M:%S"
"""Of DateTime (306) in TIFF 6.0, which knows no time zone."""


def acquired(uris: Sequence[str]) -> dt.datetime | None:
    """DateTime of local TIFFs, taken as UTC; None when one of them has none, or when they differ."""
    found = {_tag(Path(uri)) for uri in uris}
    return found.pop() if len(found) == 1 else None


def _tag(path: Path) -> dt.datetime | None:
    from tifffile import TiffFile, TiffFileError

    if not path.is_file():
        return None
    try:
        with TiffFile(path) as file:
            tag = file.pages.first.tags.get("DateTime")
            return (
                None
                if tag is None
                else dt.datetime.strptime(str(tag.value).strip("\0 "), FORMAT).replace(tzinfo=dt.UTC)
            )
    except (TiffFileError, ValueError):  # no TIFF, or a date as nobody writes it: then it is not known
        return None
