"""The training loop of gates and segmenters: seeded, resumable after each epoch, the same weights either way."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import AveragedModel

from classifiers.answers import NotFinite
from classifiers.torch_device import pick_device
from classifiers.training.checkpoint import START, Progress, latest, save
from classifiers.training.lesson import Batch, EpochReport, Lesson, Watcher
from classifiers.training.schedule import draws, rate_factor
from classifiers.training.settings import FitSettings

log = logging.getLogger("tilegate")

Weights = list[torch.Tensor] | tuple[torch.Tensor, ...]

_FORMAT = torch.channels_last
"""How pixels and filters lie in memory: a fourth faster on CPUs than channels first."""
_CLIP = 1.0
"""Largest norm of the gradient."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learner:
    """What changes while learning, all of it saved after each epoch."""

    network: nn.Module
    """Learns."""
    average: AveragedModel
    """Follows it, and is what is judged and kept."""
    optimizer: torch.optim.Optimizer
    """Two groups: the head, then the pretrained body."""
    frozen_epochs: int
    """Epochs at the start in which the body stays as it is."""

    @property
    def body(self) -> list[nn.Parameter]:
        """What was pretrained."""
        found: list[nn.Parameter] = self.optimizer.param_groups[1]["params"]
        return found


def fit(
    network: nn.Module,
    pretrained: Collection[nn.Parameter],
    lesson: Lesson,
    settings: FitSettings,
    folder: Path,
    watch: Watcher,
    *,
    identity: Mapping[str, str],
) -> nn.Module:
    """Train; the averaged weights of the best epoch, in eval mode, on the CPU.

    pretrained: parameters that learn later and slower. folder: of the checkpoints; a run that was stopped goes on
    from there. identity: what the checkpoints are of, see checkpoint.identity_of. Raises BadInput for checkpoints of
    something else, NotFinite when the loss or the score is.
    """
    learner = _learner(network.to(pick_device()).to(memory_format=_FORMAT), pretrained, settings)
    progress, best = _resumed(learner, folder, identity)
    with torch.random.fork_rng():
        while progress.epoch < settings.epochs and not _tired(progress, learner, settings):
            started = time.monotonic()
            loss = _epoch(learner, lesson, settings, progress.epoch + 1)
            score = _score(learner, lesson, settings, progress.epoch + 1)
            progress = progress.after(score)
            if progress.best_epoch == progress.epoch:
                best = {name: values.clone() for name, values in learner.average.module.state_dict().items()}
            save(folder, progress, identity, _tensors(learner, best))
            _tell(watch, progress, settings, loss, score, time.monotonic() - started)
    log.info("best of %d epochs: %d, score %.4f", progress.epoch, progress.best_epoch, progress.best)
    network.load_state_dict(best)
    return network.requires_grad_(requires_grad=True).eval().cpu().to(memory_format=torch.contiguous_format)


def uses_bfloat16(settings: FitSettings) -> bool:
    """Whether this machine multiplies in bfloat16 under these settings."""
    if settings.precision == "auto":  # not on CPUs, AMX or not: measured, it made depthwise convolutions slower
        return pick_device().type == "cuda" and bool(torch.cuda.is_bf16_supported())
    return settings.precision == "bfloat16"


def _learner(network: nn.Module, pretrained: Collection[nn.Parameter], settings: FitSettings) -> Learner:
    known = {id(parameter) for parameter in pretrained}
    body = [parameter for parameter in network.parameters() if id(parameter) in known]
    head = [parameter for parameter in network.parameters() if id(parameter) not in known]
    if not head:  # all of it was learnt before: nothing to wait for
        body, head = [], body
    groups = [{"params": head, "share": 1.0}, {"params": body, "share": settings.body_rate}]
    optimizer = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.weight_decay, fused=True)
    return Learner(
        network=network,
        average=AveragedModel(network, multi_avg_fn=_follow(settings.average), use_buffers=True),
        optimizer=optimizer,
        frozen_epochs=min(settings.frozen_epochs, settings.epochs - 1) if body else 0,
    )


def _follow(decay: float) -> Callable[[Weights, Weights, torch.Tensor | int], None]:
    """Moving average whose decay rises to the given one: the first weights would weigh too much otherwise."""

    def follow(average: Weights, now: Weights, count: torch.Tensor | int) -> None:
        if average[0].is_floating_point():
            share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
            torch._foreach_lerp_(average, now, share)
        else:
            for old, new in zip(average, now, strict=True):
                old.copy_(new)

    return follow


def _resumed(learner: Learner, folder: Path, identity: Mapping[str, str]) -> tuple[Progress, dict[str, torch.Tensor]]:
    """Where to go on, and the best weights so far; the learner is as it was then."""
    found = latest(folder, identity)
    if found is None:
        return START, {}
    progress, tensors = found
    learner.network.load_state_dict(_below("network", tensors))
    learner.average.load_state_dict(_below("average", tensors))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, values in _below("optimizer", tensors).items():
        position, _, key = name.partition(".")
        lies_as = _FORMAT if values.ndim == 4 else torch.contiguous_format  # as the weights do: fused steps need that
        state.setdefault(int(position), {})[key] = values.contiguous(memory_format=lies_as)
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": state, "param_groups": groups})
    log.info("%s: going on after epoch %d", folder, progress.epoch)
    return progress, _below("best", tensors)


