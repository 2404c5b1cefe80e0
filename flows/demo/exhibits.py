"""`tilegate demo`: two images with known areas, measured gated and in full, and compared."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.commands import EngineName, run_image
from flows.console import note
from flows.demo.images import make_scene, make_slide
from flows.display import area_text, bound_text
from flows.recipe import Recipe, load_recipe
from flows.request import ImageRequest
from tiling.errors import BadInput

SCENE_PX, SLIDE_PX = 8192, 4096
GATED = ("tile.size_px=256", "audit.tiles=40")
EVERYTHING = ("tile.size_px=256", "audit.tiles=0", "gate.threshold=0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One image, one question, and the answer known beforehand."""

    title: str
    """For the table."""
    image: Path
    """Where it was written."""
    recipe: str
    """Bundled recipe."""
    true_area: float
    """m2 or um2."""


def run_demo(out: Path, engine: EngineName) -> None:
    """Make the images, run both, print measured beside true. Raises BadInput when the folder holds other things."""
    if out.exists() and any(child.name not in ("images", "runs") for child in out.iterdir()):
        raise BadInput(f"{out} is not empty and holds no demo; choose another folder with --out")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    exhibits = make_exhibits(out / "images")
    if engine == "prefect":
        note("Running through Prefect; its server takes about 20 seconds to start …")
    lines = [line for exhibit in exhibits for line in show(exhibit, out / "runs", engine)]
    print("\n".join(lines))
    print(f"\nPictures: {out}/runs/*/overview.png   pages: {out}/runs/*/report.html")


def make_exhibits(folder: Path) -> list[Exhibit]:
    """The scene (fractal land and lakes, a COG) and the slide (a real IHC picture on glass)."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    scene, slide = folder / "scene.tif", folder / "slide.tif"
    land = make_scene(scene, folder / "scene-truth.tif", side_px=SCENE_PX)
    glass = make_slide(slide, side_px=SLIDE_PX)
    note(f"Made a {SCENE_PX:,} px scene and a {SLIDE_PX:,} px slide in {time.monotonic() - started:.0f} s: {folder}")
    return [
        Exhibit(title="scene, open water", image=scene, recipe="water", true_area=land.water_area_m2),
        Exhibit(title="slide, DAB-positive", image=slide, recipe="dab", true_area=glass.dab_px * glass.mpp * glass.mpp),
    ]


def show(exhibit: Exhibit, runs: Path, engine: EngineName) -> list[str]:
    """Run one exhibit gated and in full; its lines of the table."""
    name = exhibit.recipe
    gated = measure(exhibit, load_recipe(name, GATED), runs / f"{name}-gated", engine)
    full = measure(exhibit, load_recipe(name, EVERYTHING), runs / f"{name}-everything", engine)
    tiles, found = gated["tiles"], gated["area"]["classes"][0]
    looked_at = tiles["positive"] + tiles["audited"]
    error = found["mapped"] / exhibit.true_area - 1
    return [
        "",
        exhibit.title,
        f"  true area            {area_text(exhibit.true_area, gated)}",
        f"  measured, gated      {area_text(found['mapped'], gated)} ({100 * error:+.3f} %)",
        f"  measured, everything {area_text(full['area']['classes'][0]['mapped'], full)}",
        f"  missed by the gate   {bound_text(found, gated)} by the audit, at 95 %",
        f"  tiles                {tiles['total']:,}: {looked_at:,} segmented ({tiles['audited']:,} of them audit), "
        f"{tiles['negative'] - tiles['audited']:,} skipped, {tiles['empty']:,} empty",
        f"  time                 {spent(gated):.1f} s gated, {spent(full):.1f} s for everything: "
        f"{spent(full) / spent(gated):.1f} x",
    ]


def measure(exhibit: Exhibit, recipe: Recipe, out: Path, engine: EngineName) -> dict[str, Any]:
    """One run of one recipe."""
    return run_image(ImageRequest(uris=[str(exhibit.image)]), recipe, str(out), engine, None, quiet=True)


def spent(summary: dict[str, Any]) -> float:
    """Seconds of both stages."""
    return float(sum(summary["seconds"].values()))
