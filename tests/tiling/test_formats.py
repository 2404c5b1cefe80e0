"""Which files may come in: every format of pixels, no service, no code."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.shutil import copy

from tiling.errors import BadData, BadInput
from tiling.info import PixelSize, native_plane
from tiling.open import open_source
from tiling.raster_gdal import NETWORK, ODD, drivers, formats
from tiling.source import SourceSpec
from tiling.window import Window

MakeRaster = Callable[..., Path]
GREY = np.random.default_rng(3).integers(1, 256, (128, 96), dtype=np.uint8)
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def read(uri: object, **spec: Any) -> Any:
    """All pixels of all bands."""
    source = open_source(SourceSpec(uris=(str(uri),), **spec))
    try:
        return source.read(Window(y=0, x=0, height=128, width=96), native_plane(source.info)).data
    finally:
        source.close()


@pytest.mark.parametrize(
    ("driver", "name", "options"),
    [
        ("GTiff", "a.tif", {}),
        ("COG", "b.tif", {"blocksize": 128}),
        ("VRT", "c.vrt", {}),
        ("ENVI", "d.img", {}),
        ("HFA", "e.img", {}),
        ("GPKG", "f.gpkg", {"tile_format": "PNG"}),
        ("PNG", "g.png", {}),
        ("JP2OpenJPEG", "h.jp2", {"quality": 100, "reversible": True}),
        ("netCDF", "i.nc", {}),
        ("BMP", "j.bmp", {}),
    ],
)
def test_formats_of_pixels_are_read(
    tiny_raster: MakeRaster, tmp_path: Path, driver: str, name: str, options: dict[str, Any]
) -> None:
    original = tiny_raster(GREY, "original.tif")
    copy(original, tmp_path / name, driver=driver, **options)
    metres = PixelSize(y=10, x=10, unit="m") if driver in {"PNG", "BMP"} else None
    np.testing.assert_array_equal(read(tmp_path / name, pixel_size=metres)[0], GREY)


@pytest.mark.parametrize("driver", ["MRF", "KMLSUPEROVERLAY"])
def test_formats_that_do_more_than_hold_pixels_are_refused(
    tiny_raster: MakeRaster, tmp_path: Path, driver: str
) -> None:
    path = tmp_path / {"MRF": "a.mrf", "KMLSUPEROVERLAY": "a.kml"}[driver]
    copy(
        tiny_raster(GREY, "original.tif", crs="EPSG:4326", transform=Affine(0.1, 0, 10, 0, -0.1, 50)),
        path,
        driver=driver,
    )
    with rasterio.open(path) as file:
        assert file.count  # GDAL would read it
    with pytest.raises(BadInput, match="cannot be opened as an image"):
        read(path)


def test_a_subdataset_is_read(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    copy(tiny_raster(GREY, "original.tif"), tmp_path / "i.nc", driver="netCDF")
    np.testing.assert_array_equal(read(f'NETCDF:"{tmp_path / "i.nc"}":Band1')[0], GREY)


def test_services_are_not_even_known() -> None:
    assert not drivers() & NETWORK  # GDAL left them out, so nothing inside it can use them
    assert not set(formats()) & (NETWORK | ODD)
    assert {"GTiff", "VRT", "GPKG", "netCDF", "HDF5", "JP2OpenJPEG", "ENVI", "PNG", "JPEG"} <= set(formats())


@pytest.fixture
def ear() -> Iterator[socket.socket]:
    """A port of loopback; whoever knocked stands in its queue."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def knocked(ear: socket.socket) -> bool:
    try:
        ear.accept()[0].close()
    except BlockingIOError:
        return False
    return True


