"""JPEG tiles decoded directly are what OpenSlide makes of them: to the last bit, tolerance 0, on every kind of file."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from openslide import OpenSlide
from rasterio.enums import Resampling

from tiling.errors import BadData, BadInput
from tiling.info import PixelSize, Plane, native_plane, plane_at
from tiling.open import open_source
from tiling.slide import SlideSource
from tiling.slide_jpeg import decode
from tiling.source import SourceSpec
from tiling.window import Window

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
RGB = NDArray[np.uint8]
MPP = PixelSize(y=0.5, x=0.5, unit="um")
SHAPE = (304, 464)
"""Of whole tiles in no direction, and of whole pixels on every level: OpenSlide interpolates where a level is rounded."""
COLOURS = {
    "4:2:0": {"photometric": "ycbcr", "subsampling": (2, 2)},
    "4:2:2": {"photometric": "ycbcr", "subsampling": (2, 1)},
    "4:4:4": {"photometric": "ycbcr", "subsampling": (1, 1)},
    "rgb": {"photometric": "rgb"},
}
APERIO = "Aperio Image Library v1\n464x304|MPP = 0.5|AppMag = 20"
REAL = Path(__file__).parents[3] / "shared" / "data" / "slides"


def tissue(height: int, width: int) -> RGB:
    """(y, x, 3): smooth enough for JPEG, different everywhere."""
    rows, cols = np.indices((height, width))
    waves = [np.sin(rows / (5 + c)) * np.cos(cols / (9 - c)) for c in range(3)]
    noise = np.random.default_rng(4).normal(0, 6, (height, width, 3))
    return np.clip(150 + 80 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def write_slide(path: Path, factors: tuple[int, ...] = (1, 2, 4), tile: int = 64, **options: Any) -> Path:
    """A pyramid of JPEG tiles by tifffile; it cuts the last tiles of a level as every writer does, by padding them."""
    shared = {"compression": "jpeg", "compressionargs": {"level": 85}, "tile": (tile, tile), "metadata": None} | options
    with tifffile.TiffWriter(path) as file:
        for k in factors:
            file.write(tissue(*SHAPE)[::k, ::k], subfiletype=int(k > 1), **shared)
    return path


def both(path: Path) -> tuple[SlideSource, SlideSource]:
    """(direct, by OpenSlide)."""
    spec = SourceSpec(uris=(str(path),), pixel_size=MPP)
    direct = open_source(spec)
    assert isinstance(direct, SlideSource)
    return direct, SlideSource(spec, openslide_only=True)


def require_agreement(path: Path, reader: str = "jpeg", factors: tuple[int, ...] = (1, 2, 4)) -> None:
    """Both paths give the same pixels and the same mask, inside, on borders and over the edge."""
    direct, theirs = both(path)
    assert (direct.info.reader, theirs.info.reader) == (reader, "openslide")
    for factor in factors:
        plane = plane_at(direct.info, factor)
        height, width = plane.shape_px
        for y, x, size in [(0, 0, 64), (0, 0, 700), (37, 21, 90), (-20, -9, 70), (height - 30, width - 40, 64)]:
            window = Window(y=y, x=x, height=size, width=size + 3)
            ours, other = direct.read(window, plane), theirs.read(window, plane)
            np.testing.assert_array_equal(ours.valid, other.valid)
            np.testing.assert_array_equal(ours.data, other.data)
            assert ours.data.flags.c_contiguous


@pytest.mark.parametrize("tile", [64, 128, 256])
@pytest.mark.parametrize("colours", COLOURS)
def test_both_paths_agree_to_the_last_bit(tmp_path: Path, colours: str, tile: int) -> None:
    require_agreement(write_slide(tmp_path / "a.tif", tile=tile, **COLOURS[colours]))


def test_native_pixels_are_openslides_own(tmp_path: Path) -> None:
    """Without our own code around OpenSlide."""
    path = write_slide(tmp_path / "a.tif", **COLOURS["4:2:0"])
    source, _ = both(path)
    pixels = source.read(Window(y=0, x=0, height=304, width=464), native_plane(source.info))
    with OpenSlide(path) as slide:
        rgba = np.asarray(slide.read_region((0, 0), 0, (464, 304)))
    np.testing.assert_array_equal(pixels.data, rgba[..., :3].transpose(2, 0, 1))
    assert pixels.valid.all()


@pytest.mark.parametrize("colours", COLOURS)
def test_they_agree_on_aperio_files(tmp_path: Path, colours: str) -> None:
    options = {"description": APERIO, **COLOURS[colours]}
    require_agreement(write_slide(tmp_path / "a.svs", (1, 4), **options), factors=(1, 4))


@pytest.mark.parametrize("tables", [0, 1, 2, 3])
@pytest.mark.parametrize("photometric", ["YCBCR", "RGB"])
def test_they_agree_on_gdals_files_whatever_the_tiles_share(tmp_path: Path, photometric: str, tables: int) -> None:
    path = tmp_path / "a.tif"
    place = {"height": SHAPE[0], "width": SHAPE[1], "count": 3, "dtype": "uint8", "blockxsize": 64, "blockysize": 64}
    options = {"compress": "jpeg", "photometric": photometric, "jpegtablesmode": tables, "tiled": True}
    with rasterio.open(path, "w", driver="GTiff", **place, **options) as file:
        file.write(tissue(*SHAPE).transpose(2, 0, 1))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    with tifffile.TiffFile(path) as file:
        assert bool(file.pages.first.jpegtables) == (tables > 0)
    require_agreement(path)


def test_a_level_that_was_rounded_is_read_as_it_is(tmp_path: Path) -> None:
    """OpenSlide finds the pixels of a level at its own downsample, here 4.003, and interpolates: so the level alone."""
    odd, alone = tissue(301, 467)[:, :466], tmp_path / "alone.tif"
    path = tmp_path / "a.tif"
    shared = {"compression": "jpeg", "tile": (64, 64), "metadata": None, "photometric": "ycbcr"}
    with tifffile.TiffWriter(path) as file:
        for k in (1, 4):
            file.write(odd[::k, ::k], subfiletype=int(k > 1), **shared)
    tifffile.imwrite(alone, odd[::4, ::4], **shared)
    source, _ = both(path)
    height, width = odd[::4, ::4].shape[:2]
    with OpenSlide(alone) as slide:
        truth = np.asarray(slide.read_region((0, 0), 0, (width, height)))[..., :3].transpose(2, 0, 1)
    plane = Plane(shape_px=(height, width), scale=(4.0, 4.0))
    for x in (0, 50, 100):
        pixels = source.read(Window(y=3, x=x, height=70, width=16), plane)
        np.testing.assert_array_equal(pixels.data, truth[:, 3:73, x : x + 16])
        assert pixels.valid.all()


def pieces(colour: str = "ycbcr", marker: bytes = b"") -> list[bytes]:
    """The tiles of a slide of 128 x 192 px, each with a marker behind its start."""
    rgb = tissue(128, 192)
    cuts = [rgb[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64, 128)]
    space = {"ycbcr": "YCBCR", "rgb": "RGB"}[colour]
    whole = [imagecodecs.jpeg8_encode(cut, 90, colorspace="RGB", outcolorspace=space) for cut in cuts]
    return [bytes(tile[:2] + marker + tile[2:]) for tile in whole]


def put_together(path: Path, tiles: list[bytes], colour: str = "ycbcr", **options: Any) -> Path:
    """A slide of tiles as they are."""
    how = {"photometric": colour, "tile": (64, 64), "compression": "jpeg", "metadata": None} | options
    tifffile.imwrite(path, iter(tiles), shape=(128, 192, 3), dtype=np.uint8, **how)
    return path


JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
ADOBE = [b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) for transform in (0, 1)]


@pytest.mark.parametrize("marker", [b"", JFIF, *ADOBE, JFIF + ADOBE[0], b"\xff\xff" + JFIF], ids=range(6))
@pytest.mark.parametrize("colour", ["ycbcr", "rgb"])
def test_what_a_tile_says_of_its_colours_counts_for_nothing(tmp_path: Path, colour: str, marker: bytes) -> None:
    require_agreement(put_together(tmp_path / "a.tif", pieces(colour, marker), colour), factors=(1,))


@pytest.mark.parametrize(
    ("vendor", "reader"), [({}, "jpeg"), ({"description": APERIO}, "openslide")], ids=["plain", "aperio"]
)
def test_a_tile_that_is_not_stored_is_no_data(tmp_path: Path, vendor: dict[str, str], reader: str) -> None:
    """Aperio's are painted from the level below by OpenSlide, so it is left such levels."""
    tiles = pieces()
    path = put_together(tmp_path / "a.tif", [*tiles[:4], b"", tiles[5]], **vendor)
    require_agreement(path, reader, factors=(1,))
    source, _ = both(path)
    pixels = source.read(Window(y=0, x=0, height=128, width=192), native_plane(source.info))
    truth = np.ones((128, 192), bool)
    truth[64:, 64:128] = False
    np.testing.assert_array_equal(pixels.valid, truth)
    assert (pixels.data[:, ~truth] == 255).all()