def _tensors(learner: Learner, best: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All that _resumed takes."""
    moments = learner.optimizer.state_dict()["state"]
    parts: dict[str, Mapping[str, torch.Tensor]] = {
        "network": learner.network.state_dict(),
        "average": learner.average.state_dict(),
        "optimizer": {f"{i}.{key}": values for i, held in moments.items() for key, values in held.items()},
        "best": best,
    }
    return {f"{part}.{name}": values for part, held in parts.items() for name, values in held.items()}


def _below(part: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{part}."
    return {name.removeprefix(start): values for name, values in tensors.items() if name.startswith(start)}


def _tired(progress: Progress, learner: Learner, settings: FitSettings) -> bool:
    """No better for too long; epochs with a frozen body do not count."""
    since = progress.epoch - max(progress.best_epoch, learner.frozen_epochs)
    return bool(settings.patience) and since >= settings.patience


def _epoch(learner: Learner, lesson: Lesson, settings: FitSettings, epoch: int) -> float:
    """Learn from every draw of the epoch; the mean loss."""
    chosen, done = draws(lesson.odds, settings, epoch), []
    torch.manual_seed(int(np.random.SeedSequence((settings.seed, epoch)).generate_state(1)[0]))
    _freeze(learner, epoch <= learner.frozen_epochs)
    first, steps = (epoch - 1) * len(chosen), settings.epochs * len(chosen)
    with ThreadPoolExecutor(1, "next-batch") as pool:
        for step, batch in enumerate(_ahead(pool, lesson, chosen, (settings.seed, epoch))):
            thawed = learner.frozen_epochs * len(chosen)
            for group, start in zip(learner.optimizer.param_groups, (0, thawed), strict=True):
                group["lr"] = settings.rate * group["share"] * rate_factor(first + step, steps, start)
            done.append(_step(learner, lesson, settings, batch))
            if not math.isfinite(done[-1]):
                raise NotFinite(_why(done[-1], settings, f"epoch {epoch}, step {step + 1} of {len(chosen)}: the loss"))
    return float(np.mean(done))


def _ahead(
    pool: ThreadPoolExecutor, lesson: Lesson, chosen: list[NDArray[np.intp]], seed: tuple[int, int]
) -> Iterator[Batch]:
    """The epoch's batches; the next is prepared while one is learnt."""

    def make(step: int) -> Batch:
        return lesson.batch(chosen[step], np.random.default_rng((*seed, step)))

    coming = pool.submit(make, 0)
    for step in range(len(chosen)):
        batch = coming.result()
        if step + 1 < len(chosen):
            coming = pool.submit(make, step + 1)
        yield batch


def _step(learner: Learner, lesson: Lesson, settings: FitSettings, batch: Batch) -> float:
    device = learner.optimizer.param_groups[0]["params"][0].device
    pixels = batch.pixels.to(device, memory_format=_FORMAT)
    with _autocast(device, settings):
        logits = learner.network(pixels)
    loss = lesson.loss(logits.float(), batch.truth.to(device))
    learner.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(learner.network.parameters(), _CLIP)
    learner.optimizer.step()
    learner.average.update_parameters(learner.network)
    return loss.item()


def _score(learner: Learner, lesson: Lesson, settings: FitSettings, epoch: int) -> float:
    device = learner.optimizer.param_groups[0]["params"][0].device
    with torch.inference_mode(), _autocast(device, settings):
        score = lesson.score(learner.average.module.eval())
    if not math.isfinite(score):
        raise NotFinite(_why(score, settings, f"epoch {epoch}: the score on the validation tiles"))
    return score


def _autocast(device: torch.device, settings: FitSettings) -> AbstractContextManager[None]:
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(settings))


def _freeze(learner: Learner, frozen: bool) -> None:
    """Training mode, but for a frozen body: it keeps the statistics of its batch norms, too."""
    learner.network.train()
    body = {id(parameter) for parameter in learner.body}
    for parameter in learner.body:
        parameter.requires_grad_(not frozen)
    for module in learner.network.modules():
        own = [id(parameter) for parameter in module.parameters(recurse=False)]
        if frozen and own and body.issuperset(own):
            module.eval()


def _tell(watch: Watcher, progress: Progress, settings: FitSettings, loss: float, score: float, seconds: float) -> None:
    report = EpochReport(
        epoch=progress.epoch,
        epochs=settings.epochs,
        loss=loss,
        score=score,
        best=progress.best,
        seconds=seconds,
    )
    watch.epoch(report)


def _why(found: float, settings: FitSettings, where: str) -> str:
    return (
        f"{where} is {found}. Either the pixels hold NaN or infinity that is not marked as nodata, or the steps are "
        f'too large: try fit.rate below {settings.rate:g}, and fit.precision = "float32".'
    )