DESCRIPTIONS = {
    "wms.xml": '<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>10</UpperLeftY><LowerRightX>10</LowerRightX><LowerRightY>0</LowerRightY><SizeX>96</SizeX><SizeY>128</SizeY></DataWindow><Projection>EPSG:32633</Projection><BandsCount>1</BandsCount></GDAL_WMS>',
    "wcs.xml": "<WCS_GDAL><ServiceURL>{url}/?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
    "wmts.xml": "<GDAL_WMTS><GetCapabilitiesUrl>{url}/a.xml</GetCapabilitiesUrl></GDAL_WMTS>",
    "items.json": '{{"type":"FeatureCollection","features":[{{"type":"Feature","stac_version":"1.0.0","id":"a","properties":{{"proj:epsg":32633,"proj:shape":[128,96],"proj:transform":[10,0,0,0,-10,0]}},"assets":{{"a":{{"href":"{url}/a.tif","proj:shape":[128,96],"proj:transform":[10,0,0,0,-10,0]}}}}}}]}}',
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
@pytest.mark.parametrize("through_vrt", [False, True])
def test_a_file_that_describes_a_service_asks_nobody(
    tmp_path: Path, ear: socket.socket, name: str, through_vrt: bool
) -> None:
    path = tmp_path / name
    path.write_text(DESCRIPTIONS[name].format(url=f"http://127.0.0.1:{ear.getsockname()[1]}"))
    if through_vrt:
        path = vrt(tmp_path, path.name)
    with pytest.raises((BadInput, BadData)):
        read(path)
    assert not knocked(ear)


@pytest.mark.parametrize(
    "prefix", ["WMS:", "WCS:", "WMTS:", "STACIT:", "EEDAI:", "MEM:::DATAPOINTER=1,PIXELS=9,LINES=9,"]
)
def test_a_prefix_calls_no_service(ear: socket.socket, prefix: str) -> None:
    with pytest.raises(BadInput):
        read(f"{prefix}http://127.0.0.1:{ear.getsockname()[1]}/a")
    assert not knocked(ear)


def vrt(folder: Path, source: str, extra: str = "", kind: str = "", name: str = "v.vrt") -> Path:
    """A VRT of one band over one file."""
    path = folder / name
    path.write_text(
        '<VRTDataset rasterXSize="96" rasterYSize="128"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1"{kind}>{extra}<SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def test_a_vrt_names_other_local_files(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    tiny_raster(GREY, "a.tif")
    np.testing.assert_array_equal(read(vrt(tmp_path / "deep", "../a.tif"))[0], GREY)


def test_a_vrt_of_itself_ends(tmp_path: Path) -> None:
    with pytest.raises((BadInput, BadData)):
        read(vrt(tmp_path, "v.vrt"))


def test_a_vrt_whose_file_is_gone_shows_no_zeros(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    original = tiny_raster(GREY, "a.tif")
    path = vrt(tmp_path, "a.tif")
    original.unlink()
    with rasterio.open(vrt(tmp_path, "v.vrt", name="w.vrt")):  # as long as a VRT is open, GDAL remembers what failed
        for _ in range(3):
            with pytest.raises((BadInput, BadData)):
                read(path)


def test_a_vrt_runs_no_code(tiny_raster: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    tiny_raster(GREY, "a.tif")
    trace = tmp_path / "ran"
    code = (
        "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
        f"<PixelFunctionCode><![CDATA[\ndef f(i, o, *a, **k):\n    open({str(trace)!r}, 'w')\n]]></PixelFunctionCode>"
    )
    with pytest.raises((BadInput, BadData)):
        read(vrt(tmp_path, "a.tif", code, ' subClass="VRTDerivedRasterBand"'))
    assert not trace.exists()


def test_a_database_without_pixels_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "a.gpkg").close()
    with sqlite3.connect(tmp_path / "b.gpkg") as base:
        base.execute("create table a (b)")
    for name in ("a.gpkg", "b.gpkg"):
        with pytest.raises(BadInput):
            read(tmp_path / name)


def test_options_and_formats_reach_what_is_opened_within(tiny_raster: MakeRaster) -> None:
    """Overviews are opened on their own: by the same list of formats."""
    path = tiny_raster(GREY, overviews=[2], tiled=True, blockxsize=32, blockysize=32)
    with rasterio.open(path) as file:
        assert file.overviews(1) == [2]
    np.testing.assert_array_equal(read(path)[0], GREY)
