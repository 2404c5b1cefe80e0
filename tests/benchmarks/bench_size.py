"""Cost against size: 4k to 64k px a side with as many positives, and a plan for a million tiles."""

from __future__ import annotations

import json
from typing import Any

from bench_models import TILE_PX
from bench_process import measure, tilegate
from bench_repeated import PATCH_PX, repeated_slide
from bench_runs import score_tiles, threshold_for
from bench_session import Session
from bench_setup import NONE, Setup, clean_environment, run

SIZES, QUICK_SIZES = (4096, 8192, 16384, 32768, 65536), (4096, 8192)
POSITIVES, QUICK_POSITIVES = 256, 8
MILLION_PX, QUICK_MILLION_PX = 512_000, 65_536
PLAN_S = 900


def bench_size(session: Session, setup: Setup) -> None:
    """Every size twice: nothing passes, and some pass (at most a quarter of the tiles, and about POSITIVES)."""
    folder, recipe = setup.folder / "images", setup.recipe("slide", TILE_PX)
    first = session.measure("gate/repeated", lambda: score_tiles(setup, repeated_slide(folder, PATCH_PX), recipe))
    if first is None:
        return
    positives = QUICK_POSITIVES if setup.quick else POSITIVES
    for number in range(setup.rounds):
        for size_px in QUICK_SIZES if setup.quick else SIZES:
            image, cut = repeated_slide(folder, size_px), threshold_for(first["scores"], in_patch(size_px, positives))
            for name, threshold in (("none", NONE), ("some", cut)):
                key = f"size/{size_px}/{name}/round-{number + 1}"
                session.measure(key, lambda i=image, t=threshold: run(setup, i, recipe, t))
    session.measure("plan/million", lambda: plan_million(setup))


def in_patch(size_px: int, positives: int) -> int:
    """How many tiles of the repeated patch have to pass so that about `positives` of the whole image do."""
    patch_tiles, tiles = (PATCH_PX // TILE_PX) ** 2, (size_px // TILE_PX) ** 2
    return max(1, round(patch_tiles * min(0.25, positives / tiles)))


def plan_million(setup: Setup) -> dict[str, Any]:
    """`tilegate plan` of a slide of a million tiles."""
    size_px = QUICK_MILLION_PX if setup.quick else MILLION_PX
    image, recipe = repeated_slide(setup.folder / "images", size_px), setup.recipe("slide", TILE_PX)
    sets = [word for change in ("gate.threshold=0.5", *setup.changes) for word in ("--set", change)]
    command = tilegate("plan", image, "--recipe", recipe, "--max-pixels", "1e12", "--json", *sets)
    done = measure(command, env=clean_environment(), timeout_s=PLAN_S)
    found = json.loads(done.out)
    return done.figures() | {
        "size_px": size_px,
        "tiles": found["tiles"],
        "spans": sum(found["spans"].values()),
        "minutes": found["minutes"],
    }
