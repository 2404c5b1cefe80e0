"""The training loop, on a lesson of a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from classifiers.answers import NotFinite
from classifiers.training.fit import fit, uses_bfloat16
from classifiers.training.lesson import Batch, FakeWatcher, Lesson
from classifiers.training.settings import FitSettings
from tiling.errors import BadInput

QUICK = {"batch": 4, "precision": "float32", "rate": 0.02, "patience": 0, "frozen_epochs": 0}


class Slope:
    """Is the mean of a tile above zero? Every batch is told a little otherwise."""

    def __init__(self, count: int = 24) -> None:
        random = np.random.default_rng(0)
        self.pixels = (
            random.normal(0, 1, (count, 2, 6, 6)).astype(np.float32) + np.linspace(-1, 1, count)[:, None, None, None]
        )
        self.truth = (np.linspace(-1, 1, count)[:, None] > 0).astype(np.float32)
        self.odds = np.ones(count)
        self.seen: list[list[int]] = []
        self.scores: list[float] = []

    def batch(self, chosen: NDArray[np.intp], random: np.random.Generator) -> Batch:
        self.seen.append(chosen.tolist())
        noise = random.normal(0, 0.1, self.pixels[chosen].shape)
        return Batch(
            pixels=torch.from_numpy(self.pixels[chosen] + noise).float(), truth=torch.from_numpy(self.truth[chosen])
        )

    def loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(logits, truth)

    def score(self, network: nn.Module) -> float:
        assert not network.training
        with torch.no_grad():
            logits = network(torch.from_numpy(self.pixels).float())
        self.scores.append(-functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(self.truth)).item())
        return self.scores[-1]


_: type[Lesson] = Slope


class Killed(Exception):
    """As by the operator."""


class Killer(FakeWatcher):
    """Kills the run after an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.last = epoch

    def epoch(self, report: Any) -> None:
        super().epoch(report)
        if report.epoch == self.last:
            raise Killed


