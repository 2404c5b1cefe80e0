"""What every torch model shares: threads, device, weights from a bundle, and refusing answers that are not numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.bundle import WEIGHTS, Bundle, Task, read_weights
from classifiers.protocol import ModelId
from tiling.errors import BadInput, TilegateError
from tiling.grid import Tile


class NotFinite(TilegateError, FloatingPointError):
    """A model answered with NaN or infinity: neither a score nor a label can be made of that."""


def require_task(bundle: Bundle, task: Task) -> None:
    """Raise BadInput when the bundle is for the other job."""
    if bundle.task != task:
        raise BadInput(f"{bundle.name} ({bundle.path}) does {bundle.task}; a bundle for {task} is needed here")


def use_threads(count: int | None = None) -> None:
    """Set torch's threads for the whole process. count: None = every core this process may run on.

    Dask workers start with OMP_NUM_THREADS=1, which torch obeys: without this a model on such a worker would leave
    all cores but one idle. Where several models run at once, give each its share.
    """
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(max(1, count or mine or 1))


def pick_device(name: str | None = None) -> torch.device:
    """name: such as cpu or cuda:1; None = CUDA where there is one, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def load_weights(network: nn.Module, bundle: Bundle, device: torch.device) -> nn.Module:
    """The network with the bundle's weights (half precision is widened), on `device`, ready to predict."""
    try:
        network.load_state_dict(safetensors.torch.load(read_weights(bundle)))
    except (RuntimeError, safetensors.SafetensorError) as error:
        first = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise BadInput(
            f"{bundle.path / WEIGHTS} does not fit {bundle.architecture} with {bundle.channels} outputs and "
            f"{len(bundle.bands)} bands: {first:.400}. The weights belong to another network, or timm or "
            "segmentation-models-pytorch have changed it; train or fetch the bundle again."
        ) from error
    return network.eval().to(device)


def require_shape(found: Sequence[int], needed: Sequence[int], bundle: Bundle) -> None:
    """Raise BadInput when the network's output is not of the shape its bundle promises."""
    if tuple(found) != tuple(needed):
        raise BadInput(
            f"{bundle.name} ({bundle.architecture}) answered with shape {tuple(found)} instead of {tuple(needed)} for "
            f"{len(bundle.classes)} classes ({', '.join(bundle.classes)}): architecture and classes do not fit"
        )


def require_finite(values: NDArray[np.float32], tiles: Sequence[Tile], model: ModelId) -> None:
    """Raise NotFinite that names the tiles. values: (n, …)."""
    bad = [tile.id for tile, answer in zip(tiles, values, strict=True) if not np.isfinite(answer).all()]
    if bad:
        raise NotFinite(
            f"{model.name} gave NaN or infinity for {len(bad)} of {len(tiles)} tiles: {', '.join(bad[:8])}"
            f"{', …' if len(bad) > 8 else ''}. Either their valid pixels hold NaN, or the weights do."
        )
