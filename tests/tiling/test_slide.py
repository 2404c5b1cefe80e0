"""Slides: pixel size, pyramids, glass and damage; truth from tifffile, OpenSlide and the arrays that were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from openslide import OpenSlide

from tiling.errors import BadData, BadInput
from tiling.info import PixelSize, Plane, native_plane, plane_at
from tiling.open import open_source
from tiling.slide import SlideSource, _bounds, mpp_of, on_white
from tiling.source import SourceSpec
from tiling.window import Window

MakeSlide = Callable[..., Path]
RGB = NDArray[np.uint8]


def noise(height: int, width: int) -> RGB:
    """(y, x, 3)."""
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def shrink(rgb: RGB, k: int, keep_last: bool = True) -> RGB:
    """Block means; the last, partial block is kept (as libvips and GDAL do) or dropped (as Aperio does)."""
    height, width = rgb.shape[:2]
    tall, wide = (-(-height // k), -(-width // k)) if keep_last else (height // k, width // k)
    rgb = np.pad(rgb, ((0, k), (0, k), (0, 0)), mode="edge")[: tall * k, : wide * k]
    return np.rint(rgb.reshape(tall, k, wide, k, 3).mean((1, 3))).astype(np.uint8)


def open_slide(path: Path, **spec: object) -> SlideSource:
    """The source, and it is a slide."""
    source = open_source(SourceSpec(uris=(str(path),), **spec))
    assert isinstance(source, SlideSource)
    return source


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH"])
def test_mpp_comes_from_resolution_tags(tiny_slide: MakeSlide, unit: str) -> None:
    info = open_slide(tiny_slide(noise(70, 90), (0.25, 0.26), unit=unit)).info
    assert (info.pixel_size.y, info.pixel_size.x) == pytest.approx((0.25, 0.26), rel=1e-4)
    assert (info.kind, info.shape_px, info.bands) == ("slide", (70, 90), ("red", "green", "blue"))
    assert (info.pixel_size.unit, info.crs, info.transform) == ("um", None, None)


def test_without_mpp_it_is_refused_never_guessed(tiny_slide: MakeSlide) -> None:
    with pytest.raises(BadInput, match=r"no micrometres per pixel.*--mpp"):
        open_slide(tiny_slide(noise(70, 90), mpp=None))


def test_a_72_dpi_default_is_no_mpp(tiny_slide: MakeSlide) -> None:
    um = 25_400 / 72
    with pytest.raises(BadInput, match=r"352\.778 x 352\.778 um.*false tag"):
        open_slide(tiny_slide(noise(70, 90), (um, um), unit="INCH"))


@pytest.mark.parametrize("stated", [None, (352.8, 352.8)])
def test_mpp_by_hand_wins(tiny_slide: MakeSlide, stated: tuple[float, float] | None) -> None:
    size = PixelSize(y=0.4, x=0.5, unit="um")
    assert open_slide(tiny_slide(noise(70, 90), stated), pixel_size=size).info.pixel_size == size


@pytest.mark.parametrize(
    ("y", "x", "fits"),
    [
        ("0.25", "0.25", True),
        ("0.25", "0.37", True),
        ("0.25", "0.38", False),
        ("0.04", "0.04", False),
        ("20", "20", True),
        ("21", "21", False),
        ("nan", "nan", False),
        ("-1", "-1", False),
        ("a", "0.25", False),
    ],
)
def test_only_a_believable_mpp_is_taken(y: str, x: str, fits: bool) -> None:
    properties = {"openslide.mpp-y": y, "openslide.mpp-x": x, "openslide.objective-power": "20"}
    if fits:
        assert mpp_of(properties, "a.svs") == PixelSize(y=float(y), x=float(x), unit="um")
    else:
        with pytest.raises(BadInput, match=r"a\.svs.*--mpp"):
            mpp_of(properties, "a.svs")


def test_a_magnification_is_not_taken_for_a_pixel_size() -> None:
    with pytest.raises(BadInput, match="objective 20x is no pixel size"):
        mpp_of({"openslide.objective-power": "20"}, "a.svs")


def test_native_reads_are_the_pixels_and_padding_is_not_valid(tiny_slide: MakeSlide) -> None:
    rgb = noise(200, 150)
    source = open_slide(tiny_slide(rgb, levels=[shrink(rgb, 2)]))
    plane = native_plane(source.info)
    inside = source.read(Window(y=37, x=61, height=100, width=80), plane)
    np.testing.assert_array_equal(inside.data, rgb[37:137, 61:141].transpose(2, 0, 1))
    assert inside.valid.all()
    over = source.read(Window(y=190, x=-10, height=30, width=40), plane)
    np.testing.assert_array_equal(over.data[:, :10, 10:], rgb[190:, :30].transpose(2, 0, 1))
    assert over.valid[:10, 10:].all()
    assert over.valid.sum() == 10 * 30


@pytest.mark.parametrize("factors", [(), (4,), (2, 8)], ids=["no levels", "4", "2 and 8"])
def test_a_coarser_plane_is_the_block_mean_of_level_0(tiny_slide: MakeSlide, factors: tuple[int, ...]) -> None:
    rgb = noise(256, 320)
    source = open_slide(tiny_slide(rgb, levels=[shrink(rgb, k) for k in factors]))
    pixels = source.read(Window(y=3, x=5, height=50, width=70), plane_at(source.info, 4))
    means = rgb.reshape(64, 4, 80, 4, 3).mean((1, 3)).transpose(2, 0, 1)[:, 3:53, 5:75]
    np.testing.assert_allclose(pixels.data, means, atol=1)


def test_the_nearest_finer_level_is_read(tiny_slide: MakeSlide) -> None:
    """Each level is painted with its own number."""
    rgb = np.full((512, 512, 3), 10, np.uint8)
    levels = [np.full((512 // k, 512 // k, 3), 10 * k, np.uint8) for k in (2, 4, 8)]
    source = open_slide(tiny_slide(rgb, levels=levels))
    seen = {}
    for factor in (1, 1.5, 2, 3, 4, 4.001, 7.9, 8, 16):
        plane = plane_at(source.info, factor)
        seen[factor] = int(source.read(Window(y=0, x=0, height=9, width=9), plane).data.max())
    assert seen == {1: 10, 1.5: 10, 2: 20, 3: 20, 4: 40, 4.001: 40, 7.9: 40, 8: 80, 16: 80}


@pytest.mark.parametrize("keep_last", [True, False], ids=["rounded up", "rounded down"])
@pytest.mark.parametrize(("height", "width"), [(301, 2967), (299, 2966), (302, 2965)])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_feature_far_right_is_at_its_place_on_every_level(
    tiny_slide: MakeSlide, k: int, height: int, width: int, keep_last: bool
) -> None:
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[240:276, 2880:2916] = 255
    levels = [shrink(rgb, k**i, keep_last) for i in (1, 2)]
    source = open_slide(tiny_slide(rgb, levels=levels))
    for factor in (1, k, k**2):
        plane = plane_at(source.info, factor)
        left = plane.shape_px[1] * 7 // 8  # the window starts far from the corner
        data = source.read(Window(y=0, x=left, height=plane.shape_px[0], width=plane.shape_px[1] - left), plane)
        rows, cols = np.indices(data.valid.shape) + 0.5
        light = np.where(data.valid, data.data[0].clip(100) - 100.0, 0)  # the rim is mixed with glass: at most grey
        weights = light / light.sum()
        assert (rows * weights).sum() * plane.scale[0] == pytest.approx(258, abs=0.75 * factor)
        assert ((cols + left) * weights).sum() * plane.scale[1] == pytest.approx(2898, abs=0.75 * factor)


@pytest.mark.parametrize("keep_last", [True, False], ids=["rounded up", "rounded down"])
def test_windows_of_a_rounded_level_agree_with_the_level_itself(tiny_slide: MakeSlide, keep_last: bool) -> None:
    """Neighbours of noise differ by 85 grey values on average, so a shift of 1 / 8 px costs 85 / 8."""
    rgb = np.repeat(np.repeat(noise(76, 742), 4, 0), 4, 1)[:303, :2967]
    level = shrink(rgb, 4, keep_last)
    source = open_slide(tiny_slide(rgb, levels=[level]))
    plane = Plane(shape_px=level.shape[:2], scale=(4.0, 4.0))
    for x in range(600, 640):
        pixels = source.read(Window(y=30, x=x, height=40, width=100), plane)
        assert pixels.valid.all()
        error = np.abs(pixels.data.astype(int) - level[30:70, x : x + 100].transpose(2, 0, 1))
        assert error.mean() < 85 / 8 * 2**0.5


@pytest.mark.parametrize(("base", "level"), [(9, 7), (18, 7), (21, 19)])
def test_a_level_that_is_no_whole_fraction_keeps_its_last_pixel(tiny_slide: MakeSlide, base: int, level: int) -> None:
    """base / (base / level) is a hair below level in floating point."""
    assert base / (base / level) < level
    rgb, small = np.full((base, base, 3), 90, np.uint8), np.full((level, level, 3), 90, np.uint8)
    small[-1], small[:, -1] = 200, 200
    source = open_slide(tiny_slide(rgb, levels=[small]))
    plane = Plane(shape_px=(level, level), scale=(base / level, base / level))
    pixels = source.read(Window(y=0, x=0, height=level, width=level), plane)
    assert pixels.valid.all()
    np.testing.assert_array_equal(pixels.data, small.transpose(2, 0, 1))


@pytest.mark.parametrize("asked", [3.9999, 4.0, 4.0001])
def test_about_4_is_level_4_as_it_is(tiny_slide: MakeSlide, asked: float) -> None:
    """Slides say 4.0001 where they mean 4."""
    level = noise(64, 128)
    source = open_slide(tiny_slide(np.zeros((256, 512, 3), np.uint8), levels=[level]))
    plane = Plane(shape_px=(64, 128), scale=(asked, asked))
    pixels = source.read(Window(y=0, x=0, height=64, width=128), plane)
    np.testing.assert_array_equal(pixels.data, level.transpose(2, 0, 1))


def test_transparency_is_white_by_hand() -> None:
    table = {
        (0, 0, 0, 0): (255, 255, 255),  # nothing there: glass
        (10, 20, 30, 255): (10, 20, 30),
        (200, 100, 0, 128): (227, 177, 127),  # 200 * .50196 + 255 * .49804 = 227.4; 177.2; 127.0
        (0, 0, 0, 1): (254, 254, 254),
        (255, 255, 255, 77): (255, 255, 255),
        (100, 0, 0, 254): (101, 1, 1),  # 100.6, 1.0, 1.0
    }
    rgba = np.array([list(table)], np.uint8)
    assert on_white(rgba).transpose(1, 2, 0)[0].tolist() == [list(rgb) for rgb in table.values()]
    assert on_white(rgba[:, 1:2]).ravel().tolist() == [10, 20, 30]


def test_a_transparent_slide_is_white_and_not_valid(tiny_slide: MakeSlide) -> None:
    rgba = np.dstack([noise(128, 128), np.full((128, 128), 255, np.uint8)])
    rgba[:, :40] = 0
    source = open_slide(tiny_slide(rgba, extrasamples=["unassalpha"]))
    pixels = source.read(Window(y=0, x=0, height=128, width=128), native_plane(source.info))
    np.testing.assert_array_equal(pixels.data[:, :, 40:], rgba[:, 40:, :3].transpose(2, 0, 1))
    assert (pixels.data[:, :, :40] == 255).all()
    assert not pixels.valid[:, :40].any()
    assert pixels.valid[:, 40:].all()


def test_bounds_are_the_scanned_part_as_far_as_it_lies_on_the_slide() -> None:
    def bounds(*yxhw: int) -> Window:
        stated = dict(zip(("y", "x", "height", "width"), map(str, yxhw), strict=True))
        return _bounds({f"openslide.bounds-{key}": value for key, value in stated.items()}, (1000, 500))

    assert bounds(100, 300, 200, 400) == Window(y=100, x=300, height=200, width=400)
    assert bounds(400, 900, 200, 400) == Window(y=400, x=900, height=100, width=100)
    assert _bounds({"openslide.bounds-x": "3"}, (1000, 500)) == Window(y=0, x=0, height=500, width=1000)
    with pytest.raises(BadInput, match="500 x 1000 px"):
        bounds(500, 0, 9, 9)


@pytest.mark.parametrize("corner", [(64, 128), (66, 130)])
def test_a_slide_with_bounds_starts_at_their_corner(
    tiny_slide: MakeSlide, monkeypatch: pytest.MonkeyPatch, corner: tuple[int, int]
) -> None:
    """Only scanners' formats state bounds: they are added to a real slide's properties."""
    rgb, (y, x) = noise(512, 768), corner
    path = tiny_slide(rgb, levels=[shrink(rgb, 4)])
    stated = {"y": y, "x": x, "height": 256, "width": 320}
    with OpenSlide(path) as slide:
        properties = dict(slide.properties) | {f"openslide.bounds-{key}": str(value) for key, value in stated.items()}
    monkeypatch.setattr(OpenSlide, "properties", properties)
    source = open_slide(path)
    assert source.info.shape_px == (256, 320)
    native = source.read(Window(y=0, x=0, height=256, width=320), native_plane(source.info))
    scanned = rgb[y : y + 256, x : x + 320]
    np.testing.assert_array_equal(native.data, scanned.transpose(2, 0, 1))
    coarse = source.read(Window(y=10, x=20, height=30, width=40), plane_at(source.info, 4))
    means = scanned.reshape(64, 4, 80, 4, 3).mean((1, 3)).transpose(2, 0, 1)[:, 10:40, 20:60]
    if corner == (64, 128):  # on the level's own pixels
        np.testing.assert_allclose(coarse.data, means, atol=1)
    else:  # half a level pixel between them: OpenSlide interpolates
        assert np.corrcoef(coarse.data.ravel(), means.ravel())[0, 1] > 0.45


def test_one_broken_tile_costs_its_own_pixels_only(tiny_slide: MakeSlide) -> None:
    rgb = np.repeat(np.repeat(noise(32, 32), 8, 0), 8, 1)
    path = tiny_slide(rgb, compression="jpeg")
    with tifffile.TiffFile(path) as file:
        start, size = file.pages.first.dataoffsets[5], file.pages.first.databytecounts[5]  # row 1, column 1 of 4 x 4
        truth = file.pages.first.asarray()
    with path.open("r+b") as raw:
        raw.seek(start)
        raw.write(b"\x00" * size)
    source = open_slide(path)
    plane = native_plane(source.info)
    for _ in range(2):
        with pytest.raises(BadData, match=r"slide\.tif rows 60-70 columns 60-70 cannot be read at level 0"):
            source.read(Window(y=60, x=60, height=10, width=10), plane)
        beside = source.read(Window(y=0, x=128, height=256, width=128), plane)
        np.testing.assert_allclose(beside.data, truth[:, 128:].transpose(2, 0, 1), atol=3)


def test_a_slide_is_one_file_with_three_bands(tiny_slide: MakeSlide) -> None:
    path = str(tiny_slide(noise(70, 90)))
    with pytest.raises(BadInput, match="a slide is one file"):
        SlideSource(SourceSpec(uris=(path, path)))
    with pytest.raises(BadInput, match="red=1,green=2,blue=3"):
        SlideSource(SourceSpec(uris=(path,), bands=(("red", 2),)))
    assert SlideSource(SourceSpec(uris=(path,), bands=(("red", 1), ("blue", "blue")))).info.bands == (
        "red",
        "green",
        "blue",
    )


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"not a slide")
    with pytest.raises(BadInput, match="cannot be opened as a slide"):
        SlideSource(SourceSpec(uris=(str(tmp_path / "a.svs"),)))
