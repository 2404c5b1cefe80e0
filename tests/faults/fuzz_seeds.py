"""The healthy files that fuzzing breaks: all tiny, all made here, the same bytes every time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import tifffile
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.shutil import copy as copy_raster
from rasterio.transform import from_origin

HOUSE = Path(__file__).parents[2]
SHAPE = (96, 80)
UTM = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}
TILED = {"tiled": True, "blockxsize": 32, "blockysize": 32}
EVERYTHING = ("gate.threshold=0", "audit.tiles=0", "gate.downsample=4", "tile.batch=4")
"""No gate, no audit: what is found is the rule over the whole image."""


@dataclass(frozen=True)
class Seed:
    """A healthy file and the command line that measures it; without a trial's folders."""

    name: str
    path: Path
    options: tuple[str, ...]
    beside: tuple[Path, ...] = ()
    """Files it needs, left whole."""
    target: Path | None = None
    """The file that is broken, where it is not `path` but one beside it."""

    @property
    def broken(self) -> Path:
        return self.target or self.path

    @property
    def suffix(self) -> str:
        return self.broken.suffix


def options(recipe: str, tile_px: int, *more: str) -> tuple[str, ...]:
    changes = [f"--set={change}" for change in (*EVERYTHING, f"tile.size_px={tile_px}")]
    return ("--recipe", recipe, "--engine=local", "--workers=1", "--max-pixels=4000000", "--json", *changes, *more)


WATER = options("water", 32, "--bands=green=1,nir=2")
BARE = (*WATER, "--pixel-size=10")
TISSUE = options("tissue", 64)


def bands(count: int = 2, dtype: str = "uint8") -> NDArray[Any]:
    """(band, y, x): a lake and noise, nothing that is 0."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    lake = (y - 40) ** 2 + (x - 30) ** 2 < 25**2
    planes = [np.where(lake, 90, 60) if i % 2 == 0 else np.where(lake, 40, 100) for i in range(count)]
    noise = rng.integers(0, 20, (count, *SHAPE))
    return (np.stack(planes) + noise).astype(dtype)


def glass() -> NDArray[np.uint8]:
    """(y, x, 3): pink tissue on white."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:192, :256]
    tissue = ((y - 90) ** 2 + (x - 120) ** 2 < 60**2)[..., None]
    return np.clip(np.where(tissue, (200, 120, 170), 240) + rng.integers(-12, 13, (192, 256, 3)), 0, 255).astype(
        "uint8"
    )


def raster(path: Path, pixels: NDArray[Any] | None = None, **profile: Any) -> Path:
    """A raster by rasterio."""
    pixels = bands() if pixels is None else pixels
    shape = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff"} | shape | UTM | profile) as file:
        file.write(pixels)
    return path


def masked(path: Path, **profile: Any) -> Path:
    """With an internal mask."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        raster(path, **profile)
        with rasterio.open(path, "r+") as file:
            mask = np.full(SHAPE, 255, "uint8")
            mask[:50, :33] = 0
            file.write_mask(mask)
    return path


def holey(path: Path, **profile: Any) -> Path:
    """float32 with NaN and a nodata value."""
    pixels = bands(dtype="float32")
    pixels[0, 10:20, :40], pixels[1, 60:, 50:] = np.nan, -9999
    return raster(path, pixels, nodata=-9999, **profile)


def overviews(path: Path, external: bool = False, **profile: Any) -> Path:
    """With overviews, in the file or in an .ovr beside it."""
    raster(path, **profile)
    with rasterio.Env(TIFF_USE_OVR=external), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4, 8], Resampling.average)
    return path


def cog(path: Path, **profile: Any) -> Path:
    """By GDAL's COG driver."""
    plain = raster(path.with_name(f"plain-{path.name}"))
    copy_raster(plain, path, driver="COG", blocksize=128, **profile)
    plain.unlink()
    return path


def slide(path: Path, description: str | None, levels: int = 2, **how: Any) -> Path:
    """A tiled pyramid; with Aperio's description an SVS."""
    rgb = glass()
    shared = {"tile": (64, 64), "photometric": "rgb", "compression": "jpeg", "metadata": None} | how
    dots = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=bool(shared.pop("bigtiff", False))) as file:
        file.write(rgb, description=description, **shared, **dots)
        for level in range(1, levels):
            small = np.ascontiguousarray(rgb[:: 2**level, :: 2**level])
            file.write(small, description=description, subfiletype=0 if description else 1, **shared)
    return path


APERIO = "Aperio Image Library v12.0.15\r\n256x192 [0,0 256x192] (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
SOURCE = "".join(
    f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">part.tif'
    f'</SourceFilename><SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="80" ySize="96"/>'
    '<DstRect xOff="0" yOff="0" xSize="80" ySize="96"/></SimpleSource></VRTRasterBand>'
    for band in (1, 2)
)
VRT = (
    '<VRTDataset rasterXSize="80" rasterYSize="96"><SRS>EPSG:32633</SRS>'
    f"<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>{SOURCE}</VRTDataset>"
)

Make = Callable[[Path], Path]


