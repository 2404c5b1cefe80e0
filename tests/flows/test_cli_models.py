"""Which model a name on the command line means."""

from __future__ import annotations

import pytest

from flows.cli_models import as_path
from flows.models import shipped
from flows.out_folder import require_folder


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


@pytest.mark.parametrize("command", ["train", "evaluate", "explain"])
def test_a_folder_that_can_not_be_made_is_refused_before_the_data_is_read(tilegate, tmp_path, command):
    words = {
        "train": ("gate", tmp_path / "nowhere"),
        "evaluate": ("gate", "forest", tmp_path / "nowhere"),
        "explain": ("forest", tmp_path / "nowhere.png"),
    }[command]
    (tmp_path / "file").write_text("mine")
    for out, message in (
        (tmp_path / "file", "file is a file; name a folder"),
        (tmp_path / "file/below", "file is a file; name a folder"),
        ("/proc/x", "cannot be made"),
        (tmp_path / ("x" * 300), "cannot be made"),
    ):
        seen = tilegate(command, *words, "--out", out)
        assert (seen.code, message in seen.err) == (2, True), seen.err
        assert "nowhere" not in seen.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path):
    assert require_folder(tmp_path / "a/b") == tmp_path / "a/b"
    assert require_folder(tmp_path) == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "said"), [("resume", True), ("train", False), ("evaluate", False)])
def test_only_runs_are_told_to_be_resumed(tilegate, tmp_path, monkeypatch, command, said):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for place in ("flows.commands.resume_run", "flows.training.commands.train", "flows.evaluation.evaluate.evaluate"):
        monkeypatch.setattr(place, full)
    words = {"resume": [tmp_path], "train": ["gate", tmp_path, "--out", "x"], "evaluate": ["gate", "ndwi", tmp_path]}
    seen = tilegate(command, *words[command])
    assert seen.code == 1
    assert "No space left" in seen.err
    assert ("tilegate resume" in seen.err) == said
    assert ("What is done is kept" in seen.err) == (command != "evaluate")
