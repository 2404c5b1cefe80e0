"""Opens bundles as a run would. fuzz_models.py read|load FOLDER…: one JSON object per folder, {"folder", "code"}.

read: contract and hash only. load: the network, too, which takes torch.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from classifiers.bundle import load_bundle
from tiling.errors import BadInput


def try_one(how: str, folder: Path) -> int:
    """Exit code the command line would give: 0 or 2; 1 for anything that is not said on purpose."""
    try:
        bundle = load_bundle(folder, folder.parent)
        if how == "load":
            from classifiers.torch_gate import TorchGate

            TorchGate(bundle, threads=1)
    except BadInput as error:
        print(f"tilegate: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def main(how: str, *folders: str) -> None:
    for folder in folders:
        print(json.dumps({"folder": folder}), flush=True)  # said before: a crash shows who did it
        print(json.dumps({"folder": folder, "code": try_one(how, Path(folder))}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
