"""What orchestration and storage cost: a whole run against the bare work with the same objects, in one process.

python inside.py IMAGE RECIPE --threshold T --rounds N --scratch DIR [--workers W] [--set k=v]
whole: flows.pipeline.execute, from the plan to the published report: spans, ledger, shards, summary, pictures.
bare:  the same source, gate and segmenter in as many threads: read the gate plane, score, read what passes, segment,
count. Nothing is stored, committed or published. Imports, models and the plan (which hashes the image) are in neither.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from bench_setup import scratch_run

Key = tuple[int, int]


def main() -> None:
    """One line of JSON."""
    from flows.planning import make_plan
    from flows.recipe import load_recipe
    from tiling.source import SourceSpec

    logging.basicConfig(level=logging.WARNING)
    arguments = parse()
    changes = (f"gate.threshold={arguments.threshold!r}", *arguments.set)
    plan = make_plan(SourceSpec(uris=(str(arguments.image),)), load_recipe(str(arguments.recipe), changes))
    stages: list[float] = []
    cases: dict[str, Callable[[], int]] = {
        "bare": lambda: bare(plan, arguments.workers),
        "whole": lambda: whole(plan, arguments.workers, arguments.scratch, stages),
    }
    found: dict[str, Any] = {f"{name}_{what}": [] for name in cases for what in ("s", "cpu_s")}
    for number in range(arguments.rounds + 1):
        for name in list(cases)[:: -1 if number % 2 else 1]:
            began, cpu = time.perf_counter(), time.process_time()
            found[f"{name}_pixels"] = cases[name]()
            if number > 0:
                found[f"{name}_s"].append(time.perf_counter() - began)
                found[f"{name}_cpu_s"].append(time.process_time() - cpu)
    print(json.dumps(found | {"stages_s": stages[1:], "workers": arguments.workers}))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("image", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", action="append", default=[])
    return parser.parse_args()


def whole(plan: Any, workers: int, scratch: Path, stages: list[float]) -> int:
    """Pixels that a run counts. stages: gets its seconds without the publishing of the report."""
    from flows.engine import LocalEngine
    from flows.pipeline import execute
    from flows.progress import Silent

    with scratch_run(scratch, "inside") as out:
        summary = execute(plan, out, LocalEngine(workers), Silent())
    stages.append(summary["seconds"]["gate"] + summary["seconds"]["segment"])
    return sum(row["pixels"] for row in summary["area"]["classes"])


def bare(plan: Any, workers: int) -> int:
    """Pixels that the bare work counts."""
    rows, cols = plan.grid.shape_batches
    batches = [(row, col) for row in range(rows) for col in range(cols)]
    with ThreadPoolExecutor(workers) as pool:
        passed = [key for part in pool.map(lambda some: gate(plan, some), dealt(batches, workers)) for key in part]
        return sum(pool.map(lambda some: segment(plan, some), dealt(passed, workers)))


def dealt(keys: list[Key], hands: int) -> list[list[Key]]:
    """Runs of neighbours of about equal length, one for each thread."""
    return [part.tolist() for part in np.array_split(np.array(keys, int).reshape(-1, 2), hands) if len(part)]


def gate(plan: Any, batches: list[Key]) -> list[Key]:
    """Tiles that pass."""
    from flows.job import open_job
    from flows.reading import read_batch

    passed: list[Key] = []
    with open_job(plan) as job:
        for row, col in batches:
            stack = read_batch(job.source, plan.gate_grid.batch(row, col), plan.gate_plane).stack
            assert stack is not None
            scores = job.gate.score(job.shown(job.gate, stack, range(len(stack))))[:, job.columns].max(axis=1)
            passed += [(t.row, t.col) for t, score in zip(stack.tiles, scores, strict=True) if score >= job.threshold]
    return passed


def segment(plan: Any, tiles: list[Key]) -> int:
    """Pixels of the class in these tiles."""
    from flows.job import open_job
    from tiling.stack import crop_to_core, read_stack

    pixels = 0
    with open_job(plan) as job:
        for key in tiles:
            tile = plan.grid.tile(*key)
            stack = read_stack(job.source, [tile], plan.fine)
            labels = job.segmenter.segment(job.shown(job.segmenter, stack, [0])).labels
            pixels += int(np.count_nonzero(crop_to_core(labels[0], tile)))
    return pixels


if __name__ == "__main__":
    main()
