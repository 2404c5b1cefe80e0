"""Train the forest pair of bundles: python -m downstream.train_forest DATA_DIR [--out DIR] [--export-only].

DATA_DIR holds images/NAME.tiff (RGB, uint8, 10 m) and masks/NAME.png (1 = forest, 2 = not) of the Amazon scenes. The
gate looks at 40 m, the segmenter at 10 m; both learn from the same scenes and are measured on the same others.
Seeded, without download or GPU; ten to fifteen minutes on two cores. Both are exported at the end and compared with
torch on the held-out scenes; --export-only does just that with the weights there are.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from classifiers.bundle import Bundle, Calibration, write_bundle
from classifiers.network_gate import NetworkGate, open_network_gate
from classifiers.preprocess import normalise
from classifiers.torch_gate import build_gate
from downstream.forest_cards import gate_card, segmenter_card
from downstream.forest_scenes import BANDS, GATE_FACTOR, TILE_PX, Examples, Scene, load_scenes, split, tiles_of
from downstream.network_segmenter import NetworkSegmenter, open_network_segmenter
from downstream.torch_segmenter import build_segmenter
from downstream.train_export import export_gate, export_segmenter
from tiling.info import PixelSize
from tiling.stack import TileStack, crop_to_core

log = logging.getLogger(__name__)

SEED = 20
PIXEL_M = 10.0
SHARE_OF_FOREST = 0.01
"""A tile holds forest when at least this share of it is forest."""
TARGET_RECALL = 0.99
DATA = (
    "Amazon Rainforest dataset for semantic segmentation, L. Bragagnolo, R. V. da Silva, J. M. V. Grzybowski, "
    "Zenodo 3233081, CC BY 4.0: 34 Sentinel-2 RGB scenes of 512 x 512 px"
)
Draw = Callable[[], tuple[TileStack, NDArray[np.float32]]]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def main() -> None:
    """Train, measure, write and export both bundles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder with images/ and masks/")
    parser.add_argument("--out", type=Path, help="folder for both bundles; without it the shipped ones are replaced")
    parser.add_argument("--export-only", action="store_true", help="leave the weights as they are")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(2)
    rooms = Path(__file__).resolve().parent.parent
    train, held_out = split(load_scenes(arguments.data))
    log.info("train on %d scenes, hold out %s", len(train), ", ".join(scene.name for scene in held_out))
    gate = (arguments.out or rooms / "classifiers" / "bundles") / "forest-gate"
    segmenter = (arguments.out or rooms / "downstream" / "bundles") / "forest-unet"
    if not arguments.export_only:
        train_gate(train, held_out, gate)
        train_segmenter(train, held_out, segmenter)
    export_gate(gate, held_out)
    export_segmenter(segmenter, train, held_out)


