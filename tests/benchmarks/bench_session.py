"""What is measured, kept as it comes: one JSON, written again after every measurement; a broken-off session goes on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[2]
ROOMS = ("tiling", "classifiers", "downstream", "storage", "flows")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
PACKAGES = (
    "tilegate", "numpy", "torch", "timm", "segmentation-models-pytorch", "openvino", "zarr", "numcodecs", "rasterio",
    "openslide-python", "openslide-bin", "tifffile", "imagecodecs", "simplejpeg", "pyarrow", "prefect",
)  # fmt: skip
Figures = dict[str, Any]


class Session:
    """Measurements by key, such as runs/slide/5/round-1."""

    def __init__(self, path: Path, settings: Figures, *, fresh: bool = False) -> None:
        """path: the JSON; one of the same code and settings is gone on with, any other is put aside."""
        self.path = path
        self._data: Figures = {
            "settings": settings | {"code": code_sha256()},
            "machine": machine(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "measurements": {},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        found = None if fresh or not path.exists() else json.loads(path.read_text())
        if found is not None and found.get("settings") == self._data["settings"]:
            self._data = found
            self.say(f"going on with {path}: {len(self.measurements)} measurements")
        elif path.exists():
            path.replace(path.with_suffix(".older.json"))

    @property
    def data(self) -> Figures:
        """All of the JSON."""
        return self._data

    @property
    def measurements(self) -> dict[str, Figures]:
        """By key."""
        found: dict[str, Figures] = self._data["measurements"]
        return found

    def measure(self, key: str, do: Callable[[], Figures]) -> Figures | None:
        """What `do` gives, kept; what is there already is not done again. None when it failed, which is kept, too."""
        known = self.measurements.get(key)
        if known is not None and "error" not in known:
            return known
        began, load = time.perf_counter(), os.getloadavg()[0]
        try:
            figures = do()
        except Exception as error:  # one variant that fails must not end the others; it is told in the table
            figures = {"error": f"{type(error).__name__}: {error}"[:1500], "where": traceback.format_exc()[-1500:]}
        figures |= {"took_s": round(time.perf_counter() - began, 3), "load_before": load}
        self.measurements[key] = figures
        self.save()
        self.say(f"{key}: {brief(figures)}")
        return None if "error" in figures else figures

    def save(self) -> None:
        """Whole or as it was."""
        half_made = self.path.with_suffix(".part")
        half_made.write_text(json.dumps(self._data, indent=1) + "\n")
        half_made.replace(self.path)

    def say(self, text: str) -> None:
        """A line with the time of day."""
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def brief(figures: Figures) -> str:
    """The numbers of a measurement in one line."""
    if "error" in figures:
        return f"FAILED {figures['error'][:300]}"
    plain = {
        name: value for name, value in figures.items() if isinstance(value, (int, float, str)) and name != "took_s"
    }
    return ", ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in list(plain.items())[:8])


def code_sha256() -> str:
    """Of every source file that is measured or measures: figures of different code never share a table."""
    found = [path for room in ROOMS for path in sorted((HOUSE / room).rglob("*.py"))]
    digest = hashlib.sha256()
    for path in [*found, *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def machine() -> Figures:
    """What the figures were measured on."""
    words = read_words("/proc/cpuinfo")
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in words],
        "ram_gb": ram_gb(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "commit": commit(),
    }


def read_words(path: str) -> set[str]:
    """Of a file of /proc; nothing elsewhere."""
    return set(Path(path).read_text().split()) if Path(path).exists() else set()


def cpu_name() -> str:
    """As /proc/cpuinfo has it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    keys = ("cpu family", "model", "stepping")
    return f"{found.get('model name', platform.processor())} ({', '.join(f'{k} {found.get(k)}' for k in keys)})"


def ram_gb() -> float:
    """Of the machine."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def version_of(package: str) -> str | None:
    """None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """Of the checkout, and whether files differ from it."""
    git = ["git", "-C", str(HOUSE)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return (head.stdout.strip() or "no checkout") + (" with changes" if changed.stdout.strip() else "")
