"""Breaking TIFFs where it hurts: a small walker over image file directories, classic and BigTIFF."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}
NUMBERS = (0, 1, 2, 3, 255, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True)
class Entry:
    """One tag of a directory."""

    at: int
    """Where its 12 (BigTIFF: 20) bytes start."""
    tag: int
    kind: int
    count: int
    values_at: int
    """Where its values start: in the entry itself if they fit."""

    @property
    def size(self) -> int:
        return SIZES.get(self.kind, 1) * self.count


@dataclass(frozen=True)
class Directory:
    """One image file directory."""

    at: int
    entries: tuple[Entry, ...]
    next_at: int
    """Where the offset of the next one is written."""


class Tiff:
    """A TIFF as far as it can be walked; its bytes are changed in place."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = len(data) > 16 and self._get("H", 2) == 43
        self.word, self.count_word, self.width = ("Q", "Q", 20) if self.big else ("I", "H", 12)
        self.inline = 8 if self.big else 4
        self.directories: list[Directory] = []
        at = self._get(self.word, 8 if self.big else 4) if len(data) > 16 else 0
        while at and at not in [d.at for d in self.directories] and (found := self._directory(at)):
            self.directories.append(found)
            at = self._get(self.word, found.next_at)

    def _get(self, code: str, at: int) -> int:
        size = struct.calcsize(self.order + code)
        if not 0 <= at <= len(self.data) - size:
            return 0
        return int(struct.unpack_from(self.order + code, self.data, at)[0])

    def _directory(self, at: int) -> Directory | None:
        count, first = self._get(self.count_word, at), at + (8 if self.big else 2)
        end = first + count * self.width
        if not 0 < count < 200 or end + self.inline > len(self.data):
            return None
        return Directory(at, tuple(self._entry(first + i * self.width) for i in range(count)), end)

    def _entry(self, at: int) -> Entry:
        tag, kind, count = self._get("H", at), self._get("H", at + 2), self._get(self.word, at + 4)
        values = at + (12 if self.big else 8)
        fits = SIZES.get(kind, 1) * count <= self.inline
        return Entry(at, tag, kind, count, values if fits else self._get(self.word, values))

    def put(self, code: str, at: int, number: float) -> None:
        """Write a number, cut to what fits."""
        if code in "fd":
            raw = struct.pack(self.order + code, number)
        else:
            size = struct.calcsize(self.order + code)
            raw = (int(number) % 2 ** (8 * size)).to_bytes(size, "little" if self.order == "<" else "big")
        if at + len(raw) <= len(self.data):
            self.data[at : at + len(raw)] = raw

    def set_value(self, entry: Entry, number: float, index: int = 0) -> None:
        """One value of a tag; a single SHORT is widened where the number needs it."""
        if entry.kind == 3 and entry.count == 1 and number > 65535:
            self.put("H", entry.at + 2, 4)
            self.put("I", entry.values_at, number)
            return
        code = FORMATS.get(entry.kind)
        if code:
            self.put(code, entry.values_at + index * SIZES[entry.kind], number)

    def find(self, tags: Sequence[int]) -> list[Entry]:
        """All entries with one of these tags."""
        return [entry for d in self.directories for entry in d.entries if entry.tag in tags]


def _on(tags: Sequence[int], numbers: Sequence[float]) -> Callable[[bytes, Random], bytes]:
    """A mutation that writes one of `numbers` into one of `tags`."""

    def change(data: bytes, rng: Random) -> bytes:
        tiff = Tiff(data)
        entries = tiff.find(tags)
        if not entries:
            return _any_entry(data, rng)
        entry = rng.choice(entries)
        for index in range(min(entry.count, 64)) if rng.random() < 0.4 else [rng.randrange(max(1, entry.count))]:
            tiff.set_value(entry, rng.choice(numbers), index)
        return bytes(tiff.data)

    return change


def _any_entry(data: bytes, rng: Random) -> bytes:
    tiff = Tiff(data)
    entries = [entry for d in tiff.directories for entry in d.entries]
    if not entries:
        out = bytearray(data or b"\0")
        out[rng.randrange(len(out))] ^= 255
        return bytes(out)
    entry = rng.choice(entries)
    tiff.set_value(entry, rng.choice(NUMBERS), rng.randrange(max(1, min(entry.count, 64))))
    return bytes(tiff.data)


