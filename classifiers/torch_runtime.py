"""The reference runtime: torch in float32, on CUDA where there is one; and a network with the weights of a bundle."""

from __future__ import annotations

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.answers import require_side
from classifiers.bundle import WEIGHTS, Bundle, read_weights
from classifiers.machine import own_cores
from classifiers.runtime import Runtime
from classifiers.torch_device import pick_device
from tiling.errors import BadInput

_BATCH_TILES = {"classification": 16, "segmentation": 4}


class TorchRuntime:
    """A network as torch runs it. Load it once per worker."""

    name = "torch"

    def __init__(
        self, network: nn.Module, bundle: Bundle, *, device: str | None = None, batch_tiles: int | None = None
    ) -> None:
        """network: with its weights; device: None = CUDA where there is one; batch_tiles: tiles per forward pass."""
        self._device, self._bundle = pick_device(device), bundle
        self._network = network.eval().to(self._device)
        self._batch = batch_tiles or _BATCH_TILES[bundle.task]

    def infer(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Runtime."""
        require_side(self._bundle, only_side_px(self._network), pixels.shape[2:])
        starts = range(0, len(pixels), self._batch)
        return np.concatenate([self._forward(pixels[start : start + self._batch]) for start in starts])

    def _forward(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(self._network(torch.from_numpy(pixels).to(self._device)).float().cpu().numpy())


def use_threads(count: int | None = None) -> None:
    """Set torch's threads for the whole process. count: None = every core this process may run on.

    Dask workers start with OMP_NUM_THREADS=1, which torch obeys: without this a model on such a worker would leave
    all cores but one idle. Where several models run at once, give each its share.
    """
    torch.set_num_threads(max(1, count or own_cores()))


def only_side_px(network: nn.Module) -> tuple[int, int] | None:
    """(h, w) a network needs: transformers know one side only, convolutions take any (None)."""
    patches = getattr(network, "patch_embed", None)
    needed = getattr(patches, "img_size", None) if getattr(patches, "strict_img_size", False) else None
    return (int(needed[0]), int(needed[1])) if needed else None


def load_weights(network: nn.Module, bundle: Bundle) -> nn.Module:
    """The network with the bundle's weights (half precision is widened), ready to predict, on the CPU."""
    try:
        network.load_state_dict(safetensors.torch.load(read_weights(bundle)))
    except (RuntimeError, safetensors.SafetensorError) as error:
        first = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise BadInput(
            f"{bundle.path / WEIGHTS} does not fit {bundle.architecture} with {bundle.channels} outputs and "
            f"{len(bundle.bands)} bands: {first:.400}. The weights belong to another network, or timm or "
            "segmentation-models-pytorch have changed it; train or fetch the bundle again."
        ) from error
    return network.eval()


_: type[Runtime] = TorchRuntime
