"""When an image was taken, as its own metadata say: a day, and which entry says so. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDate:
    """The day an image was taken."""

    day: str
    """Such as 2020-01-13, in whatever time zone the file means."""
    whence: str
    """The entry of the metadata that says so, such as ACQUISITIONDATETIME."""


RASTER = (
    ("ACQUISITIONDATETIME", "%Y-%m-%d %H:%M:%S"),
    # ^ domain IMAGERY: what GDAL makes of the metadata that come with satellite scenes (gdal_mdreader.h)
    ("TIFFTAG_DATETIME", "%Y:%m:%d %H:%M:%S"),
    # ^ DateTime (306) of TIFF 6.0: of the image's creation, which may be when it was processed
)
SLIDE = (
    ("aperio.Date", "%m/%d/%y"),
    ("aperio.Date", "%m/%d/%Y"),
    ("leica.creation-date", "%Y-%m-%dT%H:%M:%S"),
    ("hamamatsu.Created", "%Y/%m/%d"),
    ("tiff.DateTime", "%Y:%m:%d %H:%M:%S"),
)
"""Properties of OpenSlide. Days are written in one order only, so that none is taken for a month."""

BEHIND = re.compile(r"(?<=:\d\d)(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?$")
"""What may follow the seconds."""


def date_in(entries: Mapping[str, str], known: Iterable[tuple[str, str]]) -> ImageDate | None:
    """The first of the known entries that is a date; None where there is none. known: (name, format)."""
    for name, form in known:
        day = _parsed(entries.get(name, ""), form)
        if day is not None:
            return ImageDate(day=day, whence=name)
    return None


def one_date(found: Iterable[ImageDate | None]) -> ImageDate | None:
    """The date that all files of an image agree on; None where one has none, or another."""
    days = set(found)
    return days.pop() if len(days) == 1 else None


def _parsed(text: str, form: str) -> str | None:
    """The ISO day, or None for what is no date, or one that a clock says which was never set.

    Decimals of a second and a time zone may follow.
    """
    try:
        day = dt.datetime.strptime(BEHIND.sub("", text.strip("\0 ")), form).date()  # noqa: DTZ007 (in the file's zone)
    except ValueError:
        return None
    return None if day.year < 1900 or day == dt.date(1970, 1, 1) else day.isoformat()
