"""Whether a slide's objective and the size of its pixels can both be true."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flows.progress import Progress
from storage.plan import RunPlan
from tiling.info import ImageInfo

POWER_UM = 10.0
"""Power times um per pixel: a pixel of 0.25 um is a scan at 40x, one of 0.5 um at 20x, as scanners are built."""
APART = 1.5
"""Factor beyond which the two cannot both be true: powers lie at least 2 apart, cameras differ by less."""


def image_block(image: ImageInfo) -> dict[str, Any]:
    """What the block `image` of summary.json says of pixels, and of the objective where the file states one."""
    size, power = image.pixel_size, image.objective_power
    stated = {} if power is None else {"objective_power": power}
    return {"pixel_size": [size.y, size.x], "unit": size.unit, **stated}


def warn_of_objective(plan: RunPlan, progress: Progress) -> None:
    """Before anything is measured."""
    warning = objective_warning(image_block(plan.image))
    if warning:
        progress.warn(f"{plan.image.uri}: {warning}")


def objective_warning(image: Mapping[str, Any]) -> str:
    """What to tell of a block `image` whose objective and pixels disagree; empty where they agree, or one is not said.

    The pixel size wins: areas are counted with it. It is 10 / power um where the objective is right.
    """
    power, (y_um, x_um) = image.get("objective_power"), image["pixel_size"]
    if power is None:
        return ""
    size_um = math.sqrt(y_um * x_um)
    expected = POWER_UM / size_um
    if max(expected / power, power / expected) <= APART:
        return ""
    return (
        f"the slide's objective and the size of its pixels disagree: pixels of {size_um:.4g} um are those of about "
        f"{expected:.3g}x, and the file says {power:g}x. All areas are of {size_um:.4g} um; were the objective right, "
        f"they would be {(expected / power) ** 2:.3g} times as large. Ask whoever scanned it, and give the true size "
        f"where it is another: --mpp {POWER_UM / power:.4g}"
    )
