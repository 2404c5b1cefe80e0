"""A slide that is said to be scanned at a power its pixels cannot have is measured, and everybody is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from flows.objective import objective_warning
from storage.plan import RunPlan, from_json, to_json
from storage.run import Run
from tiling.open import open_source
from tiling.source import SourceSpec


@pytest.mark.parametrize(
    ("power", "um", "told"),
    [
        (20, 0.234, ("0.234 um", "42.7x", "says 20x", "4.57 times", "--mpp 0.5")),
        (40, 0.5, ("0.5 um", "about 20x", "says 40x", "0.25 times", "--mpp 0.25")),
        (20, 0.499, ()),  # Aperio
        (20, 0.46, ()),  # Hamamatsu
        (40, 0.2277, ()),
        (40, 0.1725, ()),
        (40, 0.25, ()),
        (10, 1.0, ()),
        (None, 0.5, ()),
    ],
)
def test_ten_um_by_the_power_is_a_pixel(power: float | None, um: float, told: tuple[str, ...]) -> None:
    """Powers and pixels of scanners as sold; the area of a pixel of 0.5 um is (0.5 / 0.234)^2 = 4.57 of one of 0.234."""
    warning = objective_warning({"pixel_size": [um, um], "unit": "um", "objective_power": power})
    assert bool(warning) == bool(told)
    assert all(words in warning for words in told)


@pytest.fixture
def aperio(tmp_path: Path) -> Callable[[str], Path]:
    """Words of an Aperio header -> a slide with a piece of tissue."""

    def make(words: str) -> Path:
        rgb = np.full((256, 256, 3), 245, np.uint8)
        rgb[40:200, 64:192] = (200, 90, 150)
        path, header = tmp_path / "slide.svs", f"Aperio Image Library v1\n256x256|{words}"
        tifffile.imwrite(
            path, rgb, tile=(64, 64), photometric="rgb", metadata=None, compression="deflate", description=header
        )
        return path

    return make


def test_plan_run_page_and_artifact_tell_of_it(aperio: Any, tilegate: Any, tmp_path: Path) -> None:
    path, out = aperio("MPP = 0.234|AppMag = 20"), tmp_path / "run"
    small = ("--set", "tile.size_px=64", "--set", "tile.batch=2")
    told = "pixels of 0.234 um are those of about 42.7x, and the file says 20x"
    planned = tilegate("plan", path, "--recipe", "tissue", *small)
    assert f"WARNING: the slide's objective and the size of its pixels disagree: {told}" in planned.out
    (warning,) = tilegate("plan", path, "--recipe", "tissue", *small, "--json").json["warnings"]
    assert told in warning
    seen = tilegate("run", path, "--recipe", "tissue", "--out", out, "--engine", "local", *small)
    assert seen.code == 0, seen.err
    assert seen.err.startswith("WARNING: ")
    assert told in seen.err
    assert told in seen.out
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["image"]["objective_power"], summary["image"]["pixel_size"]) == (20, [0.234, 0.234])
    assert told in (out / "report.html").read_text()
    assert told in tilegate("report", out).out
    from flows.artifacts import summary_markdown  # Prefect changes how this process logs

    assert told in summary_markdown(summary, "run")


@pytest.mark.parametrize("words", ["MPP = 0.5|AppMag = 20", "MPP = 0.5", "MPP = 0.5|AppMag = none"])
def test_what_agrees_or_is_not_said_is_not_told(aperio: Any, tilegate: Any, tmp_path: Path, words: str) -> None:
    seen = tilegate("run", aperio(words), "--recipe", "tissue", "--out", tmp_path / "run", "--engine", "local")
    assert seen.code == 0, seen.err
    assert "WARNING" not in seen.err + seen.out
    assert ("objective_power" in json.loads((tmp_path / "run/summary.json").read_text())["image"]) == ("20" in words)


def test_a_size_given_by_hand_is_held_against_the_objective(aperio: Any, tilegate: Any) -> None:
    path = aperio("AppMag = 40")
    assert tilegate("plan", path, "--recipe", "tissue", "--mpp", "0.25", "--json").json["warnings"] == []
    (warning,) = tilegate("plan", path, "--recipe", "tissue", "--mpp", "2.5", "--json").json["warnings"]
    assert "those of about 4x, and the file says 40x" in warning


def test_it_changes_no_run(aperio: Any, tiny_plan: Callable[..., RunPlan], tmp_path: Path) -> None:
    """Runs of before, whose plans do not say, are gone on with."""
    source = open_source(SourceSpec(uris=(str(aperio("MPP = 0.25|AppMag = 40")),)))
    source.close()
    assert source.info.objective_power == 40
    plan = tiny_plan(image=replace(tiny_plan().image, objective_power=40.0))
    assert from_json(to_json(plan)) == plan
    assert plan.fingerprint == tiny_plan().fingerprint
    Run.create(tmp_path / "run", tiny_plan())
    assert Run.create(tmp_path / "run", plan).plan == plan
