"""The gate and the U-Net of the benchmarks: seeded, made once, written as bundles for a slide and for a COG.

The gate has random weights with calibrated BatchNorm: which tiles it likes does not matter here, what it costs does.
The U-Net learns nuclei for a minute, so that its masks are decisions: coin flips would differ between precisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_images import BLOCK_PX, GROUND_M, MPP_UM, Scene, make_scene, paint
from numpy.typing import NDArray

GATE, UNET, TILE_PX, GATE_FACTOR = "mobilenetv3_small_100", "resnet34", 512, 8
MEAN, STD = (215.0, 180.0, 205.0), (30.0, 50.0, 35.0)
"""Per band, about those of the scene."""
STEPS, CROPS, CROP_PX, SEED = 120, 4, 256, 11
PIXELS = {"slide": (MPP_UM, "um"), "cog": (GROUND_M, "m")}
"""Pixel size and unit of each image."""


def make_models(folder: Path) -> dict[str, dict[str, Path]]:
    """{"slide": {"gate": folder, "unet": folder}, "cog": …}; trained and written when they are not there yet."""
    made = {kind: {name: folder / f"{name}-{kind}" for name in LEARN} for kind in PIXELS}
    scene = make_scene(4 * BLOCK_PX, seed=SEED)
    for kind, folders in made.items():
        for name, place in folders.items():
            done = folder / f"{place.name}.done"
            if not done.exists():
                weights = once(folder / f"{name}.safetensors", LEARN[name], scene)
                write(bundle(name, kind), place, weights, held_out(scene, name))
                done.touch()
    return made


def once(path: Path, learn: Callable[[Scene], bytes], scene: Scene) -> bytes:
    """What a file holds, learnt when there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(learn(scene))
    return path.read_bytes()


def write(contract: Any, place: Path, weights: bytes, tiles: Any) -> None:
    """A bundle, with its network exported for the fast runtimes. tiles: held out, a TileStack."""
    from classifiers.bundle import write_bundle
    from classifiers.export import export_bundle
    from classifiers.torch_gate import build_gate
    from downstream.torch_segmenter import build_segmenter

    written = write_bundle(
        contract, place, weights, "Made by tests/benchmarks for its own runs; good for nothing else."
    )
    network = build_gate(written) if written.task == "classification" else build_segmenter(written)
    export_bundle(written, network, [tiles])


def held_out(scene: Scene, name: str) -> Any:
    """A TileStack of a block that nothing was learnt from, as the model sees it."""
    from tiling.grid import TileGrid
    from tiling.stack import TileStack

    colours, _ = paint(scene, 2 * BLOCK_PX, 3 * BLOCK_PX)
    side = TILE_PX
    if name == "gate":
        colours, side = coarser(colours), TILE_PX // GATE_FACTOR
    grid = TileGrid(shape_px=colours.shape[:2], tile_px=side)
    tiles = [grid.tile(row, col) for row in range(grid.shape_tiles[0]) for col in range(grid.shape_tiles[1])]
    tiles = tiles if name == "gate" else tiles[::4]
    pixels = np.stack([colours[tile.core.slices].transpose(2, 0, 1) for tile in tiles])
    return TileStack(tiles=tuple(tiles), pixels=pixels, valid=np.ones((len(tiles), side, side), bool))


