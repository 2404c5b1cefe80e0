"""Whole processes: `tilegate run` at several shares of positives, against the plain loop and against itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from bench_models import MEAN, STD, TILE_PX
from bench_process import measure, python, tilegate
from bench_session import Session
from bench_setup import (
    ALL,
    NONE,
    Setup,
    bytes_below,
    clean_environment,
    run,
    scratch_run,
    shards_sha256,
    summary_figures,
)

LOADER_WORKERS = (0, 1, 2)
TRIAL_TILES = 24


def bench_runs(session: Session, setup: Setup) -> None:
    """Every kind of image, tilegate's rounds before, between and after those of the plain loop."""
    for kind, image in setup.images.items():
        recipe = setup.recipe(kind, TILE_PX)
        gated = session.measure(f"gate/{kind}", lambda i=image, r=recipe: score_tiles(setup, i, r))
        if gated is None:
            continue
        cases = thresholds(gated["scores"], setup.shares)
        workers = best_loader(session, setup, kind, image)
        for number in range(setup.rounds):
            for name, threshold in in_turns(cases, number):
                session.measure(
                    f"runs/{kind}/{name}/round-{number + 1}",
                    lambda i=image, r=recipe, t=threshold: run(setup, i, r, t),
                )
            for plain in plain_rounds_after(number, setup.rounds, setup.plain_rounds):
                session.measure(
                    f"plain/{kind}/round-{plain + 1}",
                    lambda k=kind, i=image, w=workers: plain_loop(setup, k, i, w),
                )
        same_results(session, setup, kind, image, recipe, cases)
        shares_of_time(session, setup, kind, image, recipe, cases)


def in_turns(cases: dict[str, float], number: int) -> list[tuple[str, float]]:
    """Forwards in even rounds, backwards in odd ones: what drifts over minutes hits all alike."""
    return list(cases.items())[:: -1 if number % 2 else 1]


def plain_rounds_after(number: int, rounds: int, plain_rounds: int) -> list[int]:
    """Which rounds of the plain loop follow round `number` of tilegate: spread over the session, one in its middle."""
    return [plain for plain in range(plain_rounds) if int((plain + 0.5) * rounds / plain_rounds) == number]


def score_tiles(setup: Setup, image: Path, recipe: Path) -> dict[str, Any]:
    """The gate's score of every tile, from a run that segments nothing."""
    import pyarrow.parquet as pq

    sets = [word for change in (f"gate.threshold={NONE!r}", *setup.changes) for word in ("--set", change)]
    with scratch_run(setup.scratch, "scores") as out:
        command = tilegate("run", image, "--recipe", recipe, "--out", out, "--json", "--engine", "local", *sets)
        measure(command, env=clean_environment())
        column = pq.read_table(out / "tiles.parquet").column("score").to_pylist()
    scores = [0.0 if score is None else score for score in column]
    if max(scores) >= NONE:
        raise ValueError(f"a score of {max(scores)} passes any threshold: scale the gate of bench_models.py down")
    return {"tiles": len(scores), "distinct": len(set(scores)), "scores": scores}


def thresholds(scores: list[float], shares: tuple[int, ...]) -> dict[str, float]:
    """{"none": 1, "2": …, "all": 0}: thresholds that so many per cent of the tiles reach."""
    return {"none": NONE} | {str(p): threshold_for(scores, round(len(scores) * p / 100)) for p in shares} | {"all": ALL}


def threshold_for(scores: list[float], wanted: int) -> float:
    """In the middle between the last score that passes and the first that does not; ties may let a few more pass."""
    ranked = np.sort(np.array(scores, np.float64))[::-1]
    last = ranked[max(1, wanted) - 1]
    below = ranked[ranked < last]
    return float((last + below[0]) / 2) if below.size else 0.0


def best_loader(session: Session, setup: Setup, kind: str, image: Path) -> int:
    """Workers of the DataLoader that are fastest here, tried on a few tiles."""
    if setup.quick:
        return 0
    found = session.measure(f"loader/{kind}", lambda: try_loaders(setup, kind, image))
    return 0 if found is None else int(found["best"])


def try_loaders(setup: Setup, kind: str, image: Path) -> dict[str, Any]:
    """Seconds per tile of each number of workers."""
    loops = {workers: plain_loop(setup, kind, image, workers, TRIAL_TILES) for workers in LOADER_WORKERS}
    seconds = {str(workers): loop["loop_s"] / loop["tiles"] for workers, loop in loops.items()}
    return {"best": int(min(seconds, key=lambda workers: seconds[workers])), "seconds_per_tile": seconds}


def plain_loop(setup: Setup, kind: str, image: Path, workers: int, tiles: int = 0) -> dict[str, Any]:
    """The peer as a whole process."""
    mean, std = (",".join(map(str, values)) for values in (MEAN, STD))
    weights = setup.models[kind]["unet"] / "model.safetensors"
    with scratch_run(setup.scratch, "plain") as out:
        out.mkdir()
        command = python("plain_loop.py", image, weights, "--mean", mean, "--std", std, "--out", out / "mask.npy")
        done = measure([*command, "--workers", workers, "--tiles", tiles], env=clean_environment())
    return done.figures() | json.loads(done.out.splitlines()[-1]) | {"loader_workers": workers}


def same_results(session: Session, setup: Setup, kind: str, image: Path, recipe: Path, cases: dict[str, float]) -> None:
    """The same run with other threads and other spans: its summary and its mask must be the same to the bit."""
    threshold = cases["10" if "10" in cases else "25"]
    for workers in (1, 4):
        options = ("--engine", "local", "--workers", str(workers))
        session.measure(f"same/{kind}/workers-{workers}", lambda o=options: run(setup, image, recipe, threshold, o))
    for gate, segment in ((64, 3), (100_000, 100_000)):
        session.measure(
            f"same/{kind}/spans-{gate}-{segment}",
            lambda g=gate, s=segment: run_with_spans(setup, image, recipe, threshold, g, s),
        )


def run_with_spans(
    setup: Setup, image: Path, recipe: Path, threshold: float, gate_tiles: int, segment_tiles: int
) -> dict[str, Any]:
    """One run in a process of its own whose spans are cut to other sizes."""
    sets = [word for change in (f"gate.threshold={threshold!r}", *setup.changes) for word in ("--set", change)]
    with scratch_run(setup.scratch, "spans") as out:
        words = ["run", image, "--recipe", recipe, "--out", out, "--json", "--engine", "local", *sets]
        done = measure(python("with_spans.py", gate_tiles, segment_tiles, *words), env=clean_environment())
        summary = json.loads(done.out)
        return done.figures() | summary_figures(summary) | {"shards": shards_sha256(out), "bytes": bytes_below(out)}


def shares_of_time(
    session: Session, setup: Setup, kind: str, image: Path, recipe: Path, cases: dict[str, float]
) -> None:
    """Orchestration and storage against the bare work, in one process: see inside.py."""
    options = ["--threshold", repr(cases["5"]), "--rounds", setup.rounds, "--scratch", setup.scratch]
    sets = [word for change in setup.changes for word in ("--set", change)]

    def inside() -> dict[str, Any]:
        done = measure(python("inside.py", image, recipe, *options, *sets), env=clean_environment())
        found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return found

    session.measure(f"inside/{kind}", inside)
