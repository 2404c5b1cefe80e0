"""What a start loads: counted in modules, since seconds depend on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

HOUSE = Path(__file__).parents[2]
HEAVY = {"dask", "numpy", "openvino", "prefect", "pyarrow", "rasterio", "rich.progress", "scipy", "torch", "zarr"}
SLOW = {"dask", "fastapi", "nncf", "prefect", "rich.progress", "scipy", "skimage", "timm", "torch", "torchvision"}
SAY = "import atexit, json, sys; atexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n"


def loaded(*arguments: object, **more: str) -> set[str]:
    """Modules in memory when a command of tilegate has ended well. more: of the environment."""
    code = f"{SAY}import flows.cli; sys.argv = ['tilegate', *{[str(a) for a in arguments]!r}]; flows.cli.main()"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")} | more
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, env=bare, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.rpartition("\n[")[2].join(["[", ""])))


@pytest.fixture
def forest_scene(tmp_path):
    """A green noise of 10 m, three bands of eight bits."""
    pixels = np.random.default_rng(3).integers(20, 90, (3, 300, 280), np.uint8)
    place = rasterio.transform.from_origin(500_000, 9_700_000, 10, 10)
    path = tmp_path / "scene.tif"
    with rasterio.open(path, "w", "GTiff", 280, 300, 3, "EPSG:32721", place, "uint8", photometric="RGB") as file:
        file.write(pixels)
    return path


def test_help_loads_nothing_heavy():
    assert not loaded("--help") & HEAVY


def test_a_run_with_networks_loads_no_torch_and_no_prefect(forest_scene, tmp_path):
    modules = loaded("run", forest_scene, "--recipe", "forest", "--out", tmp_path / "run", "--json")
    assert "openvino" in modules
    assert not modules & SLOW


def test_the_reference_runtime_can_be_asked_for(forest_scene, tmp_path):
    asked = ("--set", "gate.runtime=torch", "--set", "segment.runtime=torch")
    modules = loaded("run", forest_scene, "--recipe", "forest", "--out", tmp_path / "run", "--json", *asked)
    assert "torch" in modules
    assert "openvino" not in modules


def test_a_run_leaves_pandas_alone_where_it_is_installed(forest_scene, tmp_path):
    """pyarrow imports it for the first list it is given: a third of the start of a run."""
    installed = tmp_path / "site" / "pandas"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("__version__ = '3.0.0'\n")
    asked = ("--recipe", "forest", "--out", tmp_path / "run", "--json")
    assert "pandas" not in loaded("run", forest_scene, *asked, PYTHONPATH=str(installed.parent))