def coarser(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) at the gate's pixel size, by area average."""
    height, width = (side // GATE_FACTOR for side in colours.shape[:2])
    boxes = colours.reshape(height, GATE_FACTOR, width, GATE_FACTOR, 3)
    return np.asarray(boxes.mean((1, 3)).round(), np.uint8)


def bundle(name: str, kind: str) -> Any:
    """The contract of one model for one kind of image."""
    from classifiers.bundle import Bundle
    from tiling.info import PixelSize

    size, unit = PIXELS[kind]
    side = size * (GATE_FACTOR if name == "gate" else 1)
    unet: dict[str, Any] = {"encoder_name": UNET, "encoder_depth": 5, "decoder_channels": (256, 128, 64, 32, 16)}
    shared: dict[str, Any] = {
        "path": Path(),
        "activation": "sigmoid",
        "bands": ("red", "green", "blue"),
        "classes": ("nuclei",),
        "pixel_size": PixelSize(y=side, x=side, unit=unit),  # type: ignore[arg-type]
        "pixel_size_range": (0.8, 1.25),
        "dtype": "uint8",
        "mean": MEAN,
        "std": STD,
        "threshold": None,
        "calibration": None,
        "licence": "CC0-1.0",
        "training_data": "synthetic scenes of tests/benchmarks",
        "pretrained_source": None,
        "metrics": {},
        "sha256": "",
        "contract_sha256": "",
    }
    gate = {"architecture": GATE, "hyperparameters": {}, "task": "classification", "input_px": TILE_PX // GATE_FACTOR}
    segmenter = {"architecture": "Unet", "hyperparameters": unet, "task": "segmentation", "input_px": TILE_PX}
    return Bundle(name=f"bench-{name}-{kind}", **shared, **(gate if name == "gate" else segmenter))


def normalised(colours: NDArray[np.uint8]) -> Any:
    """(n, 3, h, w) float32 tensor of (n, h, w, 3)."""
    import torch

    scaled = (colours.astype(np.float32) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


def calibrated_gate(scene: Scene) -> bytes:
    """Safetensors of a random network whose scores spread over tiles and are higher on tissue than on glass."""
    import timm
    import torch

    torch.manual_seed(SEED)
    network = timm.create_model(GATE, pretrained=False, num_classes=1)
    tiles, share = coarse_tiles(scene)
    calibrate_batchnorm(network, tiles)
    with torch.inference_mode():
        scores = network(tiles)[:, 0]
    sign = 1.0 if torch.corrcoef(torch.stack([scores, share]))[0, 1] > 0 else -1.0
    by = sign * 0.5 / float(scores.std())  # small: an odd tile must not saturate to exactly 1, which passes any gate
    with torch.no_grad():
        head = network.get_classifier()
        head.weight.mul_(by)
        head.bias.copy_((head.bias - scores.mean()) * by)
    return safetensors_of(network)


def calibrate_batchnorm(network: Any, tiles: Any) -> None:
    """Running statistics are those of the tiles, so that activations have the scale they would have after training."""
    import torch

    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
    network.train()
    with torch.no_grad():
        for start in range(0, len(tiles), 32):
            network(tiles[start : start + 32])
        for part in network.modules():
            if isinstance(
                part, torch.nn.BatchNorm2d
            ):  # a channel that was almost still must not explode on an odd tile
                part.running_var.clamp_(min=float(part.running_var.mean()) / 4)
    network.eval()


def coarse_tiles(scene: Scene) -> tuple[Any, Any]:
    """((n, 3, 64, 64), (n,) share of nuclei) of a few blocks, seen as the gate sees them."""
    import torch

    side, found, share = TILE_PX // GATE_FACTOR, [], []
    for y, x in [(0, 0), (BLOCK_PX, BLOCK_PX), (2 * BLOCK_PX, 0), (3 * BLOCK_PX, 2 * BLOCK_PX)]:
        colours, nuclei = paint(scene, y, x)
        small = coarser(colours)
        for row in range(0, small.shape[0], side):
            for col in range(0, small.shape[1], side):
                found.append(small[row : row + side, col : col + side])
                rows, cols = (slice(i * GATE_FACTOR, (i + side) * GATE_FACTOR) for i in (row, col))
                share.append(float(nuclei[rows, cols].mean()))
    return normalised(np.stack(found)), torch.tensor(share)


def trained_unet(scene: Scene) -> bytes:
    """Safetensors of a U-Net that has learnt nuclei on random crops."""
    import segmentation_models_pytorch as smp
    import torch
    from torch.nn import functional

    torch.manual_seed(SEED)
    network = smp.Unet(UNET, encoder_weights=None, in_channels=3, classes=1)
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=STEPS)
    for colours, nuclei in crops(scene, STEPS):
        truth = torch.from_numpy(nuclei[:, None].astype(np.float32))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(normalised(colours).contiguous(memory_format=torch.channels_last))
        loss = functional.binary_cross_entropy_with_logits(logits.float(), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"U-Net: loss {loss.item():.4f} after {STEPS} steps", flush=True)
    return safetensors_of(network)


def safetensors_of(network: Any) -> bytes:
    """Its weights in the plain memory format."""
    import safetensors.torch

    plain = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    return bytes(safetensors.torch.save(plain))


def crops(scene: Scene, steps: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """((n, h, w, 3), (n, h, w)) per step, from a handful of painted blocks."""
    rng = np.random.default_rng(SEED)
    painted = [paint(scene, row * BLOCK_PX, col * BLOCK_PX) for row, col in [(0, 0), (1, 2), (2, 1), (3, 3)]]
    for _ in range(steps):
        batch = []
        for _ in range(CROPS):
            colours, nuclei = painted[rng.integers(len(painted))]
            y, x = rng.integers(0, BLOCK_PX - CROP_PX, 2)
            batch.append((colours[y : y + CROP_PX, x : x + CROP_PX], nuclei[y : y + CROP_PX, x : x + CROP_PX]))
        yield np.stack([c for c, _ in batch]), np.stack([n for _, n in batch])


LEARN: dict[str, Callable[[Scene], bytes]] = {"gate": calibrated_gate, "unet": trained_unet}
