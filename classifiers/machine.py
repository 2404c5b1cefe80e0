"""What this machine has to run networks on, found out without starting an inference runtime."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from classifiers.runtime import Machine

BF16_FLAGS = ("amx_bf16", "avx512_bf16")
"""Either multiplies bfloat16 in hardware; without them it is emulated and gains nothing."""


@cache
def this_machine() -> Machine:
    """Looked up once. Imports torch only where there is a driver of CUDA to ask."""
    return Machine(bf16=bool(bf16_flags()), cuda=_driver() and _torch_has_cuda())


def bf16_flags() -> list[str]:
    """Those of BF16_FLAGS the CPU has; none where /proc/cpuinfo can not tell (macOS, Windows)."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    return [flag for flag in BF16_FLAGS if flag in words]


def own_cores() -> int:
    """Cores this process may run on."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return mine or 1


def _driver() -> bool:
    """Whether a driver of CUDA is there at all."""
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _torch_has_cuda() -> bool:
    from classifiers.torch_device import pick_device

    return pick_device().type == "cuda"