def tiffs() -> dict[str, Make]:
    """GeoTIFFs of every kind."""
    rgb, sixteen = bands(3), bands(dtype="uint16") * 37
    return {
        "tiled-deflate": partial(raster, compress="deflate", **TILED),
        "strips-lzw": partial(raster, compress="lzw", predictor=2, blockysize=16),
        "strips-plain": raster,
        "band-interleaved": partial(raster, interleave="band", compress="deflate", **TILED),
        "tiled-zstd-16bit": partial(raster, pixels=sixteen, compress="zstd", predictor=2, **TILED),
        "jpeg-ycbcr": partial(raster, pixels=rgb, compress="jpeg", photometric="ycbcr", interleave="pixel", **TILED),
        "jpeg-bands": partial(raster, compress="jpeg", interleave="band", **TILED),
        "lerc": partial(raster, pixels=bands(dtype="float32"), compress="lerc", **TILED),
        "webp": partial(raster, pixels=rgb, compress="webp", webp_lossless=True, **TILED),
        "float-nodata": partial(holey, compress="deflate", predictor=3, **TILED),
        "uint8-nodata": partial(raster, nodata=62, compress="packbits", **TILED),
        "mask": partial(masked, compress="deflate", **TILED),
        "alpha": partial(raster, pixels=bands(4), photometric="rgb", alpha="yes", compress="lzw", **TILED),
        "overviews": partial(overviews, compress="deflate", **TILED),
        "bigtiff": partial(raster, bigtiff="yes", compress="deflate", **TILED),
        "big-endian": partial(raster, endianness="big", compress="lzw", **TILED),
        "cog": partial(cog, compress="deflate"),
        "cog-jpeg": partial(cog, compress="jpeg"),
        "geographic": partial(raster, crs="EPSG:4326", transform=from_origin(12, 47, 1e-4, 1e-4), **TILED),
    }


def slides() -> dict[str, Make]:
    """Whole-slide images."""
    return {
        "aperio.svs": partial(slide, description=APERIO),
        "aperio-jp2.svs": partial(slide, description=APERIO, levels=1, compression="APERIO_JP2000_RGB"),
        "generic.tif": partial(slide, description=None, levels=3),
        "generic-lzw.tif": partial(slide, description=None, compression="lzw"),
        "generic-big.tif": partial(slide, description=None, bigtiff=True),
    }


def pictures() -> dict[str, Make]:
    """Without a place on Earth."""
    plain: dict[str, Any] = {"pixels": bands(3), "crs": None, "transform": None}
    return {
        "photo.jpg": partial(raster, driver="JPEG", quality=90, **plain),
        "progressive.jpg": partial(raster, driver="JPEG", progressive="on", **plain),
        "drawing.png": partial(raster, driver="PNG", **plain),
        "paper.jp2": partial(raster, driver="JP2OpenJPEG", reversible="yes", quality=100, **plain),
    }


def packages() -> dict[str, Make]:
    """GeoPackages with a raster."""
    return {
        "png.gpkg": partial(raster, pixels=bands(3), driver="GPKG", tile_format="PNG", blockxsize=64, blockysize=64),
        "jpeg.gpkg": partial(raster, pixels=bands(3), driver="GPKG", tile_format="JPEG", blockxsize=64, blockysize=64),
        "elevation.gpkg": partial(raster, pixels=bands(1, "uint16") * 9, driver="GPKG", blockxsize=64, blockysize=64),
    }


def all_seeds(folder: Path) -> dict[str, list[Seed]]:
    """Every seed file by kind, made in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "tiff": [Seed(name, make(folder / f"{name}.tif"), WATER) for name, make in tiffs().items()],
        "slide": [Seed(name, make(folder / name), TISSUE) for name, make in slides().items()],
        "picture": [Seed(name, make(folder / name), BARE) for name, make in pictures().items()],
        "package": [Seed(name, make(folder / name), _package(name)) for name, make in packages().items()],
        "vrt": list(_vrts(folder)),
        "sidecar": list(_sidecars(folder)),
    }


def _package(name: str) -> tuple[str, ...]:
    return options("water", 32, "--bands=green=1,nir=1") if name.startswith("elevation") else WATER


def _vrts(folder: Path) -> Iterator[Seed]:
    part = raster(folder / "part.tif", compress="deflate", **TILED)
    path = folder / "scene.vrt"
    path.write_text(VRT)
    yield Seed("vrt", path, WATER, beside=(part,))
    yield Seed("vrt-part", path, WATER, beside=(part,), target=part)


def _sidecars(folder: Path) -> Iterator[Seed]:
    """The files GDAL keeps beside an image."""
    path = overviews(folder / "outer.tif", external=True, **TILED)
    ovr = path.with_name(f"{path.name}.ovr")
    yield Seed("ovr", path, WATER, beside=(ovr,), target=ovr)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        path = raster(folder / "hidden.tif", compress="deflate", **TILED)
        with rasterio.open(path, "r+") as file:
            file.write_mask(np.where(np.arange(SHAPE[1]) < 30, 0, 255).astype("uint8")[None].repeat(SHAPE[0], 0))
    msk = path.with_name(f"{path.name}.msk")
    yield Seed("msk", path, WATER, beside=(msk,), target=msk)
    path = raster(folder / "told.tif", compress="deflate", **TILED)
    aux = path.with_name(f"{path.name}.aux.xml")
    aux.write_text(
        "<PAMDataset><GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        '<PAMRasterBand band="1"><NoDataValue>61</NoDataValue><Metadata><MDI key="a">b</MDI></Metadata>'
        "</PAMRasterBand></PAMDataset>"
    )
    yield Seed("aux", path, WATER, beside=(aux,), target=aux)


RECIPE = """name = "ponds"
[tile]
size_px = 32
halo_px = 0
batch = 4
[screen]
max_nodata = 1.0
min_tissue = 0.0
[gate]
model = "ndwi"
threshold = 0.0
ring = 1
downsample = 4.0
positive = ["water"]
[audit]
tiles = 0
[segment]
model = "ndwi"
cut = 0.0
[area]
unit = "ha"
[store]
pixels = true
"""


def bundle(folder: Path) -> Path:
    """A copy of the bundled gate."""
    shutil.copytree(HOUSE / "classifiers/bundles/forest-gate", folder)
    return folder
