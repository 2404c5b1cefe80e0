"""When an image was taken, as far as its name says. Pure."""

from __future__ import annotations

import re
from datetime import date
from pathlib import PurePosixPath

DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?([01]\d)[-_]?([0-3]\d)(?!\d)")
"""Also the first half of 20200113T105309."""
YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")


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
