"""Model bundles on disk: a folder of bundle.json, model.safetensors and README.md, and nothing that can run code.

The same network may lie beside them as OpenVINO IR, model.xml and model.bin, for a runtime that needs no torch. Reading
a bundle takes no inference runtime: this file checks and hashes, the model files build the network.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from classifiers.bundle_contract import Bundle, Calibration, Export, ExportName, Task
from classifiers.bundle_schema import from_json, to_json
from tiling.errors import BadInput

__all__ = ["Bundle", "Calibration", "Graph", "Task", "load_bundle", "read_export", "read_weights", "write_bundle"]

JSON, WEIGHTS, CARD = "bundle.json", "model.safetensors", "README.md"

MAX_BYTES = {".json": 16 * 2**20, ".xml": 64 * 2**20, ".safetensors": 4 * 2**30, ".bin": 4 * 2**30}
"""By ending: larger files are refused before they are read."""

_SHIPPED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PICKLES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """An exported network as OpenVINO takes it (IR)."""

    xml: bytes
    """Layers and how they are joined."""
    weights: bytes
    """Their constants, by offset."""

    @property
    def hashes(self) -> Export:
        """As bundle.json states them."""
        return Export(
            xml_sha256=hashlib.sha256(self.xml).hexdigest(), bin_sha256=hashlib.sha256(self.weights).hexdigest()
        )


_NO_GRAPHS: Mapping[ExportName, Graph] = MappingProxyType({})


def load_bundle(path_or_name: str | Path, shipped: Path, *, whole: bool = True) -> Bundle:
    """Read and check one bundle; its weights and exports are hashed, not loaded.

    path_or_name: a Path, a text that starts like a path (/, ./, ../, ~), or the name of a folder in `shipped`.
    whole: False leaves the hashing to read_weights and read_export: a runtime reads one of them, and they are large.
    Raises BadInput for anything that is not a whole, unchanged bundle.
    """
    folder = _find(path_or_name, shipped)
    _require_files(folder)
    bundle = from_json(_read(folder / JSON), folder)
    if whole:
        read_weights(bundle)
        for name in bundle.exports:
            read_export(bundle, name)
    return bundle


def write_bundle(
    bundle: Bundle, folder: Path, weights: bytes, card: str, graphs: Mapping[ExportName, Graph] = _NO_GRAPHS
) -> Bundle:
    """Write a bundle; refused as load_bundle would, before anything is written.

    weights: a safetensors file; card: the text of README.md, in which `{sha256}` becomes the weights'; graphs: the
    same network exported, each of which replaces or, where it is not given, removes the one that lies there.
    The bundle's path and all hashes are filled in here, whatever `bundle` says; without graphs it has no drift.
    """
    _require_safetensors(weights, folder / WEIGHTS)
    sha256 = hashlib.sha256(weights).hexdigest()
    exports = {name: graph.hashes for name, graph in graphs.items()}
    hashed = replace(bundle, sha256=sha256, exports=exports, drift=bundle.drift if exports else {})
    text = to_json(from_json(to_json(hashed), folder))  # as it is read: 40 becomes 40.0
    written = from_json(text, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    _write_graphs(folder, graphs)
    (folder / CARD).write_text(card.replace("{sha256}", sha256), encoding="utf-8")
    (folder / JSON).write_bytes(text)
    return written


def read_weights(bundle: Bundle) -> bytes:
    """The bytes of the weights, exactly those bundle.json speaks of. Raises BadInput when they are not."""
    path = bundle.path / WEIGHTS
    weights = _read(path)
    found = hashlib.sha256(weights).hexdigest()
    if found != bundle.sha256:
        raise BadInput(_other_bytes(path, found, bundle.sha256))
    _require_safetensors(weights, path)
    return weights


def read_export(bundle: Bundle, name: ExportName) -> Graph:
    """The files of an export, exactly those bundle.json speaks of. Raises BadInput when they are not."""
    xml, weights = _graph_files(bundle.path, name)
    missing = ", ".join(path.name for path in (xml, weights) if not path.is_file())
    if missing:
        raise BadInput(f"{bundle.path} lacks {missing}, of which {JSON} speaks; fetch the bundle again.")
    graph, told = Graph(xml=_read(xml), weights=_read(weights)), bundle.exports[name]
    found = graph.hashes
    pairs = ((xml, found.xml_sha256, told.xml_sha256), (weights, found.bin_sha256, told.bin_sha256))
    for path, sha256, expected in pairs:
        if sha256 != expected:
            raise BadInput(_other_bytes(path, sha256, expected))
    return graph


def _graph_files(folder: Path, name: ExportName) -> tuple[Path, Path]:
    return folder / f"{name}.xml", folder / f"{name}.bin"


def _write_graphs(folder: Path, graphs: Mapping[ExportName, Graph]) -> None:
    for name in get_args(ExportName):
        xml, weights = _graph_files(folder, name)
        if name in graphs:
            xml.write_bytes(graphs[name].xml)
            weights.write_bytes(graphs[name].weights)
        else:
            xml.unlink(missing_ok=True)
            weights.unlink(missing_ok=True)


def _other_bytes(path: Path, found: str, told: str) -> str:
    return (
        f"{path}: sha256 is {found}, {JSON} says {told}. The file was changed or cut after the bundle "
        "was written (a Git LFS pointer looks like this, too); fetch the bundle again."
    )


def _read(path: Path) -> bytes:
    """All of a file of the bundle. Raises BadInput when it is larger than any honest one."""
    size, limit = path.stat().st_size, MAX_BYTES[path.suffix]
    if size > limit:
        raise BadInput(f"{path} has {size:,} bytes; at most {limit:,} are read. Is it what its name says?")
    return path.read_bytes()


def _find(path_or_name: str | Path, shipped: Path) -> Path:
    """The bundle's folder."""
    text = str(path_or_name)
    if isinstance(path_or_name, Path) or text.startswith(("/", "./", "../", "~")):
        folder = Path(path_or_name).expanduser()
    elif _SHIPPED_NAME.fullmatch(text):
        folder = shipped / text
    else:
        raise BadInput(
            f"{text!r} is not the name of a shipped bundle (those hold no slash): {_names(shipped)}. "
            f"For a folder of your own write its path, such as ./my-bundle; bundles behind a URL are not fetched."
        )
    try:
        if folder.is_dir():
            return folder
        why = "is a file, a bundle is a folder" if folder.exists() else "does not exist"
    except OSError as error:
        why = f"can not be looked at: {error.strerror}"
    raise BadInput(f"{folder!s:.300} {why}. Shipped bundles: {_names(shipped)}.")


