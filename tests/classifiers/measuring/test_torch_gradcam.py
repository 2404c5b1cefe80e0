"""Grad-CAM against gradients and sums taken by hand, through all that a network is wrapped in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch.nn import functional

from classifiers.bundle import Bundle, write_bundle
from classifiers.measuring.torch_gradcam import grad_cam
from classifiers.torch_gate import build_gate
from tiling.errors import BadInput
from tiling.stack import TileStack

MakeGate = Callable[..., Bundle]
Noise = Callable[..., TileStack]
MEAN, STD = np.array((100.0, 50.0, 60.0))[:, None, None], np.array((20.0, 10.0, 15.0))[:, None, None]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def inner(bundle: Bundle) -> Any:
    network = timm.create_model(bundle.architecture, num_classes=len(bundle.classes), **plain(bundle)).eval()
    weights = safetensors.torch.load_file(bundle.path / "model.safetensors")
    network.load_state_dict({name.removeprefix("network.").removeprefix("network."): v for name, v in weights.items()})
    return network


def plain(bundle: Bundle) -> dict[str, Any]:
    return {key: value for key, value in bundle.hyperparameters.items() if key not in {"zoom", "parents"}}


def by_hand(bundle: Bundle, stack: TileStack, column: int, zoom: int = 1) -> np.ndarray[Any, Any]:
    """The whole graph at once, gradients through a hook on the last layer, sums by numpy."""
    network, kept = inner(bundle), {}
    network.layer4.register_forward_hook(lambda _module, _given, out: kept.update(map=out))
    network.layer4.register_full_backward_hook(lambda _module, _given, out: kept.update(slope=out[0]))
    pixels = torch.from_numpy(np.where(stack.valid[:, None], (stack.pixels - MEAN) / STD, 0).astype(np.float32))
    if zoom > 1:
        pixels = functional.interpolate(pixels, scale_factor=float(zoom), mode="bilinear", align_corners=False)
    network(pixels.requires_grad_())[:, column].sum().backward()
    maps, slope = kept["map"].detach().numpy(), kept["slope"].numpy()
    weighed = np.maximum(np.einsum("nc,nchw->nhw", slope.mean(axis=(2, 3)), maps), 0)
    size = stack.valid.shape[1:]
    large = functional.interpolate(torch.from_numpy(weighed)[:, None], size=size, mode="bilinear")[:, 0].numpy()
    large = large * stack.valid
    peak = large.max(axis=(1, 2), keepdims=True)
    return large / np.where(peak > 0, peak, 1)


def test_it_is_the_papers_formula(tiny_gate: MakeGate, noise: Noise) -> None:
    bundle, stack = tiny_gate(classes=("a", "b", "c")), noise(20)
    maps = [grad_cam(bundle, stack, column) for column in range(3)]
    assert (maps[0].dtype, maps[0].shape) == (np.float32, (20, 64, 64))
    for column, found in enumerate(maps):
        np.testing.assert_allclose(found, by_hand(bundle, stack, column), atol=1e-4)
        assert not found[1, :20, :30].any(), "nothing is seen where there is nothing"
        assert set(found.max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
    assert sum(found.any(axis=(1, 2)).sum() for found in maps) >= 10, "some maps see something"


def test_every_tile_may_ask_for_a_class_of_its_own(tiny_gate: MakeGate, noise: Noise) -> None:
    bundle, stack = tiny_gate(classes=("a", "b")), noise(2)
    found = grad_cam(bundle, stack, (1, 0))
    np.testing.assert_allclose(found[0], by_hand(bundle, stack, 1)[0], atol=1e-4)
    np.testing.assert_allclose(found[1], by_hand(bundle, stack, 0)[1], atol=1e-4)


def test_it_looks_through_the_zoom_and_the_hierarchy(tiny_gate: MakeGate, noise: Noise) -> None:
    """A parent's logit is its likeliest descendant's: with a child far above it, the parent's map is the child's."""
    bundle, stack = tiny_gate(classes=("parent", "child")), noise(2, side=32)
    wrapped = dict(bundle.hyperparameters, zoom=2, parents=(-1, 0))
    weights = inner(bundle).state_dict()
    weights["fc.bias"] = torch.tensor([-50.0, 50.0])
    data = safetensors.torch.save({f"network.network.{name}": value for name, value in weights.items()})
    changed = Bundle(
        **{name: getattr(bundle, name) for name in Bundle.__dataclass_fields__} | {"hyperparameters": wrapped}
    )
    made = write_bundle(changed, bundle.path.parent / "wrapped", data, "")
    assert type(build_gate(made)).__name__ == "Coherent"
    np.testing.assert_allclose(grad_cam(made, stack, 0), by_hand(made, stack, 1, zoom=2), atol=1e-4)


def test_a_transformer_has_no_map(tiny_gate: MakeGate, noise: Noise) -> None:
    bundle = tiny_gate("vit_tiny_patch16_224", hyperparameters={"img_size": 32})
    with pytest.raises(BadInput, match=r"VisionTransformer ends in features of shape \(2, 5, 192\).* occlusion"):
        grad_cam(bundle, noise(2, side=32), 0)


def test_no_tiles_no_maps(tiny_gate: MakeGate, noise: Noise) -> None:
    assert grad_cam(tiny_gate(), noise(1).pick([], range(3)), 0).shape == (0, 64, 64)
