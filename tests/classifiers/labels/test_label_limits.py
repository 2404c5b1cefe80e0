"""A mask has 254 labels beside background and "nobody looked": more classes are refused before they wrap around."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from PIL import Image

from classifiers.labels.load import load_tiles
from classifiers.labels.sample import UNLABELLED
from classifiers.labels.values import from_words
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput
from tiling.stack import MOST_CLASSES, require_labels_for

UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def folders(root, count):
    """One 16 px image per class."""
    rng = np.random.default_rng(1)
    for i in range(count):
        (root / f"c{i:03d}").mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / f"c{i:03d}" / "a.png")
    return str(root)


def squares(tmp_path, tiny_raster, count):
    """A square of 4 px per class, side by side on one scene: square i is of class i, row by row."""
    pyogrio = pytest.importorskip("pyogrio")
    tiny_raster(np.random.default_rng(1).integers(0, 256, (3, 64, 64), dtype=np.uint8), "scene.tif")
    corners = [(500_000 + 40 * (i % 16), 5_000_000 - 40 * (i // 16)) for i in range(count)]
    path = tmp_path / "scene.gpkg"
    pyogrio.raw.write(
        str(path),
        geometry=np.array([shapely.to_wkb(shapely.box(x, y - 40, x + 40, y)) for x, y in corners], object),
        field_data=[np.array([f"c{i:03d}" for i in range(count)], object)],
        fields=["class"],
        geometry_type="Polygon",
        crs="EPSG:32633",
    )
    return str(tmp_path)


def test_the_last_label_is_254():
    assert MOST_CLASSES == UNLABELLED - 1 == np.iinfo(np.uint8).max - 1
    names = [f"c{i:03d}" for i in range(255)]
    require_labels_for(names[:254], "a-model")
    with pytest.raises(BadInput, match=r"^a-model has 255 classes; a mask tells 254 apart.*c254 is one too many"):
        require_labels_for(names, "a-model")
    assert len(from_words({name: (str(i),) for i, name in enumerate(names[:254], start=1)}).classes) == 254
    with pytest.raises(BadInput, match=r"data\.classes has 255 classes"):
        from_words({name: (str(i),) for i, name in enumerate(names, start=1)})


@pytest.mark.parametrize("kind", ["gate", "segmenter"])
def test_polygons_of_255_classes_are_refused(tmp_path, tiny_raster, kind):
    settings = DataSettings(tile_px=64, holds=0.0001)
    with pytest.raises(BadInput, match=r"what was drawn has 255 classes.*c254 is one too many"):
        load_tiles(squares(tmp_path, tiny_raster, 255), settings, kind, evaluating=True)


def test_polygons_of_254_classes_keep_every_label(tmp_path, tiny_raster):
    tiles = load_tiles(squares(tmp_path, tiny_raster, 254), DataSettings(tile_px=64), "segmenter", evaluating=True)
    wanted = np.kron(np.arange(1, 257).reshape(16, 16), np.ones((4, 4)))
    wanted[wanted > 254] = UNLABELLED
    assert np.array_equal(tiles.masks[0], wanted)


def test_tiles_of_255_classes_make_a_gate_but_no_masks(tmp_path):
    data, settings = folders(tmp_path / "data", 255), DataSettings(pixel_size=10)
    with pytest.raises(BadInput, match=r"the data has 255 classes.*c254 is one too many"):
        load_tiles(data, settings, "segmenter")
    assert len(load_tiles(data, settings, "gate").classes) == 255
