"""Each stage against its limit, in interleaved rounds of one child process per stage, one thread unless said.

python bench_stages.py STAGE …: prints {"what", "unit", "units", "seconds": {case: […]}}; the first case is the limit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_models import TILE_PX
from bench_process import measure, python
from bench_session import Session
from bench_setup import Setup, clean_environment, scratch_run
from bench_timing import Stage, interleave
from stage_areas import count_areas
from stage_decode import decode_cog, decode_slide
from stage_infer import infer, infer_gate
from stage_write import write

WINDOW_TILES, QUICK_TILES = 8, 2
"""Side of what is decoded, written or segmented, tiles of TILE_PX."""


def bench_stages(session: Session, setup: Setup) -> None:
    """Decode, write, infer, count."""
    for stage in STAGES:
        session.measure(f"stages/{stage}", lambda s=stage: child(setup, s, "cog" if s == "decode-cog" else "slide"))


def child(setup: Setup, stage: str, kind: str) -> dict[str, Any]:
    """One stage in a process of its own."""
    side = QUICK_TILES if setup.quick else WINDOW_TILES
    options = ["--rounds", max(3, setup.rounds), "--side", side, "--scratch", setup.scratch]
    models = ["--gate", setup.models[kind]["gate"], "--unet", setup.models[kind]["unet"]]
    recipe = ["--recipe", setup.recipe(kind, TILE_PX)]
    command = python("bench_stages.py", stage, setup.images[kind], *options, *models, *recipe)
    done = measure(command, env=clean_environment())
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return found


def main() -> None:
    """One stage, one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("image", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=WINDOW_TILES)
    for name in ("scratch", "gate", "unet", "recipe"):
        parser.add_argument(f"--{name}", type=Path)
    arguments = parser.parse_args()
    with scratch_run(arguments.scratch, arguments.stage) as arguments.folder:
        what, unit, units, cases = STAGES[arguments.stage](arguments)
        seconds = interleave(cases, arguments.rounds)
    print(json.dumps({"what": what, "unit": unit, "units": units, "seconds": seconds}))


STAGES: dict[str, Callable[[argparse.Namespace], Stage]] = {
    "decode-slide": decode_slide,
    "decode-cog": decode_cog,
    "write-mask-dense": write,
    "write-mask-sparse": write,
    "write-pixels-dense": write,
    "write-pixels-sparse": write,
    "infer": infer,
    "infer-gate": infer_gate,
    "areas": count_areas,
}

if __name__ == "__main__":
    main()
