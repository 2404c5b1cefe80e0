"""Other tools on the same slide with the same weights, where they are installed; none of them is needed.

python peers.py NAME SLIDE COG WEIGHTS --mean R,G,B --std R,G,B --scratch DIR: one line of JSON.
They are timed as whole processes on a crop: two of them hold all pixels, or a float canvas of them, in memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_images import make_images
from bench_models import MEAN, STD, TILE_PX
from bench_process import measure, python
from bench_session import Session
from bench_setup import ALL, Setup, clean_environment, run, scratch_run

CROP_PX, QUICK_PX = 4096, 2048
NEEDS = {"plain": "torch", "monai": "monai", "torchgeo": "torchgeo", "tiatoolbox": "tiatoolbox"}


def bench_peers(session: Session, setup: Setup, pythons: Sequence[Path]) -> None:
    """Each once on images of CROP_PX; beside them the plain loop and tilegate on the same, without its gate.

    pythons: interpreters that may have them.
    """
    images = make_images(setup.folder / "images", QUICK_PX if setup.quick else CROP_PX)
    session.measure("peers/tilegate", lambda: run(setup, images["slide"], setup.recipe("slide", TILE_PX), ALL))
    for name, package in NEEDS.items():
        able = next((path for path in (Path(sys.executable), *pythons) if has(path, package)), None)
        if able is None:
            session.measure(f"peers/{name}", lambda p=package: {"note": f"{p} is not installed"})
        else:
            session.measure(f"peers/{name}", lambda n=name, by=able: peer(setup, images, n, by))


def has(interpreter: Path, package: str) -> bool:
    """Whether an interpreter finds a package."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([interpreter, "-c", code], check=False).returncode == 0


def peer(setup: Setup, images: dict[str, Path], name: str, interpreter: Path) -> dict[str, Any]:
    """One of them as a whole process."""
    mean, std = (",".join(map(str, values)) for values in (MEAN, STD))
    weights = setup.models["slide"]["unet"] / "model.safetensors"
    with scratch_run(setup.scratch, "peer") as scratch:
        scratch.mkdir()
        norm = ["--mean", mean, "--std", std]
        if name == "plain":
            command = python("plain_loop.py", images["slide"], weights, *norm, "--out", scratch / "mask.npy")
        else:
            command = python("peers.py", name, images["slide"], images["cog"], weights, *norm, "--scratch", scratch)
        done = measure([interpreter, *command[1:]], env=clean_environment())
    return done.figures() | json.loads(done.out.splitlines()[-1])


def main() -> None:
    """One peer."""
    import torch
    from plain_loop import load, tensor

    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=PEERS)
    for name in ("slide", "cog", "weights"):
        parser.add_argument(name, type=Path)
    for name in ("--mean", "--std"):
        parser.add_argument(name, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    arguments = parser.parse_args()
    mean, std = tensor(arguments.mean), tensor(arguments.std)
    network = load(arguments.weights)

    class Normalising(torch.nn.Module):
        def forward(self, colours: torch.Tensor) -> torch.Tensor:
            return network((colours.float() - mean) / std)  # type: ignore[no-any-return]

    with torch.inference_mode():
        print(json.dumps({"pixels": PEERS[arguments.name](arguments, Normalising().eval())}))


def monai(arguments: argparse.Namespace, network: Any) -> int:
    """MONAI: the whole image in memory, a sliding window without overlap."""
    import openslide
    import torch
    from monai.inferers import sliding_window_inference

    slide = openslide.OpenSlide(arguments.slide)
    colours = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    pixels = torch.from_numpy(np.ascontiguousarray(colours.transpose(2, 0, 1)))[None].float()
    logits = sliding_window_inference(pixels, (TILE_PX, TILE_PX), 4, network, overlap=0.0)
    return int((logits > 0).sum())


def torchgeo(arguments: argparse.Namespace, network: Any) -> int:
    """TorchGeo: a grid sampler over the COG."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    class Orthophoto(RasterDataset):  # type: ignore[misc]
        filename_glob = arguments.cog.name
        is_image = True

    tiles = Orthophoto(str(arguments.cog.parent))
    loader = DataLoader(
        tiles, batch_size=4, sampler=GridGeoSampler(tiles, size=TILE_PX, stride=TILE_PX), collate_fn=stack_samples
    )
    return sum(int((network(batch["image"]) > 0).sum()) for batch in loader)


def tiatoolbox(arguments: argparse.Namespace, network: Any) -> int:
    """TIAToolbox: its segmentation engine, output to Zarr."""
    import torch
    import zarr
    from tiatoolbox.models.engine.io_config import IOSegmentorConfig
    from tiatoolbox.models.engine.semantic_segmentor import SemanticSegmentor
    from tiatoolbox.models.models_abc import ModelABC

    class Wrapped(ModelABC):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, colours: Any) -> Any:
            return self.network(colours)

        @staticmethod
        def infer_batch(model: Any, batch_data: Any, *, device: str = "cpu") -> Any:
            with torch.inference_mode():
                share = torch.sigmoid(model(batch_data.permute(0, 3, 1, 2)))
            return torch.cat([1 - share, share], 1).permute(0, 2, 3, 1).numpy()

        @staticmethod
        def postproc(image: Any) -> Any:
            return image.argmax(-1)

    native = [{"units": "baseline", "resolution": 1.0}]
    config = IOSegmentorConfig(
        input_resolutions=native,
        output_resolutions=native,
        patch_input_shape=(TILE_PX, TILE_PX),
        patch_output_shape=(TILE_PX, TILE_PX),
        stride_shape=(TILE_PX, TILE_PX),
        save_resolution=native[0],
    )
    engine = SemanticSegmentor(model=Wrapped(), batch_size=4, num_workers=0, device="cpu", verbose=False)
    out = arguments.scratch / "tiatoolbox"
    shutil.rmtree(out, ignore_errors=True)
    found = engine.run(
        [arguments.slide], patch_mode=False, ioconfig=config, save_dir=out, output_type="zarr", auto_get_mask=False,
        batch_size=4, num_workers=0, device="cpu", overwrite=True,
    )  # fmt: skip
    path = next(iter(found.values())) if isinstance(found, dict) else found
    return int(np.asarray(zarr.open(str(path), mode="r")["predictions"]).sum())


PEERS: dict[str, Callable[[argparse.Namespace, Any], int]] = {
    "monai": monai,
    "torchgeo": torchgeo,
    "tiatoolbox": tiatoolbox,
}

if __name__ == "__main__":
    main()