def other(change: str, **options: Any) -> Any:
    return pytest.param(options, id=change)


@pytest.mark.parametrize(
    "options",
    [
        other("deflate", compression="deflate", compressionargs={}),
        other("webp", compression="webp", compressionargs={}),
        other("grey", photometric="minisblack", grey=True),
        other("planes", planarconfig="separate", photometric="rgb"),
    ],
)
def test_other_layouts_are_left_to_openslide(tmp_path: Path, options: dict[str, Any]) -> None:
    rgb = tissue(128, 192)
    image = rgb[..., 0] if options.pop("grey", False) else rgb
    image = image.transpose(2, 0, 1) if "planarconfig" in options else image
    path = tmp_path / "a.tif"
    shared = {"compression": "jpeg", "tile": (64, 64), "metadata": None, "photometric": "rgb"} | options
    tifffile.imwrite(path, image, **shared)
    try:
        direct, theirs = both(path)
    except BadInput:
        return  # OpenSlide does not read it, either
    assert direct.info.reader == "openslide"
    window = Window(y=0, x=0, height=128, width=192)
    plane = native_plane(direct.info)
    np.testing.assert_array_equal(direct.read(window, plane).data, theirs.read(window, plane).data)


def test_levels_of_both_kinds_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    shared = {"tile": (64, 64), "metadata": None, "photometric": "rgb"}
    with tifffile.TiffWriter(path) as file:
        for k, compression in ((1, "jpeg"), (2, "deflate"), (4, "jpeg")):
            file.write(tissue(*SHAPE)[::k, ::k], subfiletype=int(k > 1), compression=compression, **shared)
    require_agreement(path, "jpeg and openslide")


