"""Ways to break a file: pure functions (bytes, random) -> bytes. The same random gives the same bytes."""

from __future__ import annotations

import json
import re
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from fuzz_tiff import TIFF_MUTATIONS

Mutation = Callable[[bytes, Random], bytes]
HEADER = 512


def flip(data: bytes, rng: Random, count: int, end: int | None = None) -> bytes:
    """Some bits before `end` inverted."""
    out = bytearray(data)
    for _ in range(count if out else 0):
        out[rng.randrange(min(end or len(out), len(out)))] ^= 1 << rng.randrange(8)
    return bytes(out)


def flip_one(data: bytes, rng: Random) -> bytes:
    return flip(data, rng, 1)


def flip_few(data: bytes, rng: Random) -> bytes:
    return flip(data, rng, rng.randint(2, 12))


def flip_many(data: bytes, rng: Random) -> bytes:
    return flip(data, rng, max(20, len(data) // 50))


def flip_header(data: bytes, rng: Random) -> bytes:
    return flip(data, rng, rng.randint(1, 6), HEADER)


def flip_tail(data: bytes, rng: Random) -> bytes:
    return flip(data[::-1], rng, rng.randint(1, 6), HEADER)[::-1]


def cut_end(data: bytes, rng: Random) -> bytes:
    """Anything from the last byte to all but the first."""
    keep = rng.choice((len(data) - 1, len(data) - rng.randint(1, 64), rng.randrange(1, len(data)), rng.randint(1, 64)))
    return data[: max(1, keep)]


def cut_start(data: bytes, rng: Random) -> bytes:
    return data[rng.choice((1, 2, rng.randrange(1, len(data)))) :] or b"\0"


def cut_middle(data: bytes, rng: Random) -> bytes:
    start, stop = _range(data, rng)
    return data[:start] + data[stop:] or b"\0"


def zero_range(data: bytes, rng: Random) -> bytes:
    start, stop = _range(data, rng)
    return data[:start] + bytes(stop - start) + data[stop:]


def ones_range(data: bytes, rng: Random) -> bytes:
    start, stop = _range(data, rng)
    return data[:start] + b"\xff" * (stop - start) + data[stop:]


def random_range(data: bytes, rng: Random) -> bytes:
    start, stop = _range(data, rng)
    return data[:start] + rng.randbytes(stop - start) + data[stop:]


def duplicate_range(data: bytes, rng: Random) -> bytes:
    start, stop = _range(data, rng)
    return data[:stop] + data[start:stop] * rng.randint(1, 4) + data[stop:]


def insert_bytes(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 2, 3, 4, 64))) + data[at:]


def append_bytes(data: bytes, rng: Random) -> bytes:
    return data + rng.randbytes(rng.choice((1, 512, 70_000)))


