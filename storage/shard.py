"""One file of an array in memory: a Zarr v3 shard, or a chunk where the layout has no shards. Pure.

A shard is its encoded chunks, then (offset, length) of each as uint64, then the CRC-32C of that index
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html). zarr itself can only encode a whole
canvas, or read and write the shard again for every chunk.

The codec, of those in the core of Zarr v3 that common readers have, is the cheapest where bytes are dear: time to
encode a chunk of 512 x 512 px plus 10 ns per byte that comes out, as a bucket or a hard disk of 100 MB/s takes it. What
is equal there is decided where bytes are cheap: 2.3 ns, sha256 (1.1 GB/s) and a write with fsync to a fast disk (0.7).
One core, MB/s of pixels and share of their size; then seconds per GB of pixels, dear and cheap:

                        zstd 1          lz4             lz4, shuffled bits   none
    slides, 8 bit       350  .35-.49     550-1600 .55    600-1000  .48-.57    3000+  1
    rasters, 8 bit      450+ .77-.93    2000+ .97-1      830-2000  .83-.99    3000+  1
    rasters, 16 bit     680+ .53-.78    2300+ .77-1     1200-1600  .49-.68    3000+  1
    masks              1100+ .01-.03    2000+ .03-.10    1400+     .03-.08    3000+  1
    pixels, s/GB       8.4   3.4        9.0   2.6        7.9       2.6        10.1   2.5
    masks, s/GB        0.9   0.7        0.9   0.45       1.0       0.6        10.1   2.4

So lz4, with shuffled bits for pixels and without for masks. zstd 3 and blosc's zstd save 0-10 % of the bytes of zstd 1
at a third to a half of its speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import google_crc32c
import numcodecs.blosc  # type: ignore[import-untyped]
import numpy as np
from numcodecs.blosc import BITSHUFFLE, NOSHUFFLE, Blosc
from numpy.typing import NDArray

from storage.layout import ArrayLayout
from storage.threads import threads

# its threads write their blocks in the order in which they finish: other bytes each time
numcodecs.blosc.use_threads = False

CODEC: Literal["lz4"] = "lz4"
LEVEL = 5
SHUFFLES = {"noshuffle": NOSHUFFLE, "bitshuffle": BITSHUFFLE}
MISSING = 2**64 - 1
"""Offset and length of a chunk that is all background."""


def encode(layout: ArrayLayout, tiles: Mapping[tuple[int, int], NDArray[Any] | bytes]) -> bytes:
    """The file of one batch, the same bytes in whatever order its tiles come; b"" when all of it is background.

    tiles: {(row, col) within the batch: (band, h, w) or (y, x) core, or what `chunk` made of it}; what is not there is
    0, and so is what an edge tile lacks. Raises ValueError for a tile that is not of this layout.
    """
    for place in tiles:
        if min(place) < 0 or max(place) >= layout.batch_tiles:
            side = layout.batch_tiles
            raise ValueError(f"{layout.name}: no tile of a batch of {side} x {side} lies at {place}")
    ordered = {place: tiles[place] for place in sorted(tiles)}
    return _canvas(layout, ordered) if layout.shards is None else _shard(layout, ordered)


def chunk(layout: ArrayLayout, core: NDArray[Any] | bytes) -> bytes:
    """One tile of a layout with shards, encoded unless it is already; b"" when all of it is background. Raises ValueError."""
    if isinstance(core, bytes):
        return core
    return _encoded(layout, _padded(core, layout.chunks)) if _holds(_fits(layout, core)) else b""


def decode(layout: ArrayLayout, shard: bytes, places: Iterable[tuple[int, int]]) -> Iterator[NDArray[Any]]:
    """The chunks of a layout with shards at some places, whole tiles; zarr takes ten times as long for single ones.

    Raises ValueError for bytes that are no shard of this layout, or one without a chunk there.
    """
    many = layout.batch_tiles
    table, crc = shard[-16 * many * many - 4 : -4], shard[-4:]
    if len(table) != 16 * many * many or google_crc32c.value(table).to_bytes(4, "little") != crc:
        raise ValueError(f"{layout.name}: no shard of {many} x {many} tiles, or a damaged one")
    index = np.frombuffer(table, "<u8").reshape(many, many, 2)
    little = np.dtype(layout.dtype).newbyteorder("<")
    for place in places:
        offset, length = index[place].tolist()
        if offset == MISSING:
            raise ValueError(f"{layout.name}: the shard holds no chunk at {place}")
        try:
            values = numcodecs.blosc.decompress(shard[offset : offset + length])
        except RuntimeError as error:
            raise ValueError(f"{layout.name}: the chunk at {place} is damaged") from error
        yield np.frombuffer(values, little).reshape(layout.chunks)


def _fits(layout: ArrayLayout, core: NDArray[Any]) -> NDArray[Any]:
    """The core of a tile that belongs here."""
    tile = (*layout.chunks[:-2], layout.tile_px, layout.tile_px)
    small = core.shape[:-2] == tile[:-2] and core.ndim == len(tile) and max(core.shape[-2:]) <= layout.tile_px
    if not (small and core.dtype.newbyteorder("=") == np.dtype(layout.dtype)):
        raise ValueError(f"{layout.name}: no tile of {tile} {layout.dtype}: {core.shape} {core.dtype}")
    return core


def _holds(core: NDArray[Any]) -> bool:
    """Whether it is more than background; its first row nearly always tells."""
    return bool(core[..., 0, :].any() or core.any())


def _shard(layout: ArrayLayout, tiles: Mapping[tuple[int, int], NDArray[Any] | bytes]) -> bytes:
    chunks = list(threads().map(lambda core: chunk(layout, core), tiles.values()))
    index = np.full((layout.batch_tiles, layout.batch_tiles, 2), MISSING, "<u8")
    offset = 0
    for place, part in zip(tiles, chunks, strict=True):
        if part:
            index[place] = offset, len(part)
            offset += len(part)
    table = index.tobytes()
    return b"".join([*chunks, table, google_crc32c.value(table).to_bytes(4, "little")]) if offset else b""


def _canvas(layout: ArrayLayout, tiles: Mapping[tuple[int, int], NDArray[Any] | bytes]) -> bytes:
    """All tiles in one chunk."""
    canvas, side = np.zeros(layout.chunks, layout.dtype), layout.tile_px
    for (row, col), core in tiles.items():
        height, width = _fits(layout, np.asarray(core)).shape[-2:]
        canvas[..., row * side : row * side + height, col * side : col * side + width] = core
    return _encoded(layout, canvas) if canvas.any() else b""


def _padded(core: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A whole chunk; copied only when it is none."""
    if core.shape == shape:
        return core
    whole = np.zeros(shape, core.dtype)
    whole[..., : core.shape[-2], : core.shape[-1]] = core
    return whole


def _encoded(layout: ArrayLayout, values: NDArray[Any]) -> bytes:
    """Codecs bytes (little-endian) and blosc; other threads run meanwhile."""
    little = np.dtype(layout.dtype).newbyteorder("<")
    codec = Blosc(CODEC, LEVEL, SHUFFLES[layout.shuffle], typesize=little.itemsize)
    return bytes(codec.encode(np.ascontiguousarray(values, little)))
