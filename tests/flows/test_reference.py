"""Reference samples on a slide: QuPath's GeoJSON, in pixels of level 0."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely

from flows.reference import compare, map_class, pixels_of, read_samples
from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize, plane_at
from tiling.state import State


@pytest.fixture
def slide_plan(tiny_plan):
    """A slide of 100 x 140 px on a plane half as fine, in tiles of 16 px."""
    image = ImageInfo(
        uri="slide.svs", kind="slide", shape_px=(100, 140), bands=("red",), dtype="uint8", nodata=None,
        pixel_size=PixelSize(y=0.5, x=0.5, unit="um"), transform=None, crs=None,
    )  # fmt: skip
    return tiny_plan(image=image, fine=plane_at(image, 2), classes=("tumour", "stroma"))


def feature(kind, coordinates, name):
    properties = {"objectType": "annotation", "classification": {"name": name, "color": [1, 2, 3]}}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def test_annotations_are_compared_where_they_lie(slide_plan, tmp_path):
    labels = np.zeros((50, 70), np.uint8)
    labels[10:20, 30:40] = 1
    labels[30:35, 5:9] = 2
    box = [[60, 20], [80, 20], [80, 40], [60, 40], [60, 20]]  # rows 10 to 20, columns 30 to 40 of the plane
    features = [
        feature("Polygon", [box], "Tumour"),
        feature("Point", [13.0, 61.0], "Stroma"),  # column 6, row 30
        feature("Point", [101.0, 9.0], "Tumour"),  # row 4, column 50: background on the map
        feature("Point", [131.0, 91.0], "Tumour"),  # tile (2, 4) failed
        feature("Point", [1.0, 1.0], "Ignore*"),
    ]
    (tmp_path / "slide.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    states = {(row, col): State.SEGMENTED for row in range(4) for col in range(5)} | {(2, 4): State.FAILED}
    states[0, 3] = State.NEGATIVE
    samples = read_samples(tmp_path / "slide.geojson", slide_plan)
    found = compare(samples, slide_plan, states, lambda y, x, h, w: labels[y : y + h, x : x + w])
    assert found.names == ("tumour", "stroma", "background")
    assert found.counts.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert found.dropped == {"not observed": 1}
    assert found.others == ("Ignore*",)


def test_pixels_by_their_centres():
    """rasterio's rule, by hand: a box from 2.4 to 5.6 holds the centres 2.5 to 5.5 in each direction."""
    assert sorted(map(tuple, pixels_of(shapely.box(2.4, 2.4, 5.6, 5.6), (9, 9)).tolist())) == [
        (y, x) for y in range(2, 6) for x in range(2, 6)
    ]
    assert pixels_of(shapely.Point(3.9, 7.1), (9, 9)).tolist() == [[7, 3]]
    assert pixels_of(shapely.box(3.1, 4.1, 3.3, 4.3), (9, 9)).tolist() == [[4, 3]]  # a sliver between centres
    assert len(pixels_of(shapely.Point(9, 4), (9, 9))) == 0
    assert len(pixels_of(shapely.Polygon(), (9, 9))) == 0


@pytest.mark.parametrize("state", [State.UNREADABLE, State.FAILED, State.PLANNED])
def test_a_polygon_that_reaches_into_what_nobody_saw_is_no_sample(slide_plan, state):
    states = {(row, col): State.SEGMENTED for row in range(4) for col in range(5)} | {(1, 1): state}
    zeros = lambda y, x, h, w: np.zeros((h, w), np.uint8)  # noqa: E731
    assert map_class(shapely.box(10, 10, 20, 20), slide_plan, states, zeros) == "not observed"
    assert map_class(shapely.box(2, 2, 12, 12), slide_plan, states, zeros) == 0
    assert map_class(shapely.box(0, 0, 9000, 9000), slide_plan, states, zeros) == "larger than a sample can be"


def test_a_map_projection_over_a_slide_is_refused(slide_plan, tmp_path):
    document = {"type": "FeatureCollection", "features": [feature("Point", [1, 1], "Tumour")]}
    document["crs"] = {"type": "name", "properties": {"name": "EPSG:32633"}}
    (tmp_path / "slide.geojson").write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"slide\.svs has no coordinate system: give places in its pixels"):
        read_samples(tmp_path / "slide.geojson", slide_plan)