def swap_blocks(data: bytes, rng: Random) -> bytes:
    """Two ranges of the same length change places, as on a disk that mixed them up."""
    size = max(1, min(rng.choice((4, 16, 512, 4096)), len(data) // 3))
    a = rng.randrange(max(1, len(data) - 2 * size))
    b = rng.randrange(a + size, max(a + size + 1, len(data) - size + 1))
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def huge_number(data: bytes, rng: Random) -> bytes:
    """A number anywhere becomes the largest, the smallest or nothing."""
    number = rng.choice((b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0" * 4, b"\0\0\0\x80", b"\xff" * 8))
    at = 4 * rng.randrange(max(1, min(len(data), rng.choice((HEADER, len(data)))) // 4))
    return (data[:at] + number + data[at + len(number) :])[: max(len(data), at + len(number))]


def nothing(data: bytes, rng: Random) -> bytes:
    """Empty, or zeros of the same length."""
    return rng.choice((b"", bytes(len(data))))


def _range(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    longest = rng.choice((4, 64, 1024, len(data)))
    return start, min(len(data), start + rng.randint(1, max(1, longest)))


BYTES: tuple[Mutation, ...] = (
    flip_one,
    flip_few,
    flip_header,
    cut_end,
    zero_range,
    random_range,
    huge_number,
    swap_blocks,
    flip_many,
    flip_tail,
    cut_middle,
    duplicate_range,
    insert_bytes,
    ones_range,
    cut_start,
    append_bytes,
    nothing,
)

# ---- JPEG, PNG, JPEG 2000


def jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, start of its content, length) up to the first scan."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], at + 4, length - 2))
        if data[at + 1] == 0xDA:
            break
        at += 2 + length
    return found


def jpeg_size(data: bytes, rng: Random) -> bytes:
    """The frame declares another size, precision or number of components."""
    return _in_segment(data, rng, {0xC0, 0xC1, 0xC2}, 6)


def jpeg_tables(data: bytes, rng: Random) -> bytes:
    """Quantisation, Huffman tables or scan headers are wrong."""
    return _in_segment(data, rng, {0xDB, 0xC4, 0xDA}, 64)


def jpeg_lengths(data: bytes, rng: Random) -> bytes:
    """A segment says it is of another length."""
    marks = jpeg_segments(data)
    if not marks:
        return flip_few(data, rng)
    _, at, _ = rng.choice(marks)
    return data[: at - 2] + rng.choice((b"\0\0", b"\0\1", b"\xff\xff", b"\0\3")) + data[at:]


def jpeg_scan(data: bytes, rng: Random) -> bytes:
    """Bits of the coded pixels, or an end of image in the middle of them."""
    marks = jpeg_segments(data)
    start = marks[-1][1] + marks[-1][2] if marks else 0
    if start >= len(data) - 4:
        return flip_few(data, rng)
    at = rng.randrange(start, len(data) - 2)
    if rng.random() < 0.5:
        return data[:at] + rng.choice((b"\xff\xd9", b"\xff\xd0", b"\xff\xda", b"\xff\xc4")) + data[at + 2 :]
    return data[:start] + flip(data[start:], rng, 3)


def _in_segment(data: bytes, rng: Random, markers: set[int], most: int) -> bytes:
    marks = [mark for mark in jpeg_segments(data) if mark[0] in markers and mark[2] > 0]
    if not marks:
        return flip_few(data, rng)
    _, at, length = rng.choice(marks)
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = at + rng.randrange(min(length, most))
        if place < len(out):
            out[place] = rng.choice((0, 1, 255, 127, rng.randrange(256)))
    return bytes(out)


def png_header(data: bytes, rng: Random) -> bytes:
    """IHDR with another size, depth or colour, and a checksum that fits."""
    out = bytearray(data)
    if rng.random() < 0.6:
        place = 16 + 4 * rng.randrange(2)
        out[place : place + 4] = rng.choice((0, 1, 81, 2**16 - 1, 2**31 - 1, 2**32 - 1)).to_bytes(4, "big")
    else:
        out[24 + rng.randrange(5)] = rng.choice((0, 1, 2, 3, 4, 6, 16, 255))
    out[29:33] = zlib.crc32(bytes(out[12:29])).to_bytes(4, "big")
    return bytes(out)


def png_chunk(data: bytes, rng: Random) -> bytes:
    """One chunk's content is flipped, dropped or doubled; its checksum fits."""
    chunks = list(_png_chunks(data))
    if len(chunks) < 2:
        return flip_few(data, rng)
    number = rng.randrange(1, len(chunks))
    kind, content = chunks[number]
    how = rng.randrange(3)
    new = [(kind, flip(content, rng, 4))] if how == 0 else [] if how == 1 else [(kind, content)] * 2
    whole = chunks[:number] + new + chunks[number + 1 :]
    parts = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in whole)
    return data[:8] + b"".join(parts)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def jp2_header(data: bytes, rng: Random) -> bytes:
    """A number of the codestream's SIZ, COD or QCD segment, or the length of a box."""
    marks = [mark for mark in (b"\xff\x51", b"\xff\x52", b"\xff\x5c", b"jp2h", b"ihdr", b"jp2c") if mark in data]
    if not marks:
        return flip_few(data, rng)
    mark = rng.choice(marks)
    place = data.index(mark) + (len(mark) if len(mark) == 2 else rng.choice((-4, 4)))
    place += rng.randrange(0, 40, 2) if len(mark) == 2 else 0
    number = rng.choice((b"\0\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff"))
    return data[:place] + number + data[place + 4 :]


JPEG: tuple[Mutation, ...] = (jpeg_size, jpeg_scan, jpeg_tables, jpeg_lengths, jpeg_scan)
PNG: tuple[Mutation, ...] = (png_header, png_chunk, png_header, png_chunk)
JP2: tuple[Mutation, ...] = (jp2_header, jp2_header, jp2_header)

# ---- SQLite

ABSURD_SQL = ("0", "-1", "1", "2147483647", "9223372036854775807", "1e308", "-1e308", "NULL", "'x'", "x'00'", "0.5")


def sql_value(data: bytes, rng: Random) -> bytes:
    """One column of one of a GeoPackage's tables is absurd; SQLite itself is content."""
    with sqlite3.connect(":memory:") as base:
        base.deserialize(data)
        base.execute("PRAGMA ignore_check_constraints = 1")
        tables = [row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        wanted = [name for name in tables if name.startswith("gpkg") and "extension" not in name] or tables
        table = rng.choice(wanted)
        column = rng.choice([row[1] for row in base.execute(f'PRAGMA table_info("{table}")')])
        _try(base, f'UPDATE OR IGNORE "{table}" SET "{column}" = {rng.choice(ABSURD_SQL)}')
        return bytes(base.serialize())


def sql_tile(data: bytes, rng: Random) -> bytes:
    """A tile's bytes are broken in a package that is whole."""
    with sqlite3.connect(":memory:") as base:
        base.deserialize(data)
        [table] = base.execute("SELECT table_name FROM gpkg_contents").fetchone() or ("",)
        rows = base.execute(f'SELECT id, tile_data FROM "{table}"').fetchall()
        number, blob = rng.choice(rows)
        broken = rng.choice((flip_few, cut_end, zero_range, png_header, jpeg_size, jpeg_scan, nothing))(blob, rng)
        base.execute(f'UPDATE "{table}" SET tile_data = ? WHERE id = ?', (broken, number))
        return bytes(base.serialize())


def sql_drop(data: bytes, rng: Random) -> bytes:
    """A table, its rows or its order is gone."""
    with sqlite3.connect(":memory:") as base:
        base.deserialize(data)
        tables = [row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = rng.choice([name for name in tables if not name.startswith("sqlite_")])
        _try(base, rng.choice((f'DROP TABLE "{table}"', f'DELETE FROM "{table}"')))
        return bytes(base.serialize())


def _try(base: sqlite3.Connection, command: str) -> None:
    try:
        base.execute(command)
    except sqlite3.Error:
        base.rollback()


SQLITE: tuple[Mutation, ...] = (sql_value, sql_tile, sql_value, sql_tile, sql_drop)

# ---- text: VRT, TOML, JSON

ABSURD_WORDS = (
    "0",
    "-1",
    "1e308",
    "-1e-308",
    "nan",
    "inf",
    "-inf",
    "2147483647",
    "2147483648",
    "9223372036854775808",
    "9" * 400,
    "9" * 5000,
    "",
    "true",
    '"x"',
    '"../../../../etc/passwd"',
    '"/dev/zero"',
    '"http://localhost:9/x"',
    '"\\u0000"',
    '"' + "a" * 70_000 + '"',
    "[]",
    "[[" * 3000,
    "{}",
    "{a={a={a={}}}}",
    "1979-05-27T07:32:00Z",
    "0x7fffffffffffffff",
    "\x00",
    "\x1b[2J",
    "1_000_000_000_000",
    "1e-320",
    "\N{SNOWMAN}",
    '"\ud83d"',
)


def toml_value(data: bytes, rng: Random) -> bytes:
    """One value becomes something absurd."""
    lines = data.decode().splitlines()
    number = rng.choice([i for i, line in enumerate(lines) if "=" in line])
    lines[number] = f"{lines[number].partition('=')[0]}= {rng.choice(ABSURD_WORDS)}"
    return "\n".join(lines).encode(errors="surrogatepass")


def toml_line(data: bytes, rng: Random) -> bytes:
    """A line is dropped, doubled, moved or added."""
    lines = data.decode().splitlines()
    number = rng.randrange(len(lines))
    how = rng.randrange(4)
    if how == 0:
        del lines[number]
    elif how == 1:
        lines.insert(number, lines[number])
    elif how == 2:
        lines.append(lines.pop(number))
    else:
        added = ("[tile.more]", "[[gate]]", "unknown = 1", "[a" + ".a" * 2000 + "]", "x = " + "[" * 2000, "[gate]", "=")
        lines.insert(number, rng.choice((*added, "'''", "\x00\x07", "tile = 3", "x = " + "{a=" * 1500, '"" = 1')))
    return "\n".join(lines).encode()


def toml_model(data: bytes, rng: Random) -> bytes:
    """Another model, most of them none."""
    names = (
        "tissue",
        "ndvi",
        "dab",
        "../../../../etc/passwd",
        "/etc",
        "/dev/null",
        ".",
        "~",
        "~nobody/x",
        "./x",
        "ndwi ",
    )
    more = (
        "NDWI",
        "",
        "\\u0000",
        "/" + "a" * 5000,
        "hf-hub:x/y",
        "http://localhost:9/x",
        "forest-unet-x",
        "a\\nb",
        "//",
    )
    return re.sub(rb'model = "\w+"', f'model = "{rng.choice((*names, *more))}"'.encode().replace(b"\\", b"\\\\"), data)


TOML: tuple[Mutation, ...] = (toml_value, toml_value, toml_line, toml_value, toml_model, flip_few, toml_line, cut_end)


def xml_value(data: bytes, rng: Random) -> bytes:
    """A number or name between quotes or tags is absurd."""
    places = list(re.finditer(rb'(?<=")[^"<>]+(?=")|(?<=>)[^<>]+(?=<)', data))
    place = rng.choice(places)
    words = (
        b"0",
        b"-1",
        b"1e308",
        b"nan",
        b"2147483647",
        b"99999999999999999999",
        b"",
        b"a" * 70_000,
        b"&#0;",
        b"\x01",
    )
    names = (
        b"scene.vrt",
        b"/etc/passwd",
        b"/dev/null",
        b"../..",
        b"Float64",
        b"CFloat32",
        b"60000",
        b"part.tif,0",
        b"1,2",
    )
    return data[: place.start()] + rng.choice((*words, *names)) + data[place.end() :]


def xml_tags(data: bytes, rng: Random) -> bytes:
    """A tag is doubled, dropped, unclosed or nested without end."""
    places = list(re.finditer(rb"<[^>]+>", data))
    place = rng.choice(places)
    new = rng.choice((b"", place[0] * 2, place[0] * 5000, b"<!DOCTYPE a [<!ENTITY b 'c'>]>&b;", place[0][:-1], b"<!--"))
    return data[: place.start()] + new + data[place.end() :]


VRT: tuple[Mutation, ...] = (xml_value, xml_value, xml_tags, xml_value, flip_few, cut_end)

ABSURD_JSON: tuple[Any, ...] = (
    None,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**400,
    1e308,
    0.5,
    float("nan"),
    float("inf"),
    True,
    "",
    "x",
    "nan",
    "\0",
    "../../../../etc/passwd",
    "a" * 70_000,
    [],
    {},
    [[]],
    [1, 2, 3],
    {"a": 1},
    [0, 0],
    [2**40, 2**40],
)


def json_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:8]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from json_paths(inner, (*path, key))


def json_value(data: bytes, rng: Random) -> bytes:
    """One value becomes absurd, whatever its depth."""
    return _at_random_path(data, rng, lambda place, key: place.__setitem__(key, rng.choice(ABSURD_JSON)))


def json_drop(data: bytes, rng: Random) -> bytes:
    """One key or item is gone."""
    return _at_random_path(data, rng, lambda place, key: place.__delitem__(key))


def json_add(data: bytes, rng: Random) -> bytes:
    """An unknown key, or an item twice."""

    def add(place: Any, key: Any) -> None:
        if isinstance(place, dict):
            place[f"{key}x"] = place[key]
        else:
            place.append(place[key])

    return _at_random_path(data, rng, add)


def json_number(data: bytes, rng: Random) -> bytes:
    """One digit of the text is another: still JSON, mostly."""
    digits = [found.start() for found in re.finditer(rb"\d", data)]
    at = rng.choice(digits)
    return data[:at] + str(rng.randrange(10)).encode() + data[at + 1 :]


def json_text(data: bytes, rng: Random) -> bytes:
    """Not JSON, too deep, twice, or not UTF-8."""
    deep = rng.choice((b"[" * 100_000, b'{"a":' * 50_000))
    words = (
        deep,
        data + data,
        b"null",
        b"[]",
        b"3",
        b'""',
        b"\xff\xfe",
        data[: len(data) // 2],
        b"\xef\xbb\xbf" + data,
    )
    return rng.choice((*words, data.replace(b":", b"", 1), b"9" * 5000, b"{" + b'"a":1,' * 3, b"NaN"))


def _at_random_path(data: bytes, rng: Random, change: Callable[[Any, Any], None]) -> bytes:
    try:
        plain = json.loads(data)
    except ValueError:
        return flip_few(data, rng)
    paths = list(json_paths(plain))
    if not paths:
        return flip_few(data, rng)
    # shallow places are few and matter most
    depth = rng.choice(sorted({len(path) for path in paths}))
    *parents, last = rng.choice([path for path in paths if len(path) == depth])
    place = plain
    for parent in parents:
        place = place[parent]
    change(place, last)
    return json.dumps(plain).encode()


JSON: tuple[Mutation, ...] = (json_value, json_value, json_drop, json_number, json_text, json_value, json_add, cut_end)

# ---- safetensors, Parquet


def tensors_header(data: bytes, rng: Random) -> bytes:
    """The length of the header, or a shape, an offset or a type in it."""
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    if rng.random() < 0.3:
        lengths = (0, 1, length - 1, length + 1, len(data) - 8, len(data), 2**31, 2**63 - 1, 2**64 - 1)
        return rng.choice(lengths).to_bytes(8, "little") + data[8:]
    new = rng.choice((json_value, json_drop, json_number, json_text, json_number))(header, rng)
    return len(new).to_bytes(8, "little") + new + data[8 + length :]


def parquet_footer(data: bytes, rng: Random) -> bytes:
    """The footer's length, or bits of the footer."""
    length = int.from_bytes(data[-8:-4], "little")
    if rng.random() < 0.3:
        return data[:-8] + rng.choice((0, 1, length - 1, 2**31 - 1, 2**32 - 1)).to_bytes(4, "little") + data[-4:]
    start = max(0, len(data) - 8 - length)
    return data[:start] + flip(data[start:-8], rng, rng.randint(1, 4)) + data[-8:]


def parquet_pages(data: bytes, rng: Random) -> bytes:
    """Bits of the values."""
    end = max(8, len(data) - 8 - int.from_bytes(data[-8:-4], "little"))
    return data[:4] + flip(data[4:end], rng, rng.randint(1, 3)) + data[end:]


TENSORS: tuple[Mutation, ...] = (tensors_header, tensors_header, flip_header, cut_end, tensors_header, nothing)
PARQUET: tuple[Mutation, ...] = (parquet_pages, parquet_footer, flip_one, cut_end, parquet_pages, nothing, swap_blocks)


def mixed(special: Sequence[Mutation], every: int = 2) -> tuple[Mutation, ...]:
    """The special ones of a format and the general ones, in turn: `every` special ones for each general one."""
    out: list[Mutation] = []
    for number, general in enumerate(BYTES):
        out += [special[(number * every + i) % len(special)] for i in range(every)] + [general]
    return tuple(out)


def mutations_of(suffix: str) -> tuple[Mutation, ...]:
    """What to do to a file of that suffix, in the order to try."""
    by_suffix: dict[str, tuple[Mutation, ...]] = {
        ".tif": mixed(TIFF_MUTATIONS),
        ".svs": mixed(TIFF_MUTATIONS),
        ".ovr": mixed(TIFF_MUTATIONS),
        ".msk": mixed(TIFF_MUTATIONS),
        ".jpg": mixed(JPEG),
        ".png": mixed(PNG),
        ".jp2": mixed(JP2),
        ".gpkg": mixed(SQLITE, 3),
        ".vrt": VRT,
        ".xml": VRT,
        ".toml": TOML,
        ".json": mixed(JSON, 4),
        ".safetensors": mixed(TENSORS, 1),
        ".parquet": PARQUET,
    }
    return by_suffix.get(suffix, BYTES)


def mutate(data: bytes, suffix: str, number: int, salt: str) -> tuple[bytes, str]:
    """(broken bytes, name of what was done): the number chooses how, the salt where."""
    ways = mutations_of(suffix)
    way = ways[number % len(ways)]
    return way(data, Random(f"{salt}:{number}")), way.__name__
