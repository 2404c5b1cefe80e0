"""Opens bundles as a run would. fuzz_models.py read|load FOLDER…: one JSON object per folder, {"folder", "code"}.

read: contract and hashes only. load: the network, too, on torch and on the runtime that auto picks, and one tile.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import numpy as np

from classifiers.answers import NotFinite
from classifiers.bundle import load_bundle
from classifiers.machine import this_machine
from classifiers.network_gate import NetworkGate, open_network_gate
from classifiers.runtime import choose_runtime
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.stack import TileStack


def try_one(how: str, folder: Path) -> int:
    """Exit code the command line would give: 0 or 2; 1 for anything that is not said on purpose."""
    try:
        bundle = load_bundle(folder, folder.parent)
        if how == "load":
            side = bundle.input_px
            tile = TileGrid(shape_px=(side, side), tile_px=side).tile(0, 0)
            pixels = np.zeros((1, len(bundle.bands), side, side), bundle.dtype)
            stack = TileStack(tiles=(tile,), pixels=pixels, valid=np.ones((1, side, side), bool))
            for name in {"torch", choose_runtime(bundle, "auto", this_machine())}:
                try_tile(open_network_gate(bundle, name), stack)
    except BadInput as error:
        print(f"tilegate: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def try_tile(gate: NetworkGate, stack: TileStack) -> None:
    """What a network answers that was broken is not judged, only that it answers or is refused."""
    with suppress(NotFinite):
        gate.score(stack)


def main(how: str, *folders: str) -> None:
    for folder in folders:
        print(json.dumps({"folder": folder}), flush=True)  # said before: a crash shows who did it
        print(json.dumps({"folder": folder, "code": try_one(how, Path(folder))}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
