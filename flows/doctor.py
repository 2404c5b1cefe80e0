"""Is this machine fit to run? Versions, CPU, codecs, write access, Prefect."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "tilegate",
    "numpy",
    "zarr",
    "pyarrow",
    "rasterio",
    "pyproj",
    "openslide-python",
    "openslide-bin",
    "tifffile",
    "imagecodecs",
    "openvino",
    "torch",
    "timm",
    "segmentation-models-pytorch",
    "prefect",
    "prefect-dask",
)
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    """What."""
    ok: bool
    """Fit or not."""
    found: str
    """What was seen, and what to do where it is not fit."""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def examine() -> list[Check]:
    """Every check, none of which touches the network."""
    looks: dict[str, Callable[[], str]] = {
        "python": _python,
        "packages": _packages,
        "cpu": _cpu,
        "memory": _memory,
        "rasters": _rasters,
        "slides": _slides,
        "store": _store,
        "models": _models,
        "prefect": _prefect,
    }
    return [_look(name, look) for name, look in looks.items()]


def verdict(checks: list[Check]) -> str:
    """For a person."""
    lines = [f"{'ok ' if check.ok else 'BAD'}  {check.name:9} {check.found}" for check in checks]
    bad = sum(not check.ok for check in checks)
    return "\n".join([*lines, "", f"{bad} of {len(checks)} checks failed" if bad else "ready"])


def _look(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, found=look())
    except Exception as error:  # whatever is wrong with the machine is the finding
        return Check(name=name, ok=False, found=f"{type(error).__name__}: {error}")


def _python() -> str:
    return f"{platform.python_version()} on {platform.platform(terse=True)}"


def _packages() -> str:
    try:
        return ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    except PackageNotFoundError as error:
        raise RuntimeError(f"{error.name} is not installed: run make install") from error


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    found = [flag for flag in CPU_FLAGS if flag in words]
    return f"{os.cpu_count()} cores, {platform.machine()}, {' '.join(found) or 'no vector extensions seen'}"


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if total < 2:
        raise RuntimeError(f"{total:.1f} GiB; tilegate wants 2 GiB or more")
    return f"{total:.1f} GiB"


def _rasters() -> str:
    from tiling.raster import codecs
    from tiling.raster_gdal import drivers

    there, packed = drivers(), codecs()
    missing = {"GTiff", "COG", "VRT"} - there
    if missing:
        raise RuntimeError(f"GDAL lacks {', '.join(sorted(missing))}")
    if not {"DEFLATE", "LZW"} <= set(packed):
        raise RuntimeError(f"GDAL reads GeoTIFF packed by {', '.join(packed)} only; DEFLATE and LZW are missing")
    extra = {"JP2OpenJPEG", "netCDF", "HDF5", "Zarr"} & there
    return f"GDAL with {', '.join(['GTiff', 'COG', 'VRT', *sorted(extra)])}; codecs {', '.join(packed)}"


def _slides() -> str:
    from tiling.slide import library_version

    return f"OpenSlide {library_version()}"


def _store() -> str:
    import numpy as np

    from tiling.errors import TilegateError

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        from storage.run import probe

        wrote = np.arange(256, dtype=np.uint8).reshape(16, 16)
        if not np.array_equal(probe(Path(folder), wrote), wrote):
            raise TilegateError("a Zarr array did not come back as it was written")
    return f"{Path.cwd()} is writable, Zarr works"


def _models() -> str:
    """What auto picks for a bundle with an export whose drift allows it, and what speaks for that."""
    from classifiers.machine import BF16_FLAGS, bf16_flags, this_machine
    from classifiers.openvino_runtime import finds_cpu

    machine, flags = this_machine(), bf16_flags()
    if machine.cuda:
        return "auto takes torch: there is a CUDA GPU"
    if not finds_cpu():
        raise RuntimeError("OpenVINO does not compute on this CPU; ask for the runtime torch in recipes")
    found = f"{' and '.join(flags)} found" if flags else f"the CPU has neither {' nor '.join(BF16_FLAGS)}"
    picked = "openvino-bf16 where a bundle's measured drift allows it" if machine.bf16 else "openvino-f32"
    return f"auto takes {picked}: no CUDA GPU, {found}; torch for bundles without an export"


def _prefect() -> str:
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    return f"API at {url}" if url else "no API configured: runs are local unless --engine prefect starts a server"
