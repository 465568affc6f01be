"""Damage to pictures: of single bytes, and of what a format's reader believes in.

Every mutation is a function of (bytes, random) to bytes; what it draws from `random` is all that
decides, so that a seed repeats it and Hypothesis can shrink it.
"""

from __future__ import annotations

import re
import struct
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

from support.pictures import chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    Mutation = Callable[[bytearray, Random], bytes | bytearray]

_NUMBERS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF,
            0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip
_MAX_BYTES = 200_000


def mutate(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """`data` damaged one to four times; `others` are pictures that it may be spliced with."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        own = _own(bytes(changed[:12]))
        if others and random.random() < 0.05:
            changed = splice(changed, random.choice(others), random)
        elif own is not None and random.random() < 0.6:
            changed = bytearray(own(changed, random))
        else:
            changed = bytearray(random.choice(_BYTES)(changed, random))
        del changed[_MAX_BYTES:]
    return bytes(changed)


def splice(data: bytearray, other: bytes, random: Random) -> bytearray:
    """The beginning of one and the end of the other."""
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def _own(head: bytes) -> Mutation | None:
    return next((change for magic, change in _STRUCTURES if magic.match(head)), None)


# Of any bytes.


def flip(data: bytearray, random: Random) -> bytearray:
    for _ in range(random.choice((1, 1, 2, 8))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return data


def overwrite(data: bytearray, random: Random) -> bytearray:
    at, size = random.randint(0, len(data)), random.choice((1, 2, 4, 16))
    data[at : at + size] = random.randbytes(size)
    return data


def truncate(data: bytearray, random: Random) -> bytearray:
    return data[: random.randint(0, len(data))]


def insert(data: bytearray, random: Random) -> bytearray:
    at = random.randint(0, len(data))
    data[at:at] = random.randbytes(random.choice((1, 2, 3, 64)))
    return data


def delete(data: bytearray, random: Random) -> bytearray:
    at = random.randint(0, len(data))
    del data[at : at + random.choice((1, 2, 4, 100))]
    return data


def duplicate(data: bytearray, random: Random) -> bytearray:
    at, size = random.randint(0, len(data)), random.choice((1, 4, 64, 1000))
    data[at:at] = bytes(data[at : at + size]) * random.choice((1, 2, 50))
    return data


def number(data: bytearray, random: Random) -> bytearray:
    """Some field, somewhere, becomes 0, huge, or just over a limit."""
    return _put(data, random.randint(0, len(data)), random.choice((1, 2, 4)), random)


_BYTES: tuple[Mutation, ...] = (
    flip, flip, overwrite, truncate, insert, delete, duplicate, number,
)  # fmt: skip


def _put(
    data: bytearray, at: int, size: int, random: Random, *, little: bool | None = None
) -> bytearray:
    order = random.random() < 0.5 if little is None else little
    value = random.choice(_NUMBERS) % (1 << 8 * size)
    end = min(at + size, len(data))
    data[at:end] = value.to_bytes(size, "little" if order else "big")[: max(0, end - at)]
    return data


def _rearrange(parts: list[bytes], random: Random) -> list[bytes]:
    """One of the parts again, away, or in another's place."""
    if not parts:
        return parts
    one, two = random.randrange(len(parts)), random.randrange(len(parts))
    match random.randrange(3):
        case 0:
            parts[one:one] = [parts[one]] * random.choice((1, 2, 30))
        case 1:
            del parts[one]
        case _:
            parts[one], parts[two] = parts[two], parts[one]
    return parts


# Of one format's structure.


def png(data: bytearray, random: Random) -> bytes:
    """Chunks, with checksums that fit: what is wrong is for the decoder to find."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((bytes(data[at + 4 : at + 8]), bytes(data[at + 8 : at + 8 + size])))
        at += 12 + size
    if not chunks:
        return bytes(data)
    if random.random() < 0.25:
        parts = _rearrange([chunk(*one) for one in chunks], random)
        return bytes(data[:8]) + b"".join(parts)
    index = random.randrange(len(chunks))
    name, body = chunks[index]
    if name == b"IDAT" and random.random() < 0.7:
        body = _deflated(body, random)
    elif name == b"IHDR" and len(body) == 13 and random.random() < 0.6:
        changed = bytearray(body)
        changed[random.randrange(8, 13)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        body = bytes(changed)
    else:
        body = bytes(random.choice(_BYTES)(bytearray(body), random))
    chunks[index] = (name, body)
    return bytes(data[:8]) + b"".join(chunk(*one) for one in chunks)


def _deflated(body: bytes, random: Random) -> bytes:
    """Other rows, or other row filters, in a stream that inflates."""
    try:
        rows = bytearray(zlib.decompressobj().decompress(body, _MAX_BYTES))
    except zlib.error:
        return body
    return zlib.compress(random.choice(_BYTES)(rows, random), 1)


_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xda-\xfe]")


def jpeg(data: bytearray, random: Random) -> bytes:
    """Segment lengths, sizes, sampling, tables; segments again, away, exchanged."""
    starts = [found.start() for found in _SEGMENT.finditer(data)]
    if not starts:
        return bytes(data)
    if random.random() < 0.3:
        edges = [0, *starts, len(data)]
        parts = [bytes(data[a:b]) for a, b in pairwise(edges)]
        return b"".join(_rearrange(parts, random))
    frames = [at for at in starts if 0xC0 <= data[at + 1] <= 0xCF]
    at = random.choice(frames if frames and random.random() < 0.4 else starts)
    match random.randrange(3):
        case 0:
            _put(data, at + 2, 2, random, little=False)  # its length
        case 1:
            place = at + 4 + random.randrange(18)  # precision, height, width, components, tables
            _put(data, place, random.choice((1, 1, 2)), random, little=False)
        case _:
            data[at + 1] = random.randrange(0xC0, 0xFF)
    return bytes(data)


def tiff(data: bytearray, random: Random) -> bytes:
    """An entry's tag, type, count or value; the directory's length; the way to the next."""
    little, big = data[:2] == b"II", bytes(data[2:4]) in {b"+\0", b"\0+"}
    order = "<" if little else ">"
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    except (struct.error, OverflowError):
        return bytes(data)
    if random.random() < 0.1:
        return bytes(_put(data, start, 2, random, little=little))
    size, head = (20, 8) if big else (12, 2)
    at = start + head + size * random.randint(0, min(entries, 40))  # the last: the next directory
    match random.randrange(4):
        case 0:
            fields = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320,
                      322, 323, 324, 325, 338, 339, 347, 530, 700, 34665, 34675)  # fmt: skip
            data[at : at + 2] = random.choice(fields).to_bytes(2, "little" if little else "big")
        case 1:
            data[at + 2 : at + 4] = random.randrange(19).to_bytes(2, "little" if little else "big")
        case 2:
            _put(data, at + 4, 4, random, little=little)
        case _:
            _put(data, at + size - (8 if big else 4), random.choice((2, 4)), random, little=little)
    return bytes(data)


def webp(data: bytearray, random: Random) -> bytes:
    """RIFF sizes, chunks again, away, exchanged; canvas and frame headers."""
    parts, at = [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append(data[at : at + 8 + size + (size & 1)])
        at += 8 + size + (size & 1)
    if not parts:
        return bytes(data)
    match random.randrange(4):
        case 0:
            _put(data, 4, 4, random, little=True)
            return bytes(data)
        case 1:
            changed = _rearrange([bytes(part) for part in parts], random)
        case 2:
            _put(random.choice(parts), 4, 4, random, little=True)
            changed = [bytes(part) for part in parts]
        case _:
            part = random.choice(parts)
            _put(part, 8 + random.randrange(24), random.choice((1, 2, 3)), random, little=True)
            changed = [bytes(part) for part in parts]
    body = b"".join(changed)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def gif(data: bytearray, random: Random) -> bytes:
    """Screen, frame descriptors, LZW code size, block lengths, blocks again."""
    places = [6, 8, 10, *(found.start() for found in re.finditer(rb"[,!]", data[13:4000]))]
    at = random.choice(places)
    if at > 10:
        at += 13
        if random.random() < 0.3:
            block = bytes(data[at : at + random.choice((3, 8, 30, 300))])
            data[at:at] = block * random.choice((1, 3, 100))
            return bytes(data)
        at += random.randrange(12)
    return bytes(_put(data, at, random.choice((1, 2)), random, little=True))


def bmp(data: bytearray, random: Random) -> bytes:
    """A field of the header: offsets, size, planes, bits, compression, colours, masks."""
    at, size = random.choice(
        [(2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4),
         (50, 4), (54, 4), (58, 4), (62, 4)]
    )  # fmt: skip
    if at in {28, 30} and random.random() < 0.7:
        data[at : at + 1] = bytes([random.choice((0, 1, 2, 3, 4, 5, 6, 8, 16, 24, 32))])
        return bytes(data)
    return bytes(_put(data, at, size, random, little=True))


_BOX = re.compile(
    rb"ftyp|meta|hdlr|pitm|iloc|iinf|infe|iprp|ipco|ispe|pixi|av1C|colr|ipma|auxC|mdat|moov|trak"
    rb"|tkhd|mdia|mdhd|minf|stbl|stsd|stts|stsc|stsz|stco|iref|irot|imir|clap|av01|grid"
)


def avif(data: bytearray, random: Random) -> bytes:
    """A box's size, type or first fields (the picture's size, offsets, properties)."""
    starts = [found.start() for found in _BOX.finditer(data)]
    if not starts:
        return bytes(data)
    at = random.choice(starts)
    match random.randrange(3):
        case 0:
            _put(data, at - 4, 4, random, little=False)
        case 1:
            data[at : at + 4] = bytes(data[(other := random.choice(starts)) : other + 4])
        case _:
            _put(
                data, at + 4 + random.randrange(24), random.choice((1, 2, 4)), random, little=False
            )
    return bytes(data)


_STRUCTURES: tuple[tuple[re.Pattern[bytes], Mutation], ...] = (
    (re.compile(rb"\xff\xd8"), jpeg),
    (re.compile(rb"\x89PNG"), png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), webp),
    (re.compile(rb"BM"), bmp),
    (re.compile(rb"II[*+]|MM\0[*+]"), tiff),
    (re.compile(rb"GIF8"), gif),
    (re.compile(rb"....ftyp", re.DOTALL), avif),
)
