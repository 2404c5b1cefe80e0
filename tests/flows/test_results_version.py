"""RESULTS_VERSION keeps old runs from being finished by code that would give other results."""

import hashlib
import json

import numpy as np
import pytest

import storage.plan
from storage.ledger import tiles_of
from storage.run import Run
from tiling.errors import BadInput

CHANGES = ("gate.threshold=0.05", "gate.ring=1", "audit.tiles=0")
RESULTS = {4: "58dfdd12a3955532"}
"""By RESULTS_VERSION: what the scene of this test gives."""


def essence(run):
    """Digest of the mask, the stored gate pixels, and the fate and score of every tile."""
    digest = hashlib.sha256()
    for name in ("mask/0", "pixels/gate"):
        digest.update(np.ascontiguousarray(run.array(name)[...]).tobytes())
    for tile in tiles_of(run.committed("gate")) + tiles_of(run.committed("segment")):
        digest.update(json.dumps([tile.row, tile.col, tile.state, round(tile.score or 0, 5), tile.pixels]).encode())
    return digest.hexdigest()[:16]


def test_results_change_only_with_their_version(make_scene, measure, tmp_path):
    measure(make_scene(), *CHANGES)
    found = essence(Run.open(tmp_path / "run"))
    assert found == RESULTS[storage.plan.RESULTS_VERSION], (
        "the same image and recipe give other results than before: raise storage.plan.RESULTS_VERSION, "
        "so that runs begun before are not finished by this code, and write the new digest here"
    )


def test_a_run_begun_by_other_code_is_refused(make_scene, measure, tmp_path, monkeypatch):
    scene = make_scene()
    measure(scene, *CHANGES)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    version = storage.plan.RESULTS_VERSION
    monkeypatch.setattr(storage.plan, "RESULTS_VERSION", version + 1)
    with pytest.raises(BadInput, match=f"results_version: {version} -> {version + 1}"):
        measure(scene, *CHANGES)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
