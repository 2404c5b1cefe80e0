"""Opens each file named on the command line and reads a corner of it: what happened, how long it took, the memory."""

import json
import logging
import re
import resource
import sys
import time
import warnings
from pathlib import Path

from tiling.errors import TilegateError
from tiling.info import native_plane
from tiling.open import open_source
from tiling.pixel_area import pixel_areas
from tiling.source import SourceSpec
from tiling.window import Window


def attempt(path: str) -> str:
    """ "read", or the class of the error and what it says."""
    try:
        source = open_source(SourceSpec(uris=(path,)))
        try:
            plane = native_plane(source.info)
            pixel_areas(source.info, plane)
            source.read(Window(y=0, x=0, height=64, width=64), plane)
        finally:
            source.close()
    except TilegateError as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def peak_mb() -> float:
    """Most memory held at once. Linux counts that of the parent into ru_maxrss, not into VmHWM."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL - 1)
    limit = 6 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    results = {}
    for path in sys.argv[1:]:
        started = time.monotonic()
        results[path] = [attempt(path), time.monotonic() - started]
    print(json.dumps({"results": results, "peak_mb": peak_mb()}))