def train_gate(train: list[Scene], held_out: list[Scene], folder: Path) -> None:
    """Whether a tile holds forest, at 40 m."""
    coarse = [scene.coarser(GATE_FACTOR) for scene in train]
    draft = _draft(coarse, name="forest-gate", input_px=TILE_PX // GATE_FACTOR, pixel_m=PIXEL_M * GATE_FACTOR)
    draft = replace(draft, architecture="test_resnet", hyperparameters={"global_pool": "max"}, task="classification")
    examples = Examples(coarse, SEED)
    torch.manual_seed(SEED)
    network = build_gate(draft)
    weights = fit(
        network, draft, lambda: examples.gate(64, SHARE_OF_FOREST), functional.binary_cross_entropy_with_logits, 400
    )
    bundle = write_bundle(draft, folder, weights, "")
    calibration = score_held_out(open_network_gate(bundle, "torch"), held_out)
    threshold = threshold_for(calibration, TARGET_RECALL)
    metrics = gate_metrics(calibration, threshold)
    log.info("gate: threshold %g, %s", threshold, metrics)
    final = replace(bundle, threshold=threshold, calibration=calibration, metrics=metrics)
    write_bundle(final, folder, weights, gate_card(final, [s.name for s in held_out], len(train) + len(held_out)))


def train_segmenter(train: list[Scene], held_out: list[Scene], folder: Path) -> None:
    """Which pixels are forest, at 10 m."""
    draft = _draft(train, name="forest-unet", input_px=TILE_PX, pixel_m=PIXEL_M)
    hyperparameters: Mapping[str, str | int | tuple[int, ...]] = {
        "encoder_name": "tu-mobilenetv3_small_050",
        "encoder_depth": 5,
        "decoder_channels": (64, 48, 32, 16, 16),
    }
    draft = replace(draft, architecture="Unet", hyperparameters=hyperparameters, task="segmentation")
    examples = Examples(train, SEED)
    torch.manual_seed(SEED)
    weights = fit(build_segmenter(draft), draft, lambda: examples.segmenter(8), overlap_loss, 300)
    bundle = write_bundle(draft, folder, weights, "")
    segmenter = open_network_segmenter(bundle, "torch")
    counts = {scene.name: count_held_out(segmenter, scene) for scene in held_out}
    final = replace(bundle, metrics=segmenter_metrics(np.array(list(counts.values())).sum(axis=0)))
    log.info("segmenter: %s", final.metrics)
    write_bundle(final, folder, weights, segmenter_card(final, counts, len(train) + len(held_out)))


def fit(network: nn.Module, bundle: Bundle, draw: Draw, loss: Loss, steps: int) -> bytes:
    """Train from scratch; safetensors of the moving average of the weights. draw: tiles and truth of one batch."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    mean_of_late = get_ema_multi_avg_fn(0.98)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=mean_of_late, use_buffers=True)
    network.train()
    for step in range(1, steps + 1):
        stack, truth = draw()
        error = loss(network(torch.from_numpy(normalise(stack, bundle))), torch.from_numpy(truth))
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        if step % 50 == 0:
            log.info("%s: step %d of %d, loss %.3f", bundle.name, step, steps, error.item())
    state = {name: values.contiguous() for name, values in average.module.state_dict().items()}
    return bytes(safetensors.torch.save(state))


def overlap_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross entropy (every pixel counts) plus 1 - Dice (the forest counts, however little of it there is)."""
    share = logits.sigmoid()
    dice = (2 * (share * truth).sum() + 1) / (share.sum() + truth.sum() + 1)
    return functional.binary_cross_entropy_with_logits(logits, truth) + 1 - dice


def score_held_out(gate: NetworkGate, scenes: list[Scene]) -> Calibration:
    """Every whole tile of the held-out scenes, read and scored as a run does it."""
    names, scores, fractions = [], [], []
    for scene in scenes:
        fine, coarse = tiles_of(scene)
        names += [f"{scene.name} {tile.id}" for tile in coarse.tiles]
        scores += [(round(float(score), 6),) for score in gate.score(coarse)[:, 0]]
        fractions += [(float(scene.forest[tile.core.slices].mean()),) for tile in fine.tiles]
    labels = tuple((int(fraction >= SHARE_OF_FOREST),) for (fraction,) in fractions)
    return Calibration(tiles=tuple(names), scores=tuple(scores), labels=labels, fractions=tuple(fractions))


def threshold_for(calibration: Calibration, recall: float) -> float:
    """The highest threshold that lets `recall` of the positives through, but at most one half.

    More than that would rest on a few tiles of a few scenes.
    """
    positive = sorted(s for (s,), (label,) in zip(calibration.scores, calibration.labels, strict=True) if label)
    lost = int(len(positive) * (1 - recall))
    return min(0.5, math.floor(positive[lost] * 1000) / 1000)


def gate_metrics(calibration: Calibration, threshold: float) -> dict[str, float]:
    """Counts of held-out tiles on either side of the threshold."""
    scores, labels = np.array(calibration.scores)[:, 0], np.array(calibration.labels)[:, 0] == 1
    passed = scores >= threshold
    return {
        "tiles": len(scores),
        "positives": int(labels.sum()),
        "recall": float(passed[labels].mean()),
        "negatives": int((~labels).sum()),
        "negatives_kept_out": int((~passed & ~labels).sum()),
        "lowest_positive_score": float(scores[labels].min()),
        "highest_negative_score": float(scores[~labels].max()) if (~labels).any() else 0.0,
    }


def count_held_out(segmenter: NetworkSegmenter, scene: Scene) -> tuple[int, int, int, int]:
    """Pixels of one scene, tiled and cropped as a run does it: (both forest, only mapped, only true, neither)."""
    fine, _ = tiles_of(scene)
    labels, counts = segmenter.segment(fine).labels, np.zeros(4, np.int64)
    for tile, label in zip(fine.tiles, labels, strict=True):
        mapped, true = crop_to_core(label, tile) == 1, scene.forest[tile.core.slices] == 1
        counts += [(mapped & true).sum(), (mapped & ~true).sum(), (~mapped & true).sum(), (~mapped & ~true).sum()]
    both, mapped_only, true_only, neither = (int(n) for n in counts)
    return both, mapped_only, true_only, neither


def segmenter_metrics(counts: NDArray[np.int64]) -> dict[str, float]:
    """Figures of all held-out pixels together. counts: as count_held_out gives them, summed."""
    both, mapped_only, true_only, neither = (int(n) for n in counts)
    return {
        "pixels": int(counts.sum()),
        "f1": 2 * both / (2 * both + mapped_only + true_only),
        "iou": both / (both + mapped_only + true_only),
        "precision": both / (both + mapped_only),
        "recall": both / (both + true_only),
        "accuracy": (both + neither) / int(counts.sum()),
        "area_error": (both + mapped_only) / (both + true_only) - 1,
    }


def _draft(scenes: list[Scene], *, name: str, input_px: int, pixel_m: float) -> Bundle:
    """The contract before there are weights; mean and std are those of the training scenes."""
    values = np.concatenate([scene.pixels.reshape(len(BANDS), -1) for scene in scenes], axis=1).astype(np.float64)
    return Bundle(
        name=name,
        path=Path(),
        architecture="",
        hyperparameters={},
        task="classification",
        activation="sigmoid",
        bands=BANDS,
        classes=("forest",),
        pixel_size=PixelSize(y=pixel_m, x=pixel_m, unit="m"),
        pixel_size_range=(0.8, 1.25),
        input_px=input_px,
        dtype="uint8",
        mean=tuple(np.round(values.mean(axis=1), 4).tolist()),
        std=tuple(np.round(values.std(axis=1), 4).tolist()),
        threshold=None,
        calibration=None,
        licence="CC-BY-4.0",
        training_data=DATA,
        pretrained_source=None,
        metrics={},
        sha256="",
        contract_sha256="",
    )


if __name__ == "__main__":
    main()