@pytest.mark.parametrize("subfiletype", [0, 1])
def test_two_pages_of_one_size_are_no_level_to_guess_at(tmp_path: Path, subfiletype: int) -> None:
    path = tmp_path / "a.tif"
    shared = {"tile": (64, 64), "metadata": None, "photometric": "rgb", "compression": "jpeg"}
    with tifffile.TiffWriter(path) as file:
        file.write(tissue(*SHAPE), **shared)
        file.write(255 - tissue(*SHAPE), subfiletype=subfiletype, **shared)
        file.write(tissue(*SHAPE)[::2, ::2], subfiletype=1, **shared)
    direct, theirs = both(path)
    assert direct.info.reader == "jpeg and openslide"
    plane, window = native_plane(direct.info), Window(y=9, x=9, height=99, width=99)
    np.testing.assert_array_equal(direct.read(window, plane).data, theirs.read(window, plane).data)


def test_a_thumbnail_in_strips_is_no_level(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    shared = {"metadata": None, "photometric": "rgb", "compression": "jpeg", "description": APERIO}
    with tifffile.TiffWriter(path) as file:
        file.write(tissue(*SHAPE), tile=(64, 64), **shared)
        file.write(255 - tissue(*SHAPE), rowsperstrip=16, **shared)
    require_agreement(path, factors=(1,))


def test_damage_is_told_with_file_tile_bytes_and_reason(tmp_path: Path) -> None:
    path = put_together(tmp_path / "a.tif", pieces())
    source, _ = both(path)
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages.first.dataoffsets[4], file.pages.first.databytecounts[4]
    with path.open("r+b") as file:
        file.seek(offset + size // 2)
        file.write(bytes(size - size // 2))
    where = (
        rf"a\.tif rows 100-110 columns 100-110 cannot be read at level 0: tile 4 at bytes {offset}-{offset + size}: "
    )
    with pytest.raises(BadData, match=where + "Premature end|" + where + "Corrupt"):
        source.read(Window(y=100, x=100, height=10, width=10), native_plane(source.info))
    os.truncate(path, offset + 5)
    with pytest.raises(BadData, match=where + "the file ends after 5 of them"):
        source.read(Window(y=100, x=100, height=10, width=10), native_plane(source.info))


def test_a_tile_of_another_size_is_damage(tmp_path: Path) -> None:
    """However large it claims to be: nothing is decoded, nor is room made for it."""
    stream = pieces()[0]
    frame = stream.index(b"\xff\xc0")
    for height in (32, 65_000):
        claimed = stream[: frame + 5] + height.to_bytes(2, "big") + stream[frame + 7 :]
        with pytest.raises(ValueError, match=rf"a JPEG of \({height}, 64, 3\)"):
            decode(claimed, b"\xff\xd8", np.empty((64, 64, 3), np.uint8))


@settings(max_examples=300)
@given(st.data())
def test_whatever_bytes_come_it_is_a_tile_or_a_value_error(data: st.DataObject) -> None:
    stream = bytearray(pieces()[0])
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    stream = stream[: data.draw(st.integers(0, len(stream)))]
    rgb = np.empty((64, 64, 3), np.uint8)
    try:
        decode(bytes(stream), b"\xff\xd8", rgb)
    except ValueError:
        return
    assert len(stream) > 500  # a tile that was cut is none


@pytest.mark.skipif(not REAL.is_dir(), reason="no shared data beside the checkout")
def test_they_agree_on_real_slides() -> None:
    checked = 0
    for path in sorted(p for p in REAL.iterdir() if p.suffix in {".svs", ".tif", ".tiff"}):
        direct, theirs = both(path)
        for factor in (1, 2, 4):
            plane = plane_at(direct.info, factor)
            for y, x in product(range(-50, plane.shape_px[0], 997), range(-50, plane.shape_px[1], 997)):
                window = Window(y=y, x=x, height=500, width=600)
                ours, other = direct.read(window, plane), theirs.read(window, plane)
                np.testing.assert_array_equal(ours.valid, other.valid)
                np.testing.assert_array_equal(ours.data, other.data)
        checked += direct.info.reader == "jpeg"
    assert checked
