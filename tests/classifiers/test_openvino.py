"""Exported gates: torch is the truth for float32; the same bits however tiles are grouped; damage is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import classifiers.bundle
from classifiers.bundle import Bundle, load_bundle, read_weights, write_bundle
from classifiers.bundle_contract import Export
from classifiers.export import export_bundle
from classifiers.machine import bf16_flags
from classifiers.network_gate import open_network_gate
from classifiers.openvino_runtime import OpenVinoRuntime, open_openvino
from classifiers.preprocess import normalise
from classifiers.torch_gate import build_gate, torch_gate
from tiling.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
needs_bf16 = pytest.mark.skipif(not bf16_flags(), reason="this CPU has no bf16")


def exported(bundle: Bundle, tiles: Any, **more: Any) -> Bundle:
    return export_bundle(bundle, build_gate(bundle), [tiles], **more)


def in_torch(bundle: Bundle, stack: Any) -> Any:
    """(n, channels) in float64 precision of nothing but torch: the network called by hand."""
    network = torch_gate(bundle, device="cpu")._network
    with torch.inference_mode():
        return network(torch.from_numpy(normalise(stack, bundle)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"classes": ("a", "b", "c"), "activation": "softmax"},
        {"hyperparameters": {"global_pool": "max"}},
        {"name": "test_efficientnet"},
        {"name": "vit_tiny_patch16_224", "hyperparameters": {"img_size": 64}},
    ],
)
def test_float32_is_torchs(tiny_gate, noise, changes) -> None:
    stack = noise(19)
    bundle = exported(tiny_gate(**changes), noise(4, seed=1))
    found = open_network_gate(bundle, "openvino-f32").score(stack)
    logits = in_torch(bundle, stack)
    expected = logits.softmax(dim=1) if "activation" in changes else logits.sigmoid()
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert found.std() > 1e-4, "scores that do not depend on the pixels prove nothing"


def test_any_side_for_convolutions_one_side_for_transformers(tiny_gate, noise) -> None:
    gate = open_network_gate(exported(tiny_gate(), noise(2)), "openvino-f32")
    assert gate.score(noise(2, 50)).shape == (2, 1)
    assert gate.score(noise(3, 96)).shape == (3, 1)
    vit = tiny_gate("vit_tiny_patch16_224", hyperparameters={"img_size": 32}, input_px=32)
    gate = open_network_gate(exported(vit, noise(2, 32)), "openvino-f32")
    assert gate.score(noise(2, 32)).shape == (2, 1)
    with pytest.raises(BadInput, match="takes tiles of 32 x 32 px only, these are 64 x 64 px"):
        gate.score(noise(2))


@pytest.mark.parametrize("name", ["openvino-f32", pytest.param("openvino-bf16", marks=needs_bf16)])
def test_the_same_bits_for_any_grouping_and_number_of_threads(tiny_gate, noise, name) -> None:
    bundle, stack = exported(tiny_gate(), noise(2)), noise(37)
    pixels = normalise(stack, bundle)
    whole = open_openvino(bundle, name).infer(pixels)
    runtime = open_openvino(bundle, name)  # its first calls come from four threads at once
    cuts = [(start, min(start + size, 37)) for size in (1, 5, 16, 20) for start in range(0, 37, size)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda cut: runtime.infer(pixels[slice(*cut)]), cuts))
    for (start, stop), part in zip(cuts, found, strict=True):
        np.testing.assert_array_equal(part, whole[start:stop])
    np.testing.assert_array_equal(runtime.infer(pixels[::-1])[::-1], whole)


def test_one_compilation_serves_all_threads(exported_gate, noise, monkeypatch) -> None:
    bundle = exported_gate
    runtime, compiled = open_openvino(bundle, "openvino-f32"), []
    compile_once = OpenVinoRuntime._compile
    monkeypatch.setattr(OpenVinoRuntime, "_compile", lambda self, s: compiled.append(s) or compile_once(self, s))
    pixels = normalise(noise(3), bundle)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(runtime.infer, [pixels] * 12))
    assert compiled == [(16, 3, 64, 64)]


@needs_bf16
def test_the_drift_that_is_stored_is_that_of_the_scores(tiny_gate, noise) -> None:
    held_out, later = noise(24, seed=5), noise(8, seed=6)
    raw = torch.sigmoid(in_torch(tiny_gate(), held_out)).numpy()
    bundle = tiny_gate(threshold=float(np.median(raw)))  # so that decisions flip
    bundle = export_bundle(bundle, build_gate(bundle), [held_out, later])
    expected, found = (
        np.concatenate([open_network_gate(bundle, name).score(stack) for stack in (held_out, later)])
        for name in ("torch", "openvino-bf16")
    )
    drift = bundle.drift["openvino-bf16"]
    assert drift.tiles == 32
    assert drift.max_probability == pytest.approx(np.abs(expected - found).max(), rel=1e-3)
    assert drift.max_probability > 0, "bf16 that gives the very bits of float32 is not bf16"
    assert drift.flipped == ((expected >= bundle.threshold) != (found >= bundle.threshold)).mean()


def test_a_cpu_without_bf16_measures_none(tiny_gate, noise, monkeypatch) -> None:
    from classifiers.runtime import Machine

    monkeypatch.setattr("classifiers.export.this_machine", lambda: Machine(bf16=False, cuda=False))
    assert set(exported(tiny_gate(), noise(2)).drift) == {"openvino-f32"}


def test_what_is_written_is_read_back_and_told(tiny_gate, noise) -> None:
    bundle = exported(tiny_gate(), noise(4))
    again = load_bundle(bundle.path, bundle.path)
    assert again == bundle
    for file, told in (
        ("model.xml", again.exports["model"].xml_sha256),
        ("model.bin", again.exports["model"].bin_sha256),
    ):
        assert hashlib.sha256((bundle.path / file).read_bytes()).hexdigest() == told
    card = (bundle.path / "README.md").read_text()
    assert card.startswith("# tiny\n")
    assert "| openvino-f32 |" in card


def test_new_weights_take_the_old_export_away(exported_gate) -> None:
    bundle = exported_gate
    plain = write_bundle(bundle, bundle.path, read_weights(bundle), "")
    assert plain.exports == {}
    assert not list(bundle.path.glob("model*.xml"))
    assert not list(bundle.path.glob("model*.bin"))
    assert b"tilegate:exports" not in (bundle.path / "bundle.json").read_bytes()
    assert b"tilegate:drift" not in (bundle.path / "bundle.json").read_bytes()


def test_half_precision_weights_stay_half_where_that_changes_nothing(tiny_gate, noise) -> None:
    whole = (exported(tiny_gate(), noise(2)).path / "model.bin").stat().st_size
    bundle = exported(tiny_gate(half=True), noise(2))
    found = open_network_gate(bundle, "openvino-f32").score(noise(5))
    np.testing.assert_allclose(found, in_torch(bundle, noise(5)).sigmoid().numpy(), atol=1e-5)
    assert (bundle.path / "model.bin").stat().st_size <= whole


def test_a_gate_that_looks_twice_enlarged_and_turned_is_exported(tiny_gate, noise) -> None:
    bundle = exported(tiny_gate(hyperparameters={"zoom": 2, "views": 8}), noise(3))
    assert bundle.hyperparameters == {"zoom": 2, "views": 8}
    found = open_network_gate(bundle, "openvino-f32").score(noise(5))
    np.testing.assert_allclose(found, in_torch(bundle, noise(5)).sigmoid().numpy(), atol=1e-5)


def test_an_export_that_answers_otherwise_is_refused(tiny_gate, noise) -> None:
    bundle = tiny_gate()
    before = {path.name: path.read_bytes() for path in bundle.path.iterdir()}
    network = build_gate(bundle)
    forward = network.forward
    network.forward = lambda x: forward(x) + (0.1 if torch.jit.is_tracing() else 0)
    with pytest.raises(BadInput, match=r"does not answer as torch does .* runs on torch"):
        export_bundle(bundle, network, [noise(2)])
    assert {path.name: path.read_bytes() for path in bundle.path.iterdir()} == before


def test_a_side_baked_into_the_network_is_found_out(tiny_gate, noise) -> None:
    bundle = tiny_gate()
    network = build_gate(bundle)
    forward = network.forward
    network.forward = lambda x: forward(
        x[..., : int(x.shape[-1] * 0.75)] if not torch.jit.is_tracing() else x[..., :96]
    )
    with pytest.raises(BadInput, match="does not answer as torch does"):
        export_bundle(bundle, network, [noise(2)])


def test_without_tiles_nothing_can_be_verified(tiny_gate) -> None:
    bundle = tiny_gate()
    with pytest.raises(BadInput, match="none were given"):
        export_bundle(bundle, build_gate(bundle), [])


@pytest.mark.parametrize("file", ["model.xml", "model.bin"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty"])
def test_changed_files_are_refused(exported_gate, file, damage) -> None:
    bundle = exported_gate
    path = bundle.path / file
    good = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        flipped = bytes([*good[:100], good[100] ^ 1, *good[101:200]]) + good[200:]
        path.write_bytes({"flip": flipped, "cut": good[:-1], "empty": b""}[damage])
    for opened in (lambda: load_bundle(bundle.path, bundle.path), lambda: open_openvino(bundle, "openvino-f32")):
        with pytest.raises(BadInput, match=f"lacks {file}" if damage == "gone" else rf"{file}: sha256 is"):
            opened()


@pytest.mark.parametrize(
    ("xml", "cut"),
    [
        (lambda xml: xml.replace(b'type="Convolution"', b'type="Evil"'), 0),
        (lambda xml: xml[: len(xml) // 2], 0),
        (lambda xml: b"\x08\x07:\x00" + xml, 0),  # not XML: other formats may name further files
        (lambda _: b"<?xml version='1.0'?><net name='a' version='11'><layers/></net>", 0),
        (lambda xml: xml.replace(b'element_type="f32"', b'element_type="i64"', 1), 0),
        (lambda xml: xml.replace(b'offset="0"', b'offset="99999999999"'), 0),
        (lambda xml: xml, 1000),
    ],
)
def test_a_strangers_graph_is_refused_in_words(exported_gate, noise, xml, cut) -> None:
    """Its hashes are right: whoever wrote the graph wrote bundle.json, too."""
    bundle = exported_gate
    graph, weights = bundle.path / "model.xml", bundle.path / "model.bin"
    graph.write_bytes(xml(graph.read_bytes()))
    weights.write_bytes(weights.read_bytes()[: len(weights.read_bytes()) - cut])
    told = Export(
        xml_sha256=hashlib.sha256(graph.read_bytes()).hexdigest(),
        bin_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    bundle = replace(bundle, exports={"model": told})
    with pytest.raises(BadInput, match=r"OpenVINO .* refuses|the exported network (takes|is no XML)"):
        open_network_gate(bundle, "openvino-f32").score(noise(2))


def test_a_graph_of_another_task_is_refused(exported_gate) -> None:
    bundle = exported_gate
    with pytest.raises(BadInput, match="which is no classification of 4 bands"):
        open_openvino(replace(bundle, bands=("a", "b", "c", "d")), "openvino-f32")
    with pytest.raises(BadInput, match=r"answered with shape \(16, 1\) instead of \(16, 2\)"):
        open_openvino(replace(bundle, classes=("a", "b")), "openvino-f32")


def test_huge_files_are_not_read(exported_gate, monkeypatch) -> None:
    bundle = exported_gate
    monkeypatch.setitem(classifiers.bundle.MAX_BYTES, ".xml", 1000)
    with pytest.raises(BadInput, match=r"model\.xml has .* bytes; at most 1,000 are read"):
        load_bundle(bundle.path, bundle.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["tilegate:exports"]["model"].pop("bin_sha256"),
        lambda v: v["tilegate:exports"].update({"../model": v["tilegate:exports"]["model"]}),
        lambda v: v["tilegate:exports"]["model"].update({"path": "/etc/passwd"}),
        lambda v: v["tilegate:drift"].update({"openvino-f16": v["tilegate:drift"]["openvino-f32"]}),
        lambda v: v["tilegate:drift"]["openvino-f32"].update({"flipped": 2}),
        lambda v: v["tilegate:drift"]["openvino-f32"].update({"tiles": 0}),
    ],
)
def test_what_bundle_json_says_of_exports_is_checked(exported_gate, change) -> None:
    bundle = exported_gate
    values = json.loads((bundle.path / "bundle.json").read_text())
    change(values)
    (bundle.path / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(BadInput, match=r"bundle\.json: .*(exports|drift|path|openvino)"):
        load_bundle(bundle.path, bundle.path)


def test_weights_next_to_a_graph_are_not_called_a_pickle(exported_gate) -> None:
    bundle = exported_gate
    (bundle.path / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"lacks model\.safetensors"):
        load_bundle(bundle.path, bundle.path)


def test_scoring_with_an_export_needs_no_torch() -> None:
    code = """
