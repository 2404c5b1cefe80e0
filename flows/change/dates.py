"""When an image was taken: by its own metadata as the plan keeps them, else as far as its name says. Pure."""

from __future__ import annotations

import re
from datetime import date
from pathlib import PurePosixPath

from tiling.dates import ImageDate
from tiling.info import ImageInfo

DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?([01]\d)[-_]?([0-3]\d)(?!\d)")
"""Also the first half of 20200113T105309."""
YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")


FROM_NAME = "file name"


def taken(image: ImageInfo) -> ImageDate | None:
    """The day, or the year where only a name says something; None where nobody does."""
    named = date_of(image.uri)
    return image.date or (ImageDate(day=named, whence=FROM_NAME) if named else None)


def other_date_note(which: str, image: ImageInfo) -> str:
    """What to tell of an image whose name says another date than its metadata; empty where they agree."""
    named = date_of(image.uri)
    if image.date is None or named is None or image.date.day.startswith(named):
        return ""
    return (
        f"The name of {which} says {named}, its {image.date.whence} {image.date.day}: that is taken, but may be when the "
        "file was made."
    )


def date_of(uri: str) -> str | None:
    """2020-01-13 or 2020, by the name of the file, else by its folder's; None where neither holds one date.

    uri: of an image; several files are joined by a comma.
    """
    paths = [PurePosixPath(part) for part in uri.split(",")]
    for names in ([path.stem for path in paths], [path.parent.name for path in paths]):
        found = {day for name in names for day in _dates(name)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _dates(name: str) -> set[str]:
    days = set()
    for match in DAY.finditer(name):
        try:
            days.add(date(*(int(part) for part in match.groups())).isoformat())
        except ValueError:
            continue  # such as 20201399: digits that are no date
    return days or set(YEAR.findall(name))
