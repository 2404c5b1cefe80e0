"""The path of one tile, as the README tells it."""

import numpy as np
import rasterio
from rasterio.transform import from_origin

from classifiers.rule_gate import RuleGate
from classifiers.rules import RULES
from downstream.area import count_classes
from downstream.rule_segmenter import RuleSegmenter
from tiling.grid import TileGrid
from tiling.info import native_plane
from tiling.open import open_source
from tiling.pixel_area import pixel_areas
from tiling.source import SourceSpec
from tiling.stack import crop_to_core, read_stack


def test_the_path_of_one_tile(tmp_path):
    green, nir = np.full((100, 100), 50, "uint8"), np.full((100, 100), 90, "uint8")
    green[10:30, 40:90] = 120  # a pond of 20 x 50 pixels
    with rasterio.open(
        tmp_path / "pond.tif", "w", driver="GTiff", height=100, width=100, count=2, dtype="uint8",
        crs="EPSG:32633", transform=from_origin(500_000, 5_000_000, 10, 10),
    ) as file:  # fmt: skip
        file.write(np.stack([green, nir]))

    source = open_source(SourceSpec(uris=(str(tmp_path / "pond.tif"),), bands=(("green", 1), ("nir", 2))))
    plane = native_plane(source.info)
    grid = TileGrid(shape_px=source.info.shape_px, tile_px=50, halo_px=8)
    tile = grid.tile(0, 1)

    stack = read_stack(source, [tile], plane)
    score = RuleGate(RULES["ndwi"]).score(stack)
    assert score.item() > 0.001  # the gate lets it through

    mask = RuleSegmenter(RULES["ndwi"]).segment(stack)
    labels = crop_to_core(mask.labels[0], tile)
    (pond,) = count_classes(labels, 1, pixel_areas(source.info, plane, "planar"), tile.core)

    assert pond.pixels == 20 * 40  # columns 50 to 90 of the pond belong to this tile
    assert pond.area == 20 * 40 * 100  # m2, by hand
    source.close()