def network() -> nn.Sequential:
    """A body of convolution and batch norm, dropout, and a head."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4, 1))


def learnt(
    folder: Path, lesson: Lesson | None = None, watch: Any = None, body: bool = False, **changes: Any
) -> nn.Module:
    made = network()
    settings = FitSettings(**(QUICK | {"epochs": 4} | changes))
    pretrained = list(made[0].parameters()) if body else []
    return fit(made, pretrained, lesson or Slope(), settings, folder, watch or FakeWatcher(), identity={"recipe": "a"})


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns(folder: Path) -> None:
    lesson = Slope()
    before = lesson.score(network().eval())
    watch = FakeWatcher()
    best = learnt(folder, lesson, watch, epochs=12)
    assert lesson.score(best) > before + 0.2
    assert [report.epoch for report in watch.reports] == list(range(1, 13))
    assert {report.epochs for report in watch.reports} == {12}
    assert watch.reports[-1].loss < watch.reports[0].loss


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    first, second = learnt(tmp_path / "a"), learnt(tmp_path / "b")
    assert same(first, second)
    assert not same(first, learnt(tmp_path / "c", seed=2))


def test_the_callers_random_numbers_go_on_as_if_nothing_was(folder: Path) -> None:
    torch.manual_seed(7)
    made = network()
    expected = torch.random.get_rng_state()
    fit(made, [], Slope(), FitSettings(**(QUICK | {"epochs": 1})), folder, FakeWatcher(), identity={})
    assert torch.equal(torch.random.get_rng_state(), expected)


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("body", [False, True])
def test_a_run_killed_after_an_epoch_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, epoch: int, body: bool
) -> None:
    changes = {"body": body, "frozen_epochs": 2 if body else 0}
    whole = learnt(tmp_path / "whole", **changes)
    with pytest.raises(Killed):
        learnt(tmp_path / "killed", watch=Killer(epoch), **changes)
    lesson, watch = Slope(), FakeWatcher()
    resumed = learnt(tmp_path / "killed", lesson, watch, **changes)
    assert [report.epoch for report in watch.reports] == list(range(epoch + 1, 5))
    assert len(lesson.seen) == 6 * (4 - epoch)
    assert same(whole, resumed)


def test_a_finished_run_called_again_learns_nothing_more(folder: Path) -> None:
    first, lesson = learnt(folder), Slope()
    assert same(first, learnt(folder, lesson))
    assert lesson.seen == []


def test_one_checkpoint_is_kept_and_it_is_no_pickle(folder: Path) -> None:
    learnt(folder)
    (path,) = folder.iterdir()
    assert path.name == "epoch-0004.safetensors"
    assert "average.module.4.weight" in safetensors.torch.load_file(path)


def test_a_checkpoint_of_something_else_is_refused_and_left_alone(folder: Path) -> None:
    with pytest.raises(Killed):
        learnt(folder, watch=Killer(1))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match=r"1 epochs of it.*recipe \(a there, b here\)"):
        fit(network(), [], Slope(), FitSettings(**QUICK), folder, FakeWatcher(), identity={"recipe": "b"})
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_best_epochs_averaged_weights_are_kept(folder: Path) -> None:
    lesson = Slope()
    played = iter([0.1, 0.9, 0.5, 0.4])
    kept: list[dict[str, torch.Tensor]] = []

    def score(network: nn.Module) -> float:
        kept.append({name: values.clone() for name, values in network.state_dict().items()})
        return next(played)

    lesson.score = score  # type: ignore[method-assign]
    best = learnt(folder, lesson).state_dict()
    assert all(torch.equal(best[name], values) for name, values in kept[1].items())
    assert not torch.equal(best["4.weight"], kept[3]["4.weight"])


def test_it_stops_when_nothing_gets_better(folder: Path) -> None:
    lesson, watch = Slope(), FakeWatcher()
    played = iter([0.5, 0.6, 0.6, 0.3, 0.2, 0.9])
    lesson.score = lambda network: next(played)  # type: ignore[method-assign]
    learnt(folder, lesson, watch, epochs=20, patience=3)
    assert [report.score for report in watch.reports] == [0.5, 0.6, 0.6, 0.3, 0.2]
    assert watch.reports[-1].best == 0.6


def test_a_frozen_body_keeps_weights_and_statistics_and_then_learns(folder: Path) -> None:
    states: list[dict[str, torch.Tensor]] = [network().state_dict()]
    lesson = Slope()
    scored = lesson.score

    def score(network: nn.Module) -> float:
        states.append({name: values.clone() for name, values in network.state_dict().items()})
        return scored(network)

    lesson.score = score  # type: ignore[method-assign]
    best = learnt(folder, lesson, body=True, frozen_epochs=2, average=0.0)
    names = [name for name in states[0] if name.startswith("0.")]
    assert {"0.1.running_mean", "0.1.num_batches_tracked"} < set(names)
    for frozen in states[1:3]:
        assert all(torch.equal(states[0][name], frozen[name]) for name in names)
        assert not torch.equal(states[0]["4.weight"], frozen["4.weight"])
    assert all(not torch.equal(states[0][name], states[3][name]) for name in names)
    assert all(parameter.requires_grad for parameter in best.parameters())


def test_the_body_learns_slower(tmp_path: Path) -> None:
    start = network().state_dict()["0.0.weight"]
    moved = [
        (
            learnt(tmp_path / str(share), body=True, body_rate=share, epochs=1, average=0.0).state_dict()["0.0.weight"]
            - start
        )
        for share in (1.0, 0.01)
    ]
    assert moved[1].abs().mean() < moved[0].abs().mean() / 20


def test_a_network_that_is_pretrained_as_a_whole_is_not_frozen(folder: Path) -> None:
    made = network()
    settings = FitSettings(**(QUICK | {"epochs": 2, "frozen_epochs": 1}))
    fit(made, list(made.parameters()), Slope(), settings, folder, FakeWatcher(), identity={})
    assert not same(made, network())


def test_the_average_follows_and_with_0_is_the_last_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step an epoch, so the scored weights can be told from the learning ones in the checkpoint."""
    learnt(folder / "last", epochs=1, average=0.0)
    held = safetensors.torch.load_file(folder / "last" / "epoch-0001.safetensors")
    assert torch.equal(held["network.4.weight"], held["average.module.4.weight"])
    steps: list[dict[str, torch.Tensor]] = []
    made = network()
    made.register_forward_pre_hook(lambda module, _: steps.append(module.state_dict()["4.weight"].clone()))
    settings = FitSettings(**(QUICK | {"epochs": 1, "average": 0.15}))
    fit(made, [], Slope(), settings, folder / "slow", FakeWatcher(), identity={})
    held = safetensors.torch.load_file(folder / "slow" / "epoch-0001.safetensors")
    now = [*steps[1:6], held["network.4.weight"]]  # after each of the six steps
    expected = now[0]
    for count, weights in enumerate(now[1:], start=1):
        decay = min(0.15, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weights
    assert held["average.module.4.weight"].numpy() == pytest.approx(expected.numpy(), rel=1e-4)


@pytest.mark.parametrize("where", ["loss", "score"])
def test_what_is_no_number_is_told_with_its_place(folder: Path, where: str) -> None:
    lesson = Slope()
    if where == "loss":
        lesson.pixels[7] = np.nan
        place = next(i for i, chosen in enumerate(_seen(folder)) if 7 in chosen) + 1
        expected = rf"epoch 1, step {place} of 6: the loss is nan"
    else:
        lesson.score = lambda network: float("nan")  # type: ignore[method-assign]
        expected = "epoch 1: the score on the validation tiles is nan"
    with pytest.raises(NotFinite, match=expected):
        learnt(folder / "bad", lesson)
    assert not list((folder / "bad").glob("*"))


def _seen(folder: Path) -> list[list[int]]:
    lesson = Slope()
    learnt(folder / "good", lesson, epochs=1)
    return lesson.seen


def test_an_error_of_the_lesson_is_not_swallowed_by_the_thread(folder: Path) -> None:
    lesson = Slope()

    def batch(chosen: NDArray[np.intp], random: np.random.Generator) -> Batch:
        raise BadInput("no such tile")

    lesson.batch = batch  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="no such tile"):
        learnt(folder, lesson)


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_network_computes_in_the_precision_asked_for_and_the_loss_in_float32(
    folder: Path, precision: str, expected: torch.dtype
) -> None:
    found: list[torch.dtype] = []
    made, lesson = network(), Slope()
    made[4].register_forward_hook(lambda module, inputs, output: found.append(output.dtype))
    loss: Callable[..., torch.Tensor] = lesson.loss

    def checked(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        assert logits.dtype == torch.float32
        return loss(logits, truth)

    lesson.loss = checked  # type: ignore[method-assign]
    settings = FitSettings(**(QUICK | {"epochs": 1, "precision": precision}))
    best = fit(made, [], lesson, settings, folder, FakeWatcher(), identity={})
    assert set(found[:6]) == {expected}
    assert {values.dtype for values in best.state_dict().values()} == {torch.float32, torch.int64}
    assert uses_bfloat16(settings) == (precision == "bfloat16")
    assert all(values.is_contiguous() for values in best.state_dict().values())
