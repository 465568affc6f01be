"""Requests, good and hostile: `build(seed, index)` is always the same bytes.

What a request is owed follows from its framing alone (RFC 9112, sections 6 and 9.6):

- `WHOLE`: complete and well framed, whatever it says: one answer for each of `answers`, and the
  connection goes on unless the answer says `close`.
- `MALFORMED`: a head that is complete (it ends in an empty line, or grows beyond any limit) and
  breaks HTTP: one answer, and nothing more on this connection.
- `BROKEN_OFF`: the client ends its side inside a head, inside a body that it announced as
  longer, or inside a chunk. Where a request's end never came, there is no request to answer: an
  answer may come or not, but the connection has to end.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from fuzz import bodies, heads
from fuzz.mutate import mutate
from fuzz.seeds import pictures

if TYPE_CHECKING:
    from collections.abc import Callable


class Framing(enum.Enum):
    WHOLE = "whole"
    MALFORMED = "malformed"
    BROKEN_OFF = "broken off"


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes to send, and what must come back.

    Attributes:
        kind: which of the generators below made it.
        data: all bytes, several requests if `answers` is more than 1.
        methods: of each request that is owed an answer, in order.
        statuses: the only ones that are right; any but 5xx (503 excepted) if empty.
        reuse: whether the connection may carry the next request.
    """

    kind: str
    data: bytes
    framing: Framing = Framing.WHOLE
    methods: tuple[str, ...] = ("POST",)
    statuses: frozenset[int] = frozenset()
    reuse: bool = True


def build(seed: int, index: int) -> Request:
    """The request of this seed and index."""
    random = Random(f"{seed}:{index}")
    make = random.choices(_MAKERS, _WEIGHTS)[0]
    return make(random)


def _mutated(random: Random) -> bytes:
    return mutate(_seed(random), random, _FILES)


def _seed(random: Random) -> bytes:
    return random.choice(_FILES)


def raw_picture(random: Random) -> Request:
    content_type = random.choice((b"", b"image/jpeg", b"image/png", b"application/octet-stream"))
    headers = [b"Content-Type: " + content_type] if content_type else []
    return Request("raw picture", heads.post(b"/detect", _mutated(random), headers))


def multipart_picture(random: Random) -> Request:
    body, content_type = bodies.form(_mutated(random))
    headers = [content_type, random.choice((b"Accept: */*", b"Accept: image/jpeg"))]
    return Request("multipart picture", heads.post(b"/detect", body, headers))


def good_picture(random: Random) -> Request:
    picture, wanted = _seed(random), frozenset({200})
    match random.randrange(3):
        case 0:
            data = heads.post(b"/detect", picture)
        case 1:
            body, content_type = bodies.form(picture)
            data = heads.post(b"/detect?confidence=0.3", body, [content_type])
        case _:
            chunks = bodies.chunked(picture, random)
            data = heads.head(b"POST", b"/detect", [b"Transfer-Encoding: chunked"]) + chunks
    return Request("good picture", data, statuses=wanted)


def broken_envelope(random: Random) -> Request:
    body, content_type = bodies.broken_form(_seed(random), random)
    return Request("broken envelope", heads.post(b"/detect", body, [content_type]))


def strange_query(random: Random) -> Request:
    target = b"/detect" + heads.query(random)
    return Request("strange query", heads.post(target, _seed(random)))


def strange_headers(random: Random) -> Request:
    headers = heads.strange(random)
    if random.random() < 0.5:
        return Request("strange headers", heads.post(b"/detect", _seed(random), headers))
    data = heads.head(b"GET", random.choice(heads.TARGETS), headers)
    return Request("strange headers", data, methods=("GET",))


def strange_target(random: Random) -> Request:
    method = random.choice(heads.METHODS)
    target = heads.target(random)
    if random.random() < 0.3:
        data = heads.head(method, target, [b"Content-Length: 3"]) + b"abc"
    else:
        data = heads.head(method, target, [b"Content-Length: 0"])
    return Request("strange target", data, methods=(method.decode(),))


def model_json(random: Random) -> Request:
    method = random.choice((b"PUT", b"PUT", b"PUT", b"DELETE"))
    name = random.choice((b"x", b"..", b"%00", b"a%20b", b"%F0%9F%8E%89", b"x" * 300))
    key = random.choice((b"X-API-Key: wrong", b"Authorization: Bearer " + heads.ADMIN_KEY))
    headers = [b"Content-Type: application/json", key]
    body = bodies.json_document(random, b"source")
    if method == b"DELETE":
        name, body = b"nobody", b""  # the served model stays
    data = heads.post(b"/models/" + name, body, headers, method)
    return Request("model JSON", data, methods=(method.decode(),))


def url_json(random: Random) -> Request:
    """Pictures by address: of addresses that no service may fetch from."""
    body = bodies.json_document(random, b"url")
    content_type = random.choice(
        (b"application/json", b"application/json; charset=x", b"text/json")
    )
    headers = [b"Content-Type: " + content_type]
    return Request("URL JSON", heads.post(b"/detect", body, headers))


