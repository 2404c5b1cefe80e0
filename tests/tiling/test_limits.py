"""A few bytes can claim anything: what they claim is refused in words, at once, and never allocated."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tiling.errors import BadInput
from tiling.open import open_source
from tiling.source import MAX_BLOCK_BYTES, SourceSpec

MakeRaster = Callable[..., Path]
MakeSlide = Callable[..., Path]
RGB = np.full((256, 256, 3), (190, 80, 140), np.uint8)


def refusal(path: Path, **spec: Any) -> str:
    """What is said when the file is opened."""
    with pytest.raises(BadInput) as caught:
        open_source(SourceSpec(uris=(str(path),), **spec))
    assert str(path) in str(caught.value)
    return str(caught.value)


def sparse(path: Path, side: int, block: int, **profile: Any) -> Path:
    """A GeoTIFF without any stored block."""
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), "sparse_ok": True}
    tiles = {"tiled": True, "blockxsize": block, "blockysize": block, "height": side, "width": side}
    with rasterio.open(path, "w", driver="GTiff", **place, **tiles, **{"count": 1, "dtype": "uint8", **profile}):
        pass
    return path


@pytest.mark.parametrize(
    ("block", "profile", "gib"),
    [
        (32768, {"dtype": "uint16"}, 2),
        (16384, {"dtype": "uint8", "count": 8, "interleave": "pixel"}, 2),
        (16384, {"dtype": "float64", "count": 2, "interleave": "band"}, 2),
    ],
)
def test_blocks_that_decode_to_more_than_the_limit_are_refused(
    tmp_path: Path, block: int, profile: dict[str, Any], gib: int
) -> None:
    path = sparse(tmp_path / "bomb.tif", 40_000, block, **profile)
    assert path.stat().st_size < 10_000
    said = refusal(path)
    assert f"{block:,} x {block:,} px, {gib} GiB" in said
    assert "gdal_translate -of COG" in said


def test_blocks_at_the_limit_are_taken(tmp_path: Path) -> None:
    path = sparse(tmp_path / "large.tif", 40_000, 16384, count=2, interleave="pixel")
    assert MAX_BLOCK_BYTES == 2 * 16384**2
    open_source(SourceSpec(uris=(str(path),))).close()


def retagged(path: Path, **tags: int) -> Path:
    """The TIFF with other values for some tags, each as one number of 32 bits."""
    names = {"width": 256, "height": 257, "tile_width": 322, "tile_height": 323}
    raw = bytearray(path.read_bytes())
    for place in entries(raw):
        for name, value in tags.items():
            if struct.unpack_from("<H", raw, place)[0] == names[name]:
                raw[place : place + 12] = struct.pack("<HHII", names[name], 4, 1, value)
    path.write_bytes(raw)
    return path


def entries(raw: bytearray) -> list[int]:
    """Where the tags of the first page are."""
    (first,) = struct.unpack_from("<I", raw, 4)
    (count,) = struct.unpack_from("<H", raw, first)
    return [first + 2 + 12 * i for i in range(count)]


def test_a_slide_in_giant_tiles_is_refused(tiny_slide: MakeSlide) -> None:
    path = retagged(tiny_slide(RGB, compression="jpeg"), tile_width=65536, tile_height=65536)
    assert "65,536 x 65,536 px, 16 GiB" in refusal(path)


def test_a_slide_larger_than_its_tiles_is_refused(tiny_slide: MakeSlide) -> None:
    path = retagged(tiny_slide(RGB, compression="jpeg"), width=300_000, height=200_000)
    said = refusal(path)
    assert "200,000 x 300,000 px" in said
    assert "holds at most 16" in said


def absurd(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """(what is wrong, the file): each tag with each absurd value, and the list of pages broken."""
    places = entries(bytearray(raw))
    for place in places:
        tag, kind, count, value = struct.unpack_from("<HHII", raw, place)
        for name, broken in {
            "count 0": (tag, kind, 0, value),
            "count max": (tag, kind, 2**32 - 1, value),
            "count 1e8": (tag, kind, 10**8, value),
            "value 0": (tag, kind, count, 0),
            "value max": (tag, kind, count, 2**32 - 1),
            "value 2^31": (tag, kind, count, 2**31 - 1),
            "value 60000": (tag, kind, count, 60_000),
            "kind 99": (tag, 99, count, value),
            "kind double": (tag, 12, count, value),
        }.items():
            yield f"{tag} {name}", raw[:place] + struct.pack("<HHII", *broken) + raw[place + 12 :]
        if kind == 5:  # a rational, such as the resolution
            for name, pair in {"inf": (1, 0), "nan": (0, 0), "tiny": (1, 2**32 - 1), "huge": (2**32 - 1, 1)}.items():
                yield f"{tag} {name}", raw[:value] + struct.pack("<II", *pair) + raw[value + 8 :]
    (first,) = struct.unpack_from("<I", raw, 4)
    behind = places[-1] + 12
    yield "a page after itself", raw[:behind] + struct.pack("<I", first) + raw[behind + 4 :]
    yield "65535 tags", raw[:first] + b"\xff\xff" + raw[first + 2 :]
    yield "no page", raw[:4] + struct.pack("<I", len(raw) + 100) + raw[8:]


@pytest.mark.parametrize("kind", ["generic slide", "aperio slide", "raster"])
def test_no_tag_whatever_it_says_costs_more_than_a_refusal(
    tiny_slide: MakeSlide, tiny_raster: MakeRaster, tmp_path: Path, kind: str
) -> None:
    """In a process of its own: GLib and libtiff may end theirs."""
    if kind == "raster":
        path = tiny_raster(RGB.transpose(2, 0, 1)[:2], compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    else:
        text = {"description": "Aperio Image Library v1\n256x256|MPP = 0.5|AppMag = 20"} if "aperio" in kind else {}
        path = tiny_slide(RGB, compression="jpeg", **text)
    files = dict(absurd(path.read_bytes()))
    assert len(files) > 100
    names = {}
    for number, (what, raw) in enumerate(files.items()):
        broken = tmp_path / f"{number}.tif"
        broken.write_bytes(raw)
        names[str(broken)] = what
    script = Path(__file__).with_name("open_each.py")
    done = subprocess.run([sys.executable, script, *names], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["peak_mb"] < 1000
    for broken, (result, seconds) in told["results"].items():
        assert result == "read" or broken in result, (names[broken], result)
        assert seconds < 10, (names[broken], result)
    refused = sum(result.startswith("BadInput") for result, _ in told["results"].values())
    assert refused > len(files) / 3
