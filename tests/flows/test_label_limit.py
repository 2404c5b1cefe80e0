"""A segmenter with more classes than a mask has labels is refused when the run is planned."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from classifiers.bundle import load_bundle
from classifiers.bundle_schema import to_json
from flows.models import bundle_folder


def gate_of_many(folder, count):
    """The forest gate, said to know `count` classes; what its weights know does not matter to a plan."""
    shutil.copytree(bundle_folder("classifiers") / "forest-gate", folder)
    names = tuple(f"c{i:03d}" for i in range(count))
    plain = {"calibration": None, "domain": None, "exports": {}, "drift": {}, "labels": {}, "threshold": 0.5}
    (folder / "bundle.json").write_bytes(to_json(replace(load_bundle(folder, folder), classes=names, **plain)))
    return folder


@pytest.mark.parametrize("command", ["run", "plan"])
def test_255_classes_are_refused_before_the_work(make_rgb, land, tilegate, tmp_path, command):
    model = gate_of_many(tmp_path / "many", 255)
    image, out = make_rgb(land((256, 256), 1)), tmp_path / "run"
    where = ("--out", out) if command == "run" else ()
    found = tilegate(command, image, "--recipe", "forest", "--set", f"segment.model={model}", *where)
    told = " ".join(found.err.split())
    assert found.code == 2, found.err
    assert "forest-gate, as a segmenter, has 255 classes; a mask tells 254 apart" in told
    assert "c254 is one too many" in told
    assert not out.exists()