def task(random: Random) -> Request:
    """Pictures for later: the answer comes before they are looked at."""
    statuses: frozenset[int] = frozenset()
    match random.randrange(4):
        case 0:
            body, content_type = bodies.form(_seed(random))
            statuses = frozenset({201})
        case 1:
            body, content_type = bodies.form(_mutated(random))
            statuses = frozenset({201})  # what is no picture fails alone
        case 2:
            body, content_type = bodies.broken_form(_seed(random), random)
        case _:
            body = bodies.json_document(random, b"urls")
            content_type = b"Content-Type: application/json"
    return Request("task", heads.post(b"/predict", body, [content_type]), statuses=statuses)


def task_path(random: Random) -> Request:
    name = random.choice((b"0" * 32, b"x", b"..", b"%00", b"F" * 32, b"0" * 300))
    method, path = random.choice(
        (
            (b"GET", b""),
            (b"GET", b"?wait=30"),
            (b"GET", b"?annotated=inline"),
            (b"GET", b"/events"),
            (b"GET", b"/images/-1"),
            (b"GET", b"/images/99999999999999999999"),
            (b"POST", b"/retry"),
            (b"DELETE", b""),
        )
    )
    data = heads.head(method, b"/result/" + name + path, [b"Content-Length: 0"])
    return Request("task path", data, methods=(method.decode(),))


def chunked_body(random: Random) -> Request:
    headers = [b"Transfer-Encoding: chunked", *random.choice(([], [b"Trailer: X-Sum"]))]
    body = bodies.chunked(_mutated(random), random)
    return Request("chunked", heads.head(b"POST", b"/detect", headers) + body)


def bad_chunks(random: Random) -> Request:
    body = bodies.bad_chunks(random)
    data = heads.head(b"POST", b"/detect", [b"Transfer-Encoding: chunked"]) + body
    return Request("bad chunks", data, Framing.MALFORMED, reuse=False)


def bad_framing(random: Random) -> Request:
    """Two lengths, lengths that are none, both framings: refused, or requests could be smuggled."""
    headers, body = heads.bad_framing(random)
    data = heads.head(b"POST", b"/detect", headers) + body
    return Request("bad framing", data, Framing.MALFORMED, reuse=False)


def bad_head(random: Random) -> Request:
    return Request(
        "bad head", heads.bad_head(random), Framing.MALFORMED, methods=("GET",), reuse=False
    )


def huge_head(random: Random) -> Request:
    size = random.choice((9_000, 20_000, 70_000, 100_000))
    match random.randrange(3):
        case 0:
            data = heads.head(b"GET", b"/health/live", [b"X-Long: " + b"a" * size])
        case 1:
            data = heads.head(b"GET", b"/health/live?" + b"a" * size, [])
        case _:
            many = [b"X-%d: y" % i for i in range(size // 10)]
            data = heads.head(b"GET", b"/health/live", many)
    return Request("huge head", data, Framing.MALFORMED, methods=("GET",), reuse=False)


def old_version(random: Random) -> Request:
    keep = random.choice(([], [b"Connection: keep-alive"], [b"Connection: close"]))
    data = heads.post(b"/detect", _mutated(random), keep, version=b"HTTP/1.0")
    return Request("HTTP/1.0", data, reuse=False)


def pipelined(random: Random) -> Request:
    parts, methods = [], []
    for _ in range(random.randint(2, 6)):
        if random.random() < 0.6:
            parts.append(heads.post(b"/detect", _mutated(random)))
            methods.append("POST")
        else:
            parts.append(heads.head(b"GET", random.choice(heads.TARGETS), []))
            methods.append("GET")
    return Request("pipelined", b"".join(parts), methods=tuple(methods))


def broken_off(random: Random) -> Request:
    """A good request, but for its end."""
    picture = _seed(random)
    match random.randrange(3):
        case 0:
            data = heads.post(b"/detect", picture)
        case 1:
            body, content_type = bodies.form(picture)
            data = heads.post(b"/detect", body, [content_type])
        case _:
            chunks = bodies.chunked(picture, random)
            data = heads.head(b"POST", b"/detect", [b"Transfer-Encoding: chunked"]) + chunks
    data = data[: random.randrange(len(data) - 1)]
    return Request("broken off", data, Framing.BROKEN_OFF, reuse=False)


_FILES = tuple(pictures().values())
_TABLE: tuple[tuple[Callable[[Random], Request], float], ...] = (
    (raw_picture, 24), (multipart_picture, 14), (good_picture, 3), (broken_envelope, 12),
    (strange_query, 8), (strange_headers, 8), (strange_target, 9), (model_json, 3),
    (url_json, 4), (chunked_body, 3), (bad_chunks, 3), (bad_framing, 3), (bad_head, 4),
    (huge_head, 0.3), (old_version, 1), (pipelined, 1.5), (broken_off, 2.2),
    (task, 4), (task_path, 2),
)  # fmt: skip
_MAKERS = [make for make, _ in _TABLE]
_WEIGHTS = [weight for _, weight in _TABLE]
