"""Files of polygons of which a part is lost: GDAL reads the rest of a Shapefile without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyogrio import raw

from classifiers.labels.features import read_features
from classifiers.labels.vectors import read_polygons
from tiling.errors import BadInput

ROWS = 60


def squares(path: Path) -> Path:
    """60 squares of 5 m."""
    shapes = np.array([shapely.to_wkb(shapely.box(10 * i, 0, 10 * i + 5, 5)) for i in range(ROWS)], object)
    names = np.array(["oak"] * ROWS, object)
    raw.write(str(path), shapes, [names], ["name"], geometry_type="Polygon", crs="EPSG:32633")
    return path


@pytest.mark.parametrize("ending", [".shp", ".gpkg", ".fgb"])
def test_a_whole_file_is_read(tmp_path: Path, ending: str) -> None:
    found = read_polygons(squares(tmp_path / f"fields{ending}"))
    assert shapely.area(found.shapes).tolist() == [25] * ROWS
    assert not found.notes


@pytest.mark.parametrize("read", [read_polygons, read_features])
@pytest.mark.parametrize("lost", [1, 136, 4000])
def test_a_shapefile_that_lacks_its_end_is_refused(tmp_path: Path, lost: int, read: Callable[[Path], object]) -> None:
    """136 bytes: one square to the byte, of which the index still tells."""
    fields = squares(tmp_path / "fields.shp")
    held = fields.read_bytes()
    fields.write_bytes(held[:-lost])
    _, _, places, _ = raw.read(str(fields))
    assert len(places) == ROWS  # to GDAL, as many rows as ever
    assert None in places.tolist()
    words = f"fields.shp is cut off: it holds {len(held) - lost:,} of {len(held):,} bytes"
    with pytest.raises(BadInput, match=words):
        read(fields)


@pytest.mark.parametrize("read", [read_polygons, read_features])
@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson"])
def test_half_a_file_of_another_format_is_refused(tmp_path: Path, ending: str, read: Callable[[Path], object]) -> None:
    fields = squares(tmp_path / f"fields{ending}")
    fields.write_bytes(fields.read_bytes()[: fields.stat().st_size // 2])
    with pytest.raises(BadInput, match=f"fields{ending} cannot be read as polygons"):
        read(fields)
