"""At threshold 0 a run equals the rule over the whole image at once, to the pixel."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Geod
from rasterio.transform import from_origin

PLANAR = "area.method=planar"
"""Areas by pencil: 100 m2 a pixel."""
EVERYTHING = ("gate.threshold=0", "audit.tiles=0", PLANAR)


def mask_of(folder: Path) -> np.ndarray:
    return zarr.open_array(folder / "run.zarr" / "mask/0", mode="r")[...]


def test_everything_equals_numpy(make_scene, measure, tmp_path):
    scene = make_scene()
    summary = measure(scene, *EVERYTHING)
    (water,) = summary["area"]["classes"]
    assert water["pixels"] == scene.water.sum()
    assert water["mapped"] == scene.water.sum() * 100.0
    assert np.array_equal(mask_of(tmp_path / "run"), scene.water)
    assert summary["status"] == "complete"
    assert (water["missed_estimate"], water["missed_high"]) == (0, 0)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 140), st.integers(1, 140)),
    tile=st.integers(16, 64),
    halo=st.integers(0, 40),
    batch=st.integers(1, 3),
    downsample=st.integers(1, 16),
)
def test_any_grid_gives_the_same_area(make_scene, measure, tmp_path_factory, shape, tile, halo, batch, downsample):
    scene = make_scene(shape)
    out = str(tmp_path_factory.mktemp("grid") / "run")
    grid = (f"tile.size_px={tile}", f"tile.halo_px={halo}", f"tile.batch={batch}", f"gate.downsample={downsample}")
    summary = measure(scene, *EVERYTHING, *grid, out=out)
    assert summary["area"]["classes"][0]["pixels"] == scene.water.sum()
    assert np.array_equal(mask_of(Path(out)), scene.water)
    assert summary["area"]["observed"] == pytest.approx(shape[0] * shape[1] * 100.0, rel=1e-12)


@pytest.mark.parametrize("halo", [0, 8, 31, 64])
def test_constant_one_is_one_everywhere(make_scene, measure, tmp_path, halo):
    """No blend, frame or seam may lose a pixel: a rule that is always true covers the image to the pixel."""
    summary = measure(make_scene(), "segment.cut=-2", f"tile.halo_px={halo}", *EVERYTHING, out=f"halo{halo}")
    assert summary["area"]["classes"][0]["pixels"] == 300 * 260
    assert (mask_of(tmp_path / f"halo{halo}") == 1).all()


def test_geographic_pixels_have_their_ground_area(make_scene, measure):
    transform = from_origin(12.0, 47.0, 1e-4, 1e-4)
    scene = make_scene(transform=transform, crs="EPSG:4326")
    summary = measure(scene, "gate.threshold=0", "audit.tiles=0")
    rows = scene.water.sum(1)
    geod = Geod(ellps="WGS84")
    edges = np.linspace(12.0, 12.0 + 1e-4, 5)
    truth = 0.0
    for row, count in enumerate(rows):
        north, south = 47.0 - row * 1e-4, 47.0 - (row + 1) * 1e-4
        area, _ = geod.polygon_area_perimeter([*edges, *edges[::-1]], [north] * 5 + [south] * 5)
        truth += count * abs(area)
    assert summary["area"]["method"] == "ellipsoidal"
    assert summary["area"]["classes"][0]["mapped"] == pytest.approx(truth, rel=1e-6)


def test_nodata_is_not_observed_and_never_counted(make_scene, measure):
    scene = make_scene()
    with rasterio.open(scene.path, "r+") as file:
        pixels = file.read()
        pixels[:, 100:, :130] = 255
        file.write(pixels)
    valid = (pixels != 255).all(0)
    summary = measure(scene, *EVERYTHING, nodata=255.0)
    assert summary["area"]["classes"][0]["pixels"] == (scene.water & valid).sum()
    assert summary["area"]["observed"] == pytest.approx(valid.sum() * 100.0)
    assert summary["area"]["image"] == 300 * 260 * 100.0


def test_a_sliver_that_overviews_lose_is_still_counted(make_scene, measure):
    """One valid pixel in a nodata tile: nearest-neighbour overviews drop it, the run must not."""
    scene = make_scene((256, 256), nodata=0)
    pixels = np.zeros((2, 256, 256), "uint8")
    pixels[:, 200, 77] = (200, 10)
    with rasterio.open(scene.path, "r+") as file:
        file.write(pixels)
        file.build_overviews([2, 4, 8])
    summary = measure(scene, "audit.tiles=0")
    assert summary["area"]["classes"][0]["pixels"] == 1
    assert summary["tiles"]["positive"] >= 1


def test_order_and_threads_do_not_change_a_bit(make_scene, measure, tmp_path):
    scene = make_scene()
    names = ("one", "four")
    for name, workers in zip(names, (1, 4), strict=True):
        measure(scene, out=name, workers=workers)
    one, four = (tmp_path / name for name in names)
    assert (one / "areas.csv").read_bytes() == (four / "areas.csv").read_bytes()
    assert pq.read_table(one / "tiles.parquet").equals(pq.read_table(four / "tiles.parquet"))
    shards = sorted(p.relative_to(one) for p in (one / "run.zarr").rglob("*") if p.is_file())
    assert shards == sorted(p.relative_to(four) for p in (four / "run.zarr").rglob("*") if p.is_file())
    assert all((one / shard).read_bytes() == (four / shard).read_bytes() for shard in shards)


def test_gated_run_maps_what_its_tiles_hold(make_scene, measure, tmp_path):
    """Whatever the gate decides, mapped = truth inside the tiles that were segmented."""
    scene = make_scene()
    summary = measure(scene, "gate.threshold=0.3", "gate.ring=0", "audit.tiles=5")
    tiles = pq.read_table(tmp_path / "run" / "tiles.parquet").to_pylist()
    seen = [t for t in tiles if t["state"] in ("segmented", "audited")]
    truth = sum(scene.water[t["row"] * 32 : t["row"] * 32 + 32, t["col"] * 32 : t["col"] * 32 + 32].sum() for t in seen)
    assert 0 < len(seen) < len(tiles)
    assert summary["area"]["classes"][0]["pixels"] == truth
    assert all(t["score"] >= 0.3 for t in seen if t["state"] == "segmented")
    counts = summary["tiles"]
    states = ("empty", "negative", "positive", "unreadable", "failed")
    assert sum(counts[state] for state in states) == counts["total"] == len(tiles) == 10 * 9
    assert counts["audited"] == 5 <= counts["negative"]


def test_a_gated_run_observes_what_holds_data(make_scene, measure):
    """Rejected tiles at the edge of the data are counted on fine pixels, not on the gate's."""
    scene = make_scene(nodata=0)
    with rasterio.open(scene.path, "r+") as file:
        pixels = file.read()
        pixels[:, 171:, :] = 0
        pixels[:, :, :21] = 0
        file.write(pixels)
    summary = measure(scene, "gate.threshold=0.9", "audit.tiles=0", "gate.ring=0", PLANAR)
    assert summary["tiles"]["negative"] > 0
    assert summary["area"]["observed"] == pytest.approx((pixels[0] != 0).sum() * 100.0, rel=1e-12)


def test_data_in_tiles_screened_out_is_not_observed(make_scene, measure):
    """With max_nodata = 0.5 a tile that is mostly nodata is not looked at, and its data counts for nothing."""
    scene = make_scene((64, 64), nodata=0)
    with rasterio.open(scene.path, "r+") as file:
        pixels = file.read()
        pixels[:, :20, :32] = 0  # 20 of 32 rows of the first tile
        file.write(pixels)
    summary = measure(scene, *EVERYTHING, "screen.max_nodata=0.5")
    assert summary["tiles"]["empty"] == 1
    assert summary["area"]["observed"] == 3 * 32 * 32 * 100.0
