"""The peer: what a good engineer writes in a day. Every tile of an image through a U-Net, torch fp32, mask to a file.

python plain_loop.py IMAGE WEIGHTS --mean R,G,B --std R,G,B --out mask.npy [--workers 0] [--tiles N]
Knows nothing of tilegate; prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

TILE_PX, BATCH = 512, 4
Batches = Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""((n, 3, h, w) uint8, (n,) y, (n,) x) of every batch."""


class Tiles(Dataset[tuple[torch.Tensor, int, int]]):
    """Every tile of an image as (3, h, w) uint8, through openslide for slides and rasterio for rasters."""

    def __init__(self, path: Path, shape_px: tuple[int, int], georeferenced: bool) -> None:
        self._path, self._raster = path, georeferenced
        self._file = None  # opened in the worker that reads
        height, width = shape_px
        self._corners = [(y, x) for y in range(0, height, TILE_PX) for x in range(0, width, TILE_PX)]

    def __len__(self) -> int:
        return len(self._corners)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        y, x = self._corners[index]
        return torch.from_numpy(self._read_raster(y, x) if self._raster else self._read_slide(y, x)), y, x

    def _read_slide(self, y: int, x: int) -> np.ndarray:
        import openslide

        if self._file is None:
            self._file = openslide.OpenSlide(self._path)
        rgb = np.asarray(self._file.read_region((x, y), 0, (TILE_PX, TILE_PX)).convert("RGB"))
        return np.ascontiguousarray(rgb.transpose(2, 0, 1))

    def _read_raster(self, y: int, x: int) -> np.ndarray:
        import rasterio
        from rasterio.windows import Window

        if self._file is None:
            self._file = rasterio.open(self._path)
        window = Window(x, y, TILE_PX, TILE_PX)
        return self._file.read((1, 2, 3), window=window, boundless=False)


def main() -> None:
    arguments = parse()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    shape_px, georeferenced = look_at(arguments.image)
    network = load(arguments.weights)
    tiles = Tiles(arguments.image, shape_px, georeferenced)
    chosen = Subset(tiles, spread_over(len(tiles), arguments.tiles or len(tiles)))
    mask = np.lib.format.open_memmap(arguments.out, mode="w+", dtype=np.uint8, shape=shape_px)
    started = time.perf_counter()
    loader = DataLoader(chosen, batch_size=BATCH, num_workers=arguments.workers)
    pixels = segment(network, loader, tensor(arguments.mean), tensor(arguments.std), mask)
    mask.flush()
    print(json.dumps({"pixels": pixels, "tiles": len(chosen), "loop_s": time.perf_counter() - started}))


def segment(network: torch.nn.Module, loader: Batches, mean: torch.Tensor, std: torch.Tensor, mask: np.ndarray) -> int:
    """Fill the mask, (y, x) uint8; returns how many of its pixels are 1."""
    pixels = 0
    with torch.inference_mode():
        for batch, ys, xs in loader:
            labels = (network((batch.float() - mean) / std)[:, 0] > 0).numpy()
            for label, y, x in zip(labels, ys.tolist(), xs.tolist(), strict=True):
                mask[y : y + TILE_PX, x : x + TILE_PX] = label
                pixels += int(label.sum())
    return pixels


def tensor(text: str) -> torch.Tensor:
    """(1, 3, 1, 1) of "1,2,3"."""
    return torch.tensor([float(value) for value in text.split(",")]).view(1, 3, 1, 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="segment every tile of an image")
    parser.add_argument("image", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--mean", required=True)
    parser.add_argument("--std", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--tiles", type=int, default=0, help="only so many, spread over the image; 0 = all")
    return parser.parse_args()


def look_at(path: Path) -> tuple[tuple[int, int], bool]:
    """((height, width), whether it is a raster with a place on Earth)."""
    import rasterio

    with rasterio.open(path) as file:
        height, width, georeferenced = file.height, file.width, file.crs is not None
    if height % TILE_PX or width % TILE_PX:
        raise SystemExit(f"{path}: {height} x {width} px are no whole tiles of {TILE_PX} px")
    return (height, width), georeferenced


def load(path: Path) -> torch.nn.Module:
    import safetensors.torch
    import segmentation_models_pytorch as smp

    network = smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=1)
    network.load_state_dict(safetensors.torch.load_file(path))
    return network.eval()


def spread_over(count: int, wanted: int) -> list[int]:
    """`wanted` indices evenly over range(count)."""
    return [i * count // min(wanted, count) for i in range(min(wanted, count))]


if __name__ == "__main__":
    main()