import sys
import numpy as np
from flows.models import open_gate, open_segmenter
from tiling.grid import TileGrid
from tiling.stack import TileStack
tile = TileGrid(shape_px=(64, 64), tile_px=64).tile(0, 0)
stack = TileStack(tiles=(tile,), pixels=np.zeros((1, 3, 64, 64), np.uint8), valid=np.ones((1, 64, 64), bool))
print(open_gate("forest-gate", None, "openvino-f32").score(stack))
print(open_segmenter("forest-unet", None, "openvino-f32").segment(stack).labels.mean())
assert not {"torch", "timm", "segmentation_models_pytorch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_shipped_bundles_bring_an_export_that_auto_takes() -> None:
    for room, name in (("classifiers", "forest-gate"), ("downstream", "forest-unet")):
        bundle = load_bundle(name, ROOT / room / "bundles")
        assert {"openvino-f32", "openvino-bf16"} <= set(bundle.drift)
        assert bundle.drift["openvino-f32"].flipped == 0
        for stem in bundle.exports:
            assert (bundle.path / f"{stem}.xml").stat().st_size < 2**20


def test_tiles_too_small_are_refused_without_a_page_of_cpp(tiny_gate, noise) -> None:
    gate = open_network_gate(exported(tiny_gate(hyperparameters={"global_pool": "max"}), noise(2)), "openvino-f32")
    with pytest.raises(
        BadInput, match=r"for tiles of 8 x 8 px with 3 bands: they are most likely too small"
    ) as refused:
        gate.score(noise(2, 8))
    assert "Check" not in str(refused.value)
    assert len(str(refused.value)) < 700
    assert "Check" in str(refused.value.__cause__)
