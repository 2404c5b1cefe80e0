"""Models by name: rules first, then bundles. Heavy imports happen here, when a model is opened."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from classifiers.protocol import Classifier
from classifiers.rule_gate import RuleGate
from classifiers.rules import RULES, find_rule
from downstream.protocol import Segmenter
from downstream.rule_segmenter import RuleSegmenter
from tiling.errors import BadInput


@lru_cache(maxsize=4)
def open_gate(model: str, cut: float | None) -> Classifier:
    """The gate of a recipe, loaded once per process."""
    rule = find_rule(model, cut)
    if rule is not None:
        return RuleGate(rule)
    from classifiers.bundle import load_bundle
    from classifiers.torch_gate import TorchGate

    _refuse_cut(model, cut)
    return TorchGate(load_bundle(model, bundle_folder("classifiers")))


@lru_cache(maxsize=4)
def open_segmenter(model: str, cut: float | None) -> Segmenter:
    """The segmenter of a recipe, loaded once per process."""
    rule = find_rule(model, cut)
    if rule is not None:
        return RuleSegmenter(rule)
    from classifiers.bundle import load_bundle
    from downstream.torch_segmenter import TorchSegmenter

    _refuse_cut(model, cut)
    return TorchSegmenter(load_bundle(model, bundle_folder("downstream")))


def settled(model: str) -> str:
    """The folder of a bundle as an absolute path, so that a worker finds it from anywhere; names as they are."""
    return str(Path(model).expanduser().absolute()) if model.startswith((".", "~")) else model


def bundle_folder(room: str) -> Path:
    """Where the bundles that come with tilegate lie."""
    return Path(str(files(room))) / "bundles"


def _refuse_cut(model: str, cut: float | None) -> None:
    if cut is not None:
        raise BadInput(f"cut = {cut} is for rules ({', '.join(RULES)}); {model} is a bundle and has its own")
