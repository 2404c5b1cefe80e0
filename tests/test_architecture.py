"""The rooms of the house and who may import whom, read from the source itself."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
ROOMS = {
    "flows": {"storage", "downstream", "classifiers", "tiling"},
    "storage": {"tiling"},
    "downstream": {"classifiers", "tiling"},
    "classifiers": {"tiling"},
    "tiling": set[str](),
}
"""A room and those it may import, besides itself."""

MODELS = (
    "classifiers/torch_*.py",
    "classifiers/training/*.py",
    "classifiers/measuring/torch_*.py",
    "classifiers/export.py",
    "downstream/torch_*.py",
    "downstream/training/*.py",
)
EXPORTED = ("classifiers/openvino_quiet.py", "classifiers/export*.py")
FENCES = {
    "prefect": ("flows/*",),
    "prefect_dask": ("flows/*",),
    "pydantic": ("flows/*", "classifiers/bundle_*.py", "classifiers/training/settings.py"),
    "typer": ("flows/*",),
    "rich": ("flows/*",),
    "zarr": ("storage/*",),
    "numcodecs": ("storage/shard.py",),
    "google_crc32c": ("storage/shard.py",),
    "rasterio": ("tiling/raster*.py", "storage/*", "flows/demo/images.py"),
    "openslide": ("tiling/slide.py",),
    "simplejpeg": ("tiling/slide*.py",),
    "highdicom": ("storage/dicom_*.py",),
    "pydicom": ("storage/dicom_*.py",),
    "openvino": EXPORTED,
    "nncf": ("classifiers/export*.py",),
    "sklearn": ("classifiers/classical/*.py", "classifiers/labels/*.py", "classifiers/measuring/*.py"),
    "pyogrio": ("classifiers/labels/*.py", "tiling/raster*.py", "storage/export_*.py"),
    "torch": MODELS,
    "torchvision": MODELS,
    "timm": MODELS,
    "segmentation_models_pytorch": MODELS,
}
"""A third party and the files that may know it."""

FILES = {str(path.relative_to(HOUSE)): path for room in ROOMS for path in sorted((HOUSE / room).rglob("*.py"))}


def imports(file: str) -> set[str]:
    """Full names of what a file imports, at its top or inside its functions."""
    found = set[str]()
    for node in ast.walk(ast.parse(FILES[file].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively; write the room's name"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_there_is_a_house() -> None:
    assert {file.split("/")[0] for file in FILES} == set(ROOMS)
    assert "rasterio" in imports("tiling/raster.py")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    for file in FILES:
        if file.startswith(f"{room}/"):
            entered = {name.split(".")[0] for name in imports(file)} & set(ROOMS) - {room}
            assert entered <= ROOMS[room], f"{file} imports {sorted(entered - ROOMS[room])}"


@pytest.mark.parametrize("library", FENCES)
def test_a_library_stays_behind_its_fence(library: str) -> None:
    for file in FILES:
        if library in {name.split(".")[0] for name in imports(file)}:
            assert any(fnmatch(file, allowed) for allowed in FENCES[library]), f"{file} imports {library}"


def test_no_module_imports_itself_in_the_end() -> None:
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}
    graph = {module: (imports(file) & set(modules)) - {module} for module, file in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, naming the cycle
