"""Models by name: rules first, then bundles. Heavy imports happen here, when a model is opened."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from classifiers.bundle_contract import Bundle, RuntimeName, Wanted
from classifiers.protocol import Classifier
from classifiers.rule_gate import RuleGate
from classifiers.rules import RULES, find_rule
from downstream.protocol import Segmenter
from downstream.rule_segmenter import RuleSegmenter
from tiling.errors import BadInput
from tiling.stack import require_labels_for

Kind = Literal["gate", "segmenter"]
ROOMS: dict[Kind, str] = {"gate": "classifiers", "segmenter": "downstream"}
"""Whose bundles they are."""
ENDINGS = {"classifiers": ("-gate", "-rgb"), "downstream": ("-unet",)}
"""What may be left out of a name: forest is forest-gate or forest-unet, by what is asked for."""


@lru_cache(maxsize=4)
def open_gate(model: str, cut: float | None, runtime: Wanted | None) -> Classifier:
    """The gate of a recipe, loaded once per process. runtime: see gate_runtime."""
    rule = find_rule(model, cut)
    if rule is not None:
        return RuleGate(rule)
    from classifiers.network_gate import open_network_gate

    _refuse_cut(model, cut)
    bundle = _bundle(model, "classifiers")
    return open_network_gate(bundle, _choose(bundle, runtime))


@lru_cache(maxsize=4)
def open_segmenter(model: str, cut: float | None, runtime: Wanted | None) -> Segmenter:
    """The segmenter of a recipe, loaded once per process. runtime: see segmenter_runtime.

    Raises BadInput for one with more classes than a mask has labels.
    """
    rule = find_rule(model, cut)
    if rule is not None:
        return RuleSegmenter(rule)
    _refuse_cut(model, cut)
    bundle = _bundle(model, "downstream")
    require_labels_for(bundle.classes, f"{bundle.name}, as a segmenter,")
    if bundle.task == "classification":
        from downstream.dense_classifier import open_dense_classifier

        return open_dense_classifier(bundle, _choose(bundle, runtime))
    from downstream.network_segmenter import open_network_segmenter

    return open_network_segmenter(bundle, _choose(bundle, runtime))


def gate_runtime(model: str, wanted: Wanted | None) -> RuntimeName | None:
    """What a gate will run on here, None for rules. Raises BadInput for what it can not run on."""
    return _runtime(model, "classifiers", wanted)


def segmenter_runtime(model: str, wanted: Wanted | None) -> RuntimeName | None:
    """What a segmenter will run on here, likewise."""
    return _runtime(model, "downstream", wanted)


def find_bundle(model: str, kind: Kind) -> Bundle | None:
    """The bundle of a gate or segmenter, not hashed yet; None for a rule. Raises BadInput when there is neither."""
    return None if find_rule(model) is not None else _bundle(model, ROOMS[kind])


def shipped(room: str) -> dict[str, str]:
    """What the bundles of a room answer to, and their names: their own name, and what is left without its ending."""
    names = sorted(path.parent.name for path in bundle_folder(room).glob("*/bundle.json"))
    short = {name.removesuffix(ending): name for name in names for ending in ENDINGS[room]}
    return short | {name: name for name in names}


def settled(model: str) -> str:
    """The folder of a bundle as an absolute path, so that a worker finds it from anywhere; names as they are."""
    return str(Path(model).expanduser().absolute()) if model.startswith((".", "~")) else model


def bundle_folder(room: str) -> Path:
    """Where the bundles that come with tilegate lie."""
    return Path(str(files(room))) / "bundles"


def _bundle(model: str, room: str) -> Bundle:
    from classifiers.bundle import load_bundle

    return load_bundle(*_called(model, room), whole=False)


def _called(model: str, room: str) -> tuple[str, Path]:
    """(name or path of a bundle, folder of the shipped ones), by the name that may be shorter than the bundle's.

    A gate can be the expensive step, too, looking densely: its bundle is found where there is no segmenter so called.
    """
    for place in dict.fromkeys((room, "classifiers")):
        if model in shipped(place):
            return shipped(place)[model], bundle_folder(place)
    return model, bundle_folder(room)


def _runtime(model: str, room: str, wanted: Wanted | None) -> RuntimeName | None:
    if find_rule(model) is None:
        return _choose(_bundle(model, room), wanted)
    if wanted not in (None, "auto"):
        raise BadInput(f"runtime = {wanted} is for bundles; {model} is a rule and needs none")
    return None


def _choose(bundle: Bundle, wanted: Wanted | None) -> RuntimeName:
    from classifiers.machine import this_machine
    from classifiers.runtime import choose_runtime

    return choose_runtime(bundle, wanted or "auto", this_machine())


def _refuse_cut(model: str, cut: float | None) -> None:
    if cut is not None:
        raise BadInput(f"cut = {cut} is for rules ({', '.join(RULES)}); {model} is a bundle and has its own")
