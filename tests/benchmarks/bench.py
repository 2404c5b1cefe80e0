"""Benchmarks: python tests/benchmarks/bench.py [--quick] [--only runs,stages,size,prefect] …; one JSON, one table.

Images and models are made once into bench-out/, without any download. A session that was broken off goes on where it
was when it is started again with the same options and the same code.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from bench_images import make_images
from bench_models import TILE_PX, make_models
from bench_prefect import bench_prefect
from bench_runs import bench_runs
from bench_session import HOUSE, Session
from bench_setup import Setup
from bench_size import bench_size
from bench_stages import bench_stages
from bench_table import table
from peers import bench_peers

PARTS: dict[str, Callable[[Session, Setup], None]] = {
    "runs": bench_runs,
    "stages": bench_stages,
    "size": bench_size,
    "prefect": bench_prefect,
}
QUICK_PX = 2048


def main() -> None:
    """Measure, save, print the table."""
    arguments = parse()
    folder: Path = arguments.folder.resolve()
    size_px = QUICK_PX if arguments.quick else arguments.size
    if size_px % TILE_PX:
        raise SystemExit(f"--size {size_px}: a multiple of {TILE_PX}, so that both sides see the same tiles")
    settings = {
        "size_px": size_px,
        "rounds": 1 if arguments.quick else arguments.rounds,
        "plain_rounds": 1 if arguments.quick else arguments.plain_rounds,
        "quick": arguments.quick,
        "set": arguments.set,
    }
    session = Session(
        arguments.out or folder / ("quick.json" if arguments.quick else "bench.json"), settings, fresh=arguments.fresh
    )
    session.say(f"images and models in {folder}")
    shutil.rmtree(folder / "scratch", ignore_errors=True)  # what a killed session left
    setup = Setup(
        folder=folder,
        size_px=size_px,
        rounds=settings["rounds"],
        plain_rounds=settings["plain_rounds"],
        quick=arguments.quick,
        changes=tuple(arguments.set),
        images=make_images(folder / "images", size_px),
        models=make_models(folder / "models"),
    )
    page = session.path.with_suffix(".md")
    try:
        for name in arguments.only.split(","):
            PARTS[name](session, setup)
            page.write_text(table(session.data))
        if arguments.peers is not None:
            bench_peers(session, setup, arguments.peers)
    finally:
        session.save()
        page.write_text(table(session.data))
    print(table(session.data))
    print(f"JSON: {session.path}\ntable: {page}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of everything but the plain loop")
    parser.add_argument("--plain-rounds", type=int, default=1, help="rounds of the plain loop, ten minutes each")
    parser.add_argument("--size", type=int, default=16384, help="side of the slide and of the COG, px")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="everything once at small size, in about three minutes")
    parser.add_argument(
        "--peers", nargs="*", type=Path, metavar="PYTHON",
        help="MONAI, TorchGeo and TIAToolbox, too, where installed: here, or for one of these interpreters",
    )  # fmt: skip
    parser.add_argument("--set", action="append", default=[], help="change the recipe of every tilegate run: k=v")
    parser.add_argument("--out", type=Path, help="the JSON; the table lies beside it as .md")
    parser.add_argument("--folder", type=Path, default=HOUSE / "bench-out", help="images, models, scratch, results")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    arguments = parser.parse_args()
    unknown = set(arguments.only.split(",")) - PARTS.keys()
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: there is {', '.join(PARTS)}")
    return arguments


if __name__ == "__main__":
    main()