def _names(shipped: Path) -> str:
    return ", ".join(sorted(path.parent.name for path in shipped.glob(f"*/{JSON}"))) or f"none in {shipped}"


def _require_files(folder: Path) -> None:
    missing = [name for name in (JSON, WEIGHTS, CARD) if not (folder / name).is_file()]
    ours = {path.name for name in get_args(ExportName) for path in _graph_files(folder, name) if path.is_file()}
    ours = ours if any(name.endswith(".xml") for name in ours) else set()
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _PICKLES and p.name not in ours)
    if WEIGHTS in missing and pickles:
        raise BadInput(
            f"{folder}: {', '.join(pickles)} instead of {WEIGHTS}. Pickles run whatever code they hold when they are "
            "opened and are refused; save the weights with safetensors.torch.save_file."
        )
    if missing:
        raise BadInput(f"{folder} lacks {', '.join(missing)}: a bundle is {JSON}, {WEIGHTS} and {CARD}.")


def _require_safetensors(weights: bytes, path: Path) -> None:
    """A safetensors file starts with the length of its JSON header (8 bytes, little endian); a pickle does not."""
    header = int.from_bytes(weights[:8], "little")
    if header > len(weights) - 8 or weights[8:9] != b"{":
        raise BadInput(
            f"{path} is not a safetensors file: its {len(weights)} bytes do not start with a header. A renamed pickle "
            "is refused as any pickle; save the weights with safetensors.torch.save_file."
        )
