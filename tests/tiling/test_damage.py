"""Every way a block can be broken, on real files: an error or the true pixels, never grey, black or white instead."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window as GdalWindow

from tiling.errors import BadData, BadInput
from tiling.info import PixelSize, native_plane, plane_at
from tiling.open import open_source
from tiling.source import Source, SourceSpec
from tiling.window import Window

MakeRaster = Callable[..., Path]
MakeSlide = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
RNG = np.random.default_rng(11)
RGB = np.repeat(np.repeat(RNG.integers(0, 256, (3, 24, 24), np.uint8), 8, 1), 8, 2)
"""(3, 192, 192): coloured squares of 8 px, so that half a block says a lot."""
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "pixel"}
MIDDLE = Window(y=64, x=64, height=64, width=64)
"""Block 4 of 3 x 3, the one that is broken."""


def block(path: Path, tile: int = 4, page: int = 0) -> tuple[int, int, int, int]:
    """(first byte, bytes, position of the byte count in the file, bytes of that number)."""
    with tifffile.TiffFile(path) as file:
        found = file.pages[page]
        width = {3: 2, 4: 4, 16: 8}[found.tags[325].dtype]
        return found.dataoffsets[tile], found.databytecounts[tile], found.tags[325].valueoffset + tile * width, width


def damage(path: Path, how: str, tile: int = 4, page: int = 0) -> None:
    """Break one block of a TIFF."""
    start, size, place, width = block(path, tile, page)
    raw = bytearray(path.read_bytes())
    half, end = start + size // 2, start + size
    if how == "second half zero":
        raw[half:end] = bytes(end - half)
    elif how == "second half random":
        raw[half : end - 2] = RNG.integers(0, 256, end - 2 - half, np.uint8).tobytes()
        raw[half + 9 : half + 11] = b"\xff\x01"  # a marker: random bytes of a real tile's length hold one
    elif how == "all zero":
        raw[start:end] = bytes(size)
    elif how == "byte count halved":
        raw[place : place + width] = (size // 2).to_bytes(width, "little")
    elif how == "byte count zero":
        raw[place : place + width] = bytes(width)
    elif how == "start of scan gone":
        scan = raw.index(b"\xff\xda", start, end)
        raw[scan : scan + 2] = b"\0\0"
    else:
        raise ValueError(how)
    path.write_bytes(raw)


def opened(path: Path, **spec: Any) -> Source:
    return open_source(SourceSpec(uris=(str(path),), **spec))


def require_hole(source: Source, truth: NDArray[np.uint8]) -> None:
    """The middle block is BadData however often and in whatever company it is read; the others are as they were."""
    plane = native_plane(source.info)
    whole = Window(y=0, x=0, height=192, width=192)
    for window in (MIDDLE, MIDDLE, Window(y=100, x=100, height=4, width=4), whole, MIDDLE):
        with pytest.raises(BadData, match="cannot be read"):
            source.read(window, plane)
    for y in range(0, 192, 64):
        for x in range(0, 192, 64):
            if (y, x) != (64, 64):
                window = Window(y=y, x=x, height=64, width=64)
                pixels = source.read(window, plane)
                np.testing.assert_allclose(pixels.data.astype(int), truth[(slice(None), *window.slices)], atol=4)
                assert pixels.valid.all()


def seen(path: Path) -> NDArray[np.uint8]:
    """The pixels before the damage, by rasterio."""
    with rasterio.open(path) as file:
        return np.asarray(file.read())


JPEG = ["second half zero", "second half random", "all zero", "byte count halved", "start of scan gone"]
CASES = [
    *[("jpeg", how) for how in JPEG],
    *[(codec, how) for codec in ("deflate", "lzw", "zstd", "lerc") for how in JPEG[:4]],
    *[("webp", how) for how in ("second half zero", "all zero", "byte count halved")],
]


@pytest.mark.parametrize(("codec", "how"), CASES)
def test_a_broken_block_of_a_raster_is_an_error(tiny_raster: MakeRaster, codec: str, how: str) -> None:
    options = TILED | ({"photometric": "ycbcr"} if codec == "jpeg" else {})
    path = tiny_raster(RGB, compress=codec, **options)
    truth = seen(path)
    damage(path, how)
    require_hole(opened(path), truth)


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
@pytest.mark.parametrize("how", JPEG)
def test_a_broken_tile_of_a_slide_is_an_error(tiny_slide: MakeSlide, compression: str, how: str) -> None:
    if compression == "deflate" and how == "start of scan gone":
        pytest.skip("only JPEG has scans")
    path = tiny_slide(RGB.transpose(1, 2, 0), compression=compression)
    source = opened(path)
    truth = source.read(Window(y=0, x=0, height=192, width=192), native_plane(source.info)).data
    source.close()
    damage(path, how)
    require_hole(opened(path), truth)


@pytest.mark.parametrize("compression", ["deflate", "aperio_jp2000_rgb", "jpeg"])
def test_a_tile_of_a_slide_that_ends_in_zeros_is_an_error(tmp_path: Path, compression: str) -> None:
    """Large enough for zlib and OpenJPEG to fill it from the zeros without a word."""
    path, rgb = tmp_path / "slide.svs", np.repeat(np.repeat(RGB.transpose(1, 2, 0), 4, 0), 4, 1)  # 768 px
    for level, size in enumerate((768, 192)):
        tifffile.imwrite(
            path, rgb[:: 768 // size, :: 768 // size], append=level > 0, tile=(256, 256), photometric="rgb", metadata=None,
            compression=compression, description="Aperio Image Library v1\n768x768|MPP = 0.5|AppMag = 20",
        )  # fmt: skip
    damage(path, "second half zero")
    source = opened(path)
    for window in (Window(y=256, x=256, height=256, width=256), Window(y=500, x=500, height=99, width=9)):
        with pytest.raises(BadData, match=r"ends in zeros|Premature end"):
            source.read(window, native_plane(source.info))
    for window in (Window(y=0, x=0, height=256, width=768), Window(y=256, x=512, height=512, width=256)):
        data = source.read(window, native_plane(source.info)).data.astype(int)
        off = np.abs(data - rgb.transpose(2, 0, 1)[(slice(None), *window.slices)])
        assert np.median(off) < 5
    assert source.read(Window(y=0, x=0, height=192, width=192), plane_at(source.info, 4)).valid.all()


@pytest.mark.parametrize(
    "spoil", [lambda log: log.setLevel(logging.CRITICAL), lambda log: setattr(log, "disabled", True)]
)
def test_a_log_level_or_a_new_logging_setup_hides_no_loss(
    tiny_raster: MakeRaster, spoil: Callable[[logging.Logger], None]
) -> None:
    path = tiny_raster(RGB, compress="jpeg", photometric="ycbcr", **TILED)
    damage(path, "second half zero")
    source, talker = opened(path), logging.getLogger("rasterio._err")
    before = talker.level, talker.disabled
    try:
        spoil(talker)
        with pytest.raises(BadData, match=r"pixels are lost: .*Premature end of JPEG"):
            source.read(MIDDLE, native_plane(source.info))
    finally:
        talker.setLevel(before[0])
        talker.disabled = before[1]


def test_threads_hear_only_their_own_losses(tiny_raster: MakeRaster) -> None:
    good, bad = (tiny_raster(RGB, name, compress="jpeg", photometric="ycbcr", **TILED) for name in ("a.tif", "b.tif"))
    damage(bad, "second half zero")
    found: dict[str, int] = {"a.tif": 0, "b.tif": 0}

    def read(path: Path) -> None:
        source = opened(path)
        for _ in range(40):
            try:
                source.read(MIDDLE, native_plane(source.info))
            except BadData:
                found[path.name] += 1

    threads = [threading.Thread(target=read, args=(path,)) for path in (good, bad)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a.tif": 0, "b.tif": 40}


def test_two_readers_of_one_mosaic_do_not_hide_its_damage_from_each_other(
    tiny_raster: MakeRaster, tmp_path: Path
) -> None:
    """GDAL keeps the parts of a VRT, and their blocks, for all who have it open: what one decoded none decodes again."""
    part = tiny_raster(RGB, "a.tif", compress="jpeg", photometric="ycbcr", **TILED)
    damage(part, "second half zero")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{i}"><SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
        f"<SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
        for i in (1, 2, 3)
    )
    place = "<SRS>EPSG:32633</SRS><GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>"
    (tmp_path / "a.vrt").write_text(f'<VRTDataset rasterXSize="192" rasterYSize="192">{place}{bands}</VRTDataset>')
    sources = [opened(tmp_path / "a.vrt"), opened(tmp_path / "a.vrt"), opened(part)]
    plane = native_plane(sources[0].info)
    sources[1].read(Window(y=0, x=0, height=64, width=192), plane)  # the part is open
    for _ in range(3):
        for source in sources:
            for window in (MIDDLE, Window(y=90, x=90, height=3, width=3)):
                with pytest.raises(BadData, match="Premature end of JPEG"):
                    source.read(window, plane)
            source.read(Window(y=0, x=0, height=64, width=192), plane)


def test_a_broken_block_behind_a_vrt_is_an_error_however_much_is_read(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    """From a million pixels on, GDAL would read the parts of a VRT in threads, whose warnings nobody hears."""
    big = np.tile(RGB, (1, 11, 11))[:, :2048, :2048]
    a, b = (tiny_raster(big, name, compress="jpeg", photometric="ycbcr", **TILED) for name in ("a.tif", "b.tif"))
    damage(a, "second half zero", tile=33)  # row 1, column 1
    part = '<SimpleSource><SourceFilename relativeToVRT="1">{0}</SourceFilename><SourceBand>{2}</SourceBand><SrcRect xOff="0" yOff="0" xSize="2048" ySize="2048"/><DstRect xOff="{1}" yOff="0" xSize="2048" ySize="2048"/></SimpleSource>'  # fmt: skip
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{i}">{part.format(a.name, 0, i)}{part.format(b.name, 2048, i)}</VRTRasterBand>'
        for i in (1, 2, 3)
    )
    place = "<SRS>EPSG:32633</SRS><GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>"
    (tmp_path / "both.vrt").write_text(f'<VRTDataset rasterXSize="4096" rasterYSize="2048">{place}{bands}</VRTDataset>')
    source = opened(tmp_path / "both.vrt")
    for window in (Window(y=0, x=0, height=2048, width=4096), MIDDLE, MIDDLE):
        with pytest.raises(BadData, match="Premature end of JPEG"):
            source.read(window, native_plane(source.info))
    source.read(Window(y=0, x=2048, height=2048, width=2048), native_plane(source.info))


@pytest.mark.parametrize(("codec", "photometric"), [("jpeg", "ycbcr"), ("deflate", "rgb")])
@pytest.mark.parametrize("beside", [False, True], ids=["internal", "external"])
def test_a_broken_block_of_an_overview_is_an_error(
    tiny_raster: MakeRaster, codec: str, photometric: str, beside: bool
) -> None:
    path = tiny_raster(RGB, compress=codec, photometric=photometric, **TILED)
    options = {"TIFF_USE_OVR": beside, "COMPRESS_OVERVIEW": codec, "GDAL_TIFF_OVR_BLOCKSIZE": 64}
    with rasterio.Env(**options), rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    side = path.with_name("raster.tif.ovr")
    assert side.exists() == beside
    damage(side if beside else path, "second half zero", tile=0, page=0 if beside else 1)
    source = opened(path)
    first = Window(y=0, x=0, height=40, width=40)
    for _ in range(2):
        with pytest.raises(BadData, match="of overview 1"):
            source.read(first, plane_at(source.info, 2))
    assert source.read(first, native_plane(source.info)).valid.all()


@pytest.mark.parametrize("keep", [0, 8, 200, 0.5, 0.9])
def test_an_overview_file_that_is_cut_gives_true_pixels_or_none(tiny_raster: MakeRaster, keep: float) -> None:
    path = tiny_raster(RGB, **TILED)
    with rasterio.Env(TIFF_USE_OVR=True, GDAL_TIFF_OVR_BLOCKSIZE=64), rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    with rasterio.open(path, overview_level=0) as file:
        truth = file.read()
    side = path.with_name("raster.tif.ovr")
    raw = side.read_bytes()
    side.write_bytes(raw[: int(keep * len(raw)) if 0 < keep < 1 else int(keep)])
    try:
        source = opened(path)
    except BadInput:
        return
    for y, x in ((0, 0), (0, 64), (64, 0), (64, 64)):
        window = Window(y=y, x=x, height=32, width=32)
        try:
            data = source.read(window, plane_at(source.info, 2)).data
        except BadData:
            continue
        np.testing.assert_allclose(data.astype(int), truth[(slice(None), *window.slices)], atol=1)


class TestSparse:
    @pytest.fixture
    def sparse(self, tmp_path: Path) -> Callable[..., Path]:
        """A GeoTIFF with its middle block not written."""

        def make(**profile: Any) -> Path:
            path = tmp_path / "sparse.tif"
            place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), "sparse_ok": True}
            shape = {"height": 192, "width": 192, "count": 3, "dtype": "uint8"}
            with rasterio.open(path, "w", driver="GTiff", **place, **shape, **{**TILED, **profile}) as file:
                for y in range(0, 192, 64):
                    for x in range(0, 192, 64):
                        if (y, x) != (64, 64):
                            file.write(RGB[:, y : y + 64, x : x + 64] | 1, window=GdalWindow(x, y, 64, 64))
            return path

        return make

    @pytest.mark.parametrize(
        "profile",
        [{}, {"interleave": "band"}, {"compress": "deflate"}, {"nodata": 7}],
        ids=["pixel", "band", "deflate", "7"],
    )
    def test_what_is_not_stored_is_no_data(self, sparse: Callable[..., Path], profile: dict[str, Any]) -> None:
        source = opened(sparse(**profile))
        truth = np.ones((192, 192), bool)
        truth[64:128, 64:128] = False
        if "nodata" in profile:
            truth &= ((RGB | 1) != 7).all(0)
        for window in (Window(y=0, x=0, height=192, width=192), Window(y=50, x=70, height=80, width=3), MIDDLE):
            valid = source.read(window, native_plane(source.info)).valid
            np.testing.assert_array_equal(valid, truth[window.slices])
        assert source.info.may_hide_data

    @pytest.mark.parametrize("compression", ["jpeg", "deflate"])
    def test_a_byte_count_of_zero_is_no_data_either(self, tiny_raster: MakeRaster, compression: str) -> None:
        path = tiny_raster(RGB | 1, compress=compression, **TILED)
        damage(path, "byte count zero")
        source = opened(path)
        valid = source.read(Window(y=0, x=0, height=192, width=192), native_plane(source.info)).valid
        assert not valid[MIDDLE.slices].any()
        assert valid.sum() == 192 * 192 - 64 * 64

    def test_nor_on_a_slide(self, tiny_slide: MakeSlide) -> None:
        path = tiny_slide(RGB.transpose(1, 2, 0), compression="jpeg")
        damage(path, "byte count zero")
        source = opened(path)
        valid = source.read(Window(y=0, x=0, height=192, width=192), native_plane(source.info)).valid
        assert not valid[MIDDLE.slices].any()
        assert valid.sum() == 192 * 192 - 64 * 64

    @pytest.mark.parametrize("compression", [None, "deflate"])
    @pytest.mark.parametrize("colours", [1, 3])
    def test_black_that_is_stored_is_data(self, tmp_path: Path, compression: str | None, colours: int) -> None:
        """Among others in a single strip, of which GDAL says that all rows but the first are not stored."""
        path, black = tmp_path / "black.tif", np.zeros((3000, 3000, colours)[: 3 if colours > 1 else 2], np.uint8)
        tifffile.imwrite(path, black, rowsperstrip=3000, compression=compression)
        source = opened(path, pixel_size=PixelSize(y=1, x=1, unit="m"))
        assert source.read(Window(y=0, x=0, height=3000, width=3000), native_plane(source.info)).valid.all()


@pytest.mark.parametrize("end", ["gone", "zero"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.jp2", "tiles.jp2"])
def test_an_image_cut_in_the_middle_gives_true_pixels_or_none(tmp_path: Path, name: str, keep: float, end: str) -> None:
    path, rgb = (
        tmp_path / name,
        np.tile(RGB.transpose(1, 2, 0), (2, 2, 1)) ^ RNG.integers(0, 8, (384, 384, 3), np.uint8),
    )
    if path.suffix == ".jp2":
        tiles = {"blockxsize": 128, "blockysize": 128} if name == "tiles.jp2" else {}
        profile = {"height": 384, "width": 384, "count": 3, "dtype": "uint8", "quality": 100, "reversible": True}
        with rasterio.open(path, "w", driver="JP2OpenJPEG", **profile, **tiles) as file:
            file.write(rgb.transpose(2, 0, 1))
    else:
        Image.fromarray(rgb).save(path, quality=95)
    truth = seen(path).astype(int)
    raw = path.read_bytes()
    path.write_bytes(raw[: (cut := int(keep * len(raw)))] + (bytes(len(raw) - cut) if end == "zero" else b""))
    try:
        source = opened(path, pixel_size=PixelSize(y=1, x=1, unit="m"))
    except BadInput:
        return
    parts = [Window(y=y, x=0, height=96, width=96) for y in (0, 96, 192, 288, 0)]
    for window in (*parts, Window(y=0, x=0, height=384, width=384)):
        try:
            data = source.read(window, native_plane(source.info)).data
        except BadData:
            continue
        np.testing.assert_allclose(data, truth[(slice(None), *window.slices)], atol=8)
