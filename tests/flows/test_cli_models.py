"""Which model a name on the command line means."""

from __future__ import annotations

import pytest

from flows.cli_models import as_path
from flows.models import shipped


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a bundle of one's own, and one called like a bundle of tilegate."""
    for name in ("mine", "forest", "deep/er"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "bundle.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_with_a_bundle_needs_no_dot(here):
    assert as_path("mine") == str(here / "mine")
    assert as_path("./mine") == str(here / "mine")
    assert as_path("deep/er") == str(here / "deep/er")
    assert as_path("deep/nowhere") == str(here / "deep/nowhere")


def test_names_of_rules_and_bundles_stay_names(here):
    assert as_path("forest") == "forest"
    assert as_path("./forest") == str(here / "forest")
    assert as_path("ndwi") == "ndwi"
    assert as_path("empty") == "empty"
    assert as_path("x" * 5000) == "x" * 5000


def test_a_bundle_answers_to_its_name_and_to_that_of_its_job(tmp_path, monkeypatch):
    for name in ("forest-gate", "forest", "landcover-rgb", "idc", "unfinished-gate"):
        (tmp_path / name).mkdir()
        if name != "unfinished-gate":
            (tmp_path / name / "bundle.json").write_text("{}")
    monkeypatch.setattr("flows.models.bundle_folder", lambda _: tmp_path)
    told = {"forest-gate": "forest-gate", "forest": "forest", "landcover-rgb": "landcover-rgb", "idc": "idc"}
    assert shipped("classifiers") == told | {"landcover": "landcover-rgb"}


def test_help_names_what_there_is(tilegate):
    for command, words in {
        "train": ("gate", "segmenter", "--recipe", "--out", "--set", "--engine", "--json"),
        "evaluate": ("BUNDLE", "--part", "--robustness", "--recipe", "--out", "--json"),
        "explain": ("BUNDLE", "TILE", "--class", "--method", "--out", "--json"),
    }.items():
        seen = tilegate(command, "--help")
        assert seen.code == 0
        assert all(word in seen.out for word in words), seen.out
