"""A disk of its own that is filled to the page: started inside a user and mount namespace, prints JSON.

Reads {"image", "recipe", "changes", "house"} from stdin. One run on a wide disk says in which order files are written;
then, for the first and the last file of each kind, a disk where that very file is the first without room.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from broken_runs import Case, Watch, contents, differences, litter  # noqa: E402 (a script: its neighbours are found by then)
from zygote import Zygote  # noqa: E402

PAGE = 4096
WIDE = "64m"
RESULTS = ("tiles.parquet", "areas.csv", "overview.png", "report.html", "summary.json")


def mount(disk: Path, size: str, *options: str) -> None:
    """A fresh disk of some size, or the same one made wider (remount)."""
    choices = ",".join((f"size={size}", *options))
    subprocess.run(["mount", "-t", "tmpfs", "-o", choices, "none", str(disk)], check=True)


def unmount(disk: Path) -> None:
    """Forget all that is on it."""
    subprocess.run(["umount", str(disk)], check=True)


def kind_of(name: str) -> str | None:
    """pixels/gate, mask/0, ledger/gate, report.html, …; None for what is written while the run is created."""
    if name in RESULTS:
        return name
    parts = Path(name).parts
    return "/".join(parts[1:3]) if "c" in parts else "/".join(parts[:2]) if parts[0] == "ledger" else None


def targets(folder: Path) -> dict[str, int]:
    """{file: pages of a disk on which it is the first that finds no room}: first and last of each kind.

    The marks of batches that are worked on are empty and take no page.
    """
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
    found: dict[str, list[tuple[str, int]]] = {}
    pages = 0
    for path in files:
        name = str(path.relative_to(folder))
        kind = kind_of(name)
        pages += -(-path.stat().st_size // PAGE)
        if kind:
            found.setdefault(kind, []).append((name, pages - 1))
    return {name: pages for hits in found.values() for name, pages in (hits[0], hits[-1])}


def starve(zygote: Zygote, case: Case, disk: Path, wanted: dict[str, str], *options: str, size: str) -> dict[str, Any]:
    """A run on a disk that is too small, once more without mending it, then resumed on a wide one."""
    mount(disk, size, *options)
    folder = disk / "run"
    first = zygote.call(*case.run(folder))
    left = {"litter": litter(folder) if folder.exists() else [], "summary": (folder / "summary.json").exists()}
    watch = Watch()
    watch.look(folder)
    again = zygote.call(*case.run(folder))
    mount(disk, WIDE, "remount", *("nr_inodes=10k" for _ in options))
    planned = (folder / "ledger").exists()
    ended = zygote.call(*(case.resume(folder) if planned else case.run(folder)))
    wrong = differences(folder, wanted) if ended.code == 0 else [ended.err]
    unmount(disk)
    codes = [first.code, again.code, ended.code]
    return {"codes": codes, "err": first.err, "again": again.err, "lies": watch.lies, "wrong": wrong, **left}


def main() -> None:
    """All disks."""
    request = json.load(sys.stdin)
    house = Path(request["house"])
    disk = house / "disk"
    disk.mkdir()
    case = Case(Path(request["image"]), request["recipe"], tuple(request["changes"]), workers=1)
    with Zygote(house / "zygote") as zygote:
        mount(disk, WIDE)
        whole = zygote.call(*case.run(disk / "run"))
        assert whole.code == 0, whole.err
        wanted, aims = contents(disk / "run"), targets(disk / "run")
        unmount(disk)
        found = {
            name: starve(zygote, case, disk, wanted, size=f"{pages * PAGE}") for name, pages in aims.items() if pages
        }
        found["too many files"] = starve(zygote, case, disk, wanted, "nr_inodes=30", size=WIDE)
        found["creation"] = starve(zygote, case, disk, wanted, size=f"{2 * PAGE}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
