"""Request bodies: multipart envelopes, chunks and JSON, whole and broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_TYPE = b"Content-Type: multipart/form-data; boundary="
_FILE = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'


def form(picture: bytes, boundary: bytes = b"b-o-u-n-d") -> tuple[bytes, bytes]:
    """(body, Content-Type line) as curl -F file=@ sends it."""
    body = b"--%s\r\n%s%s\r\n--%s--\r\n" % (boundary, _FILE, picture, boundary)
    return body, _TYPE + boundary


def broken_form(picture: bytes, random: Random) -> tuple[bytes, bytes]:
    """The same, but wrong: of another boundary, cut, doubled, nested, with headers of all kinds."""
    body, content_type = form(picture)
    part = b"--b-o-u-n-d\r\n" + _FILE + picture + b"\r\n"
    header = random.choice(
        (
            b"", b"\r\n", b"Content-Disposition: form-data\r\n\r\n", b"X\r\n\r\n", b": \r\n\r\n",
            b'Content-Disposition: form-data; name="other"\r\n\r\n', b"A" * 70_000 + b": b\r\n\r\n",
            b'Content-Disposition: form-data; name="file\r\n\r\n',
            b"Content-Disposition: ;;;=\r\n\r\n",
            b"Content-Disposition: form-data; name*=utf-8''%FF; name=file\r\n\r\n",
            b"\0: \0\r\n\r\n",
            b'Content-Disposition: form-data; name="\xff"\r\n\r\n', b"a: b\r\n" * 2000 + b"\r\n",
            _FILE[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\n", b" folded: x\r\n\r\n",
        )
    )  # fmt: skip
    other = b"--b-o-u-n-d\r\n" + header + picture + b"\r\n--b-o-u-n-d--\r\n"
    types = (
        b"",
        b"b",
        b"b" * 71,
        b"b" * 5000,
        b'"b-o-u-n-d',
        b"b-o-u-n-d; boundary=x",
        b"\xff",
        b"\0"[:0],
    )
    match random.randrange(8):
        case 0:
            return body, _TYPE + random.choice(types)
        case 1:
            return body[: random.randrange(len(body))], content_type
        case 2:
            return part * random.choice((2, 3, 30)) + b"--b-o-u-n-d--\r\n", content_type
        case 3 | 4:
            return other, content_type
        case 5:
            at = random.randrange(len(body))
            return body[:at] + random.randbytes(2) + body[at + 2 :], content_type
        case 6:
            return random.choice(
                (b"", b"--", b"--b-o-u-n-d", b"--b-o-u-n-d--", b"\r\n" * 9)
            ), content_type
        case _:
            return b"preamble\r\n" + body + b"epilogue" + body, content_type


def chunked(body: bytes, random: Random) -> bytes:
    """In chunks of all sizes, some with extensions, perhaps a trailer."""
    pieces, at = [], 0
    while at < len(body):
        piece = body[at : at + random.choice((1, 7, 100, 5000, 60_000))]
        extension = random.choice((b"", b"", b"", b";a=b", b';a="b c"'))
        pieces.append(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
        at += len(piece)
    return b"".join(pieces) + b"0\r\n" + random.choice((b"", b"", b"X-Sum: 1\r\n")) + b"\r\n"


def bad_chunks(random: Random) -> bytes:
    """A chunk whose size is none, or whose data does not end where it should."""
    pieces = (
        b"x\r\n", b"-1\r\nabc\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"\r\nabc\r\n0\r\n\r\n",
        b"f" * 20 + b"\r\nabc\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n", b"3 3\r\nabc\r\n0\r\n\r\n", b"\xff\xff\r\n\r\n",
    )  # fmt: skip
    good = b"3\r\nabc\r\n" * random.choice((0, 1, 3))
    return good + random.choice(pieces)


def json_document(random: Random, field: bytes) -> bytes:
    """{field: …} and what is nearly that; an address is always one that may not be fetched from."""
    addresses = (
        "http://127.0.0.1:1/a.jpg", "https://127.0.0.1:1/", "http://[::1]:1/a",
        "http://169.254.169.254/x",
        "file:///etc/passwd", "ftp://127.0.0.1:1/", "http://", "://", "", " ", "http://127.1:1/",
        "../../x",
        "http://0:1/", "gopher://127.0.0.1:1/", "http://127.0.0.1:99999/",
        "http://127.0.0.1:1/" + "a" * 9000,
        "http://user:secret@127.0.0.1:1/", "\ud83c\udf89", "/nowhere/x.onnx", "a" * 300,
        "http://2130706433:1/",
    )  # fmt: skip
    name, address = field.decode(), random.choice(addresses)
    values: tuple[object, ...] = (
        address, None, 3, [], {}, True, [address], {name: address}, 1e308, "\x00", address * 2,
    )  # fmt: skip
    match random.randrange(6):
        case 0:
            return json.dumps({name: random.choice(values), "more": 1}).encode()
        case 1:
            document = json.dumps({name: address}).encode()
            return document[: random.randrange(len(document))]
        case 2:
            junk = (
                b"null",
                b"[]",
                b'"x"',
                b"3",
                b"nan",
                b"{",
                b"",
                b"\xff\xfe{",
                b"[" * 5000,
                b'{"a":' * 3000,
            )
            return random.choice(junk)
        case 3:
            return b'{"%s": "%s", "%s": "\\ud800"}' % (field, b"http://127.0.0.1:1/", field)
        case _:
            return json.dumps({name: random.choice(values)}).encode()