def tiff_size(data: bytes, rng: Random) -> bytes:
    """Width, height or the sides of tiles and strips."""
    return _on((256, 257, 322, 323, 278), NUMBERS)(data, rng)


def tiff_format(data: bytes, rng: Random) -> bytes:
    """Bits, samples, compression, photometric, planar, predictor, sample format, extra samples, fill order."""
    odd = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 65535, 8, 32773, 34925, 50000, 34712, 50001, 34887, 32845, 33005)
    return _on((258, 277, 259, 262, 284, 317, 339, 338, 266, 530, 532), odd)(data, rng)


def tiff_offset(data: bytes, rng: Random) -> bytes:
    """Where tiles and strips lie: nowhere, behind the end, in the header, all in one place."""
    places = (0, 1, 8, len(data) - 1, len(data), len(data) + 5, 2**31, 2**32 - 1, 2**63, len(data) // 2)
    return _on((324, 273), places)(data, rng)


def tiff_bytes(data: bytes, rng: Random) -> bytes:
    """How many bytes tiles and strips take."""
    return _on((325, 279), (0, 1, 2, 7, len(data), 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63))(data, rng)


def tiff_place(data: bytes, rng: Random) -> bytes:
    """Pixel scale, tie points, transformation, geo keys and nodata."""
    doubles = (0.0, -10.0, float("nan"), float("inf"), 1e308, 5e-324, 1e-9, 1e9, 7.0)
    numbers = (0, 1, 2, 32767, 65535, 3857, 4326, 1025, 3072, 9001, 9102)
    if rng.random() < 0.5:
        return _on((33550, 33922, 34264, 34736), doubles)(data, rng)
    return _on((34735, 42113), numbers)(data, rng)


def tiff_count(data: bytes, rng: Random) -> bytes:
    """A tag declares another number of values."""

    def change(tiff: Tiff, entry: Entry) -> None:
        counts = (0, 1, entry.count + 1, entry.count - 1, 65536, 2**31 - 1, 2**32 - 1, 2**61)
        tiff.put(tiff.word, entry.at + 4, rng.choice(counts))

    return _entry_change(data, rng, change)


def tiff_type(data: bytes, rng: Random) -> bytes:
    """A tag's values are of another type."""
    return _entry_change(
        data,
        rng,
        lambda tiff, entry: tiff.put("H", entry.at + 2, rng.choice((0, 1, 2, 3, 4, 5, 7, 11, 12, 13, 16, 99))),
    )


def tiff_tag(data: bytes, rng: Random) -> bytes:
    """A tag becomes another one: two of a kind, none of another."""
    tags = (
        0,
        254,
        255,
        256,
        257,
        258,
        259,
        262,
        273,
        277,
        322,
        324,
        325,
        330,
        338,
        339,
        347,
        34665,
        33550,
        42112,
        65535,
    )
    return _entry_change(data, rng, lambda tiff, entry: tiff.put("H", entry.at, rng.choice(tags)))


def tiff_values_at(data: bytes, rng: Random) -> bytes:
    """A tag's values lie elsewhere."""
    places = (0, 4, 8, len(data) - 1, len(data), 2**31, 2**32 - 1)
    return _entry_change(
        data, rng, lambda tiff, entry: tiff.put(tiff.word, entry.at + (12 if tiff.big else 8), rng.choice(places))
    )


def tiff_swap(data: bytes, rng: Random) -> bytes:
    """Two tags change places with all they hold."""

    def change(tiff: Tiff, entry: Entry) -> None:
        other = rng.choice([e for d in tiff.directories for e in d.entries])
        a, b = (bytes(tiff.data[e.at : e.at + tiff.width]) for e in (entry, other))
        tiff.data[entry.at : entry.at + tiff.width], tiff.data[other.at : other.at + tiff.width] = b, a

    return _entry_change(data, rng, change)


def tiff_content(data: bytes, rng: Random) -> bytes:
    """Bits of what a tag holds: descriptions, JPEG tables, arrays of offsets."""

    def change(tiff: Tiff, entry: Entry) -> None:
        for _ in range(rng.randint(1, 8)):
            at = entry.values_at + rng.randrange(max(1, min(entry.size, 4096)))
            if at < len(tiff.data):
                tiff.data[at] = rng.choice((0, 255, tiff.data[at] ^ (1 << rng.randrange(8)), rng.randrange(256)))

    return _entry_change(data, rng, change)


def tiff_cycle(data: bytes, rng: Random) -> bytes:
    """The next directory is this one, or an earlier one."""
    tiff = Tiff(data)
    if tiff.directories:
        tiff.put(tiff.word, rng.choice(tiff.directories).next_at, rng.choice(tiff.directories).at)
    return bytes(tiff.data)


def tiff_sub_cycle(data: bytes, rng: Random) -> bytes:
    """A tag becomes SubIFDs (or EXIF) and points at its own directory."""
    tiff = Tiff(data)
    if not tiff.directories:
        return _any_entry(data, rng)
    directory = rng.choice(tiff.directories)
    entry = rng.choice(directory.entries)
    tiff.put("H", entry.at, rng.choice((330, 330, 34665, 34853)))
    tiff.put("H", entry.at + 2, 18 if tiff.big else 13)
    tiff.put(tiff.word, entry.at + 4, rng.choice((1, 1, 1000)))
    tiff.put(tiff.word, entry.at + (12 if tiff.big else 8), directory.at)
    return bytes(tiff.data)


def tiff_directory(data: bytes, rng: Random) -> bytes:
    """The number of tags of a directory, or where the next one is."""
    tiff = Tiff(data)
    if not tiff.directories:
        return _any_entry(data, rng)
    directory = rng.choice(tiff.directories)
    if rng.random() < 0.5:
        tiff.put(tiff.count_word, directory.at, rng.choice((0, 1, 2, 4096, 65535, 2**40)))
    else:
        tiff.put(tiff.word, directory.next_at, rng.choice((1, 8, len(data) - 2, len(data), 2**32 - 1, 2**63)))
    return bytes(tiff.data)


def tiff_header(data: bytes, rng: Random) -> bytes:
    """Byte order, magic number, or where the first directory is."""
    tiff = Tiff(data)
    how = rng.randrange(3)
    if how == 0:
        tiff.data[:2] = b"MM" if data[:2] == b"II" else b"II"
    elif how == 1:
        tiff.put("H", 2, rng.choice((0, 42, 43, 85, 20306)))
    else:
        tiff.put(tiff.word, 8 if tiff.big else 4, rng.choice((0, 1, 4, len(data) - 1, len(data), 2**32 - 1)))
    return bytes(tiff.data)


def tiff_pixels(data: bytes, rng: Random) -> bytes:
    """Bits of coded pixels only: every header stays whole."""
    tiff = Tiff(data)
    offsets, sizes = tiff.find((324, 273)), tiff.find((325, 279))
    if not offsets or not sizes:
        return _any_entry(data, rng)
    number = rng.randrange(min(len(offsets), len(sizes)))
    index = rng.randrange(max(1, min(offsets[number].count, sizes[number].count)))
    start, size = (
        tiff._get(FORMATS.get(e.kind, "I"), e.values_at + index * SIZES.get(e.kind, 4))
        for e in (offsets[number], sizes[number])
    )
    how = rng.randrange(3)
    for _ in range(rng.randint(1, 5)):
        at = start + rng.randrange(max(1, size))
        if at < len(data):
            tiff.data[at] = tiff.data[at] ^ (1 << rng.randrange(8)) if how else rng.choice((0, 255))
    return bytes(tiff.data)


def _entry_change(data: bytes, rng: Random, change: Callable[[Tiff, Entry], None]) -> bytes:
    tiff = Tiff(data)
    entries = [entry for d in tiff.directories for entry in d.entries]
    if not entries:
        return _any_entry(data, rng)
    change(tiff, rng.choice(entries))
    return bytes(tiff.data)


TIFF_MUTATIONS = (
    tiff_size,
    tiff_format,
    tiff_offset,
    tiff_bytes,
    tiff_pixels,
    tiff_place,
    tiff_count,
    tiff_cycle,
    tiff_size,
    tiff_sub_cycle,
    tiff_type,
    tiff_values_at,
    tiff_pixels,
    tiff_content,
    tiff_tag,
    tiff_directory,
    tiff_format,
    tiff_header,
    tiff_swap,
)
