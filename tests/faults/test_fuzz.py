"""More than a thousand broken inputs: each ends in success, exit 2 or exit 3, and never in another area.

The same inputs every time. Others: TILEGATE_FUZZ_SEED=anything TILEGATE_FUZZ_INPUTS=5000 pytest tests/faults/test_fuzz.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fuzz_regressions
import fuzz_seeds
import fuzz_trials
import pytest
from fuzz_seeds import Seed
from fuzz_trials import Lab, MadeRun, Trial

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

PER_SEED = {"tiff": 24, "slide": 36, "picture": 20, "package": 24, "vrt": 20, "sidecar": 14}
NAMES = {
    "tiff": [*fuzz_seeds.tiffs()],
    "slide": [*fuzz_seeds.slides()],
    "picture": [*fuzz_seeds.pictures()],
    "package": [*fuzz_seeds.packages()],
    "vrt": ["vrt", "vrt-part"],
    "sidecar": ["ovr", "msk", "aux"],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    for zygote in made.all:
        zygote.__exit__()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Seed]]:
    made = fuzz_seeds.all_seeds(tmp_path_factory.mktemp("seeds"))
    return {kind: {seed.name: seed for seed in some} for kind, some in made.items()}


@pytest.fixture(scope="module")
def made_run(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    with lab.zygote() as zygote:
        return fuzz_trials.make_run(zygote, tmp_path_factory.mktemp("made"))


def require_good(lab: Lab, trials: list[Trial]) -> None:
    """All of them are tried before any is complained of."""
    bad = [result.text() for result in lab.try_all(trials) if result.wrong]
    assert not bad, f"{len(bad)} of {len(trials)} inputs broke a rule:\n" + "\n".join(bad)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_healthy_images_are_measured(lab: Lab, seeds: dict[str, dict[str, Seed]], kind: str, name: str) -> None:
    """Without this, a seed that is always refused would make every trial of it pass."""
    seed = seeds[kind][name]

    def go(zygote, folder, result):
        fuzz_trials.measure(zygote, seed, seed.broken.read_bytes(), folder, result)
        assert result.calls[0][1].code == 0, result.text()

    require_good(lab, [Trial("healthy", name, go)])


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_broken_images(lab: Lab, seeds: dict[str, dict[str, Seed]], kind: str, name: str) -> None:
    require_good(lab, fuzz_trials.image_trials(kind, seeds[kind][name], PER_SEED[kind]))


def test_broken_recipes(lab: Lab, seeds: dict[str, dict[str, Seed]], tmp_path: Path) -> None:
    image = seeds["tiff"]["tiled-deflate"].path
    with lab.zygote() as zygote:
        truth = fuzz_trials.oracle(zygote, "water", image, 1, 2, 32)
    require_good(lab, fuzz_trials.recipe_trials(image, truth["pixels"], 120))


def test_broken_bundles(lab: Lab) -> None:
    require_good(lab, fuzz_trials.bundle_trials(80))


def test_broken_weights_in_torch(lab: Lab) -> None:
    require_good(lab, fuzz_trials.weight_trials(24))


@pytest.mark.parametrize("finished", [True, False])
def test_broken_runs(lab: Lab, made_run: MadeRun, finished: bool) -> None:
    require_good(lab, fuzz_trials.run_trials(made_run, finished, 90))


def test_a_made_run_is_what_it_says(made_run: MadeRun) -> None:
    summary = json.loads((made_run.folder / "summary.json").read_text())
    assert summary["status"] == "complete"
    assert summary["area"]["classes"][0]["pixels"] == made_run.pixels > 0


@pytest.mark.parametrize("name", fuzz_regressions.IMAGES)
def test_images_that_once_broke_a_rule(lab: Lab, name: str) -> None:
    require_good(lab, [Trial("regression", name, fuzz_regressions.try_image(fuzz_regressions.IMAGES[name]))])


def test_recipes_that_once_broke_a_rule(lab: Lab, seeds: dict[str, dict[str, Seed]]) -> None:
    image, healthy = seeds["tiff"]["tiled-deflate"].path, fuzz_seeds.RECIPE
    trials = {f"recipe, {k}": fuzz_regressions.try_recipe(image, v) for k, v in fuzz_regressions.RECIPES.items()}
    changed = fuzz_regressions.CHANGES.items()
    trials |= {f"--set, {k}": fuzz_regressions.try_recipe(image, healthy, "--set", v) for k, v in changed}
    require_good(lab, [Trial("regression", name, go) for name, go in trials.items()])


@pytest.mark.parametrize("finished", [True, False])
def test_runs_that_once_broke_a_rule(lab: Lab, made_run: MadeRun, finished: bool) -> None:
    trials = [
        Trial("regression", f"run, {name}, {finished}", fuzz_regressions.try_run(made_run, file, data, finished))
        for name, (file, data) in fuzz_regressions.RUNS.items()
        if finished or file != "summary.json"
    ]
    require_good(lab, trials)
