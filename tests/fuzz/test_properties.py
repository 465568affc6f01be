"""What holds for every input of code that reads hostile bytes, shrunk where it does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request as Received

from fuzz import bodies, heads
from fuzz.client import Answer, Client
from fuzz.mutate import mutate
from fuzz.requests import Framing, Request
from fuzz.seeds import kind, pictures
from sightline.api.negotiation import wants_jpeg
from sightline.api.uploads.single import read_picture
from sightline.api.uploads.spool import UploadBudget
from sightline.errors import ImageError, RequestError
from sightline.vision import headers
from sightline.vision.decode import decode
from sightline.vision.formats import sniff
from sightline.vision.header_check import check_header
from sightline.vision.jpeg_header import read_jpeg_header
from support.servers import Live, live

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from starlette.types import Message

PIXELS = 100_000
FORMATS = sorted({kind(name) for name in pictures()})
seeds = st.sampled_from(sorted(pictures()))
mutations = st.randoms(use_true_random=False)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_decoding_yields_pixels_or_an_image_error(name: str, data: st.DataObject) -> None:
    own = [picture for seed, picture in pictures().items() if kind(seed) == name]
    seed = data.draw(st.sampled_from(own))
    damaged = mutate(seed, data.draw(mutations), list(pictures().values()))
    with contextlib.suppress(ImageError):
        size = check_header(damaged, PIXELS)
        image = decode(damaged, PIXELS)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert sorted(image.shape[:2]) == sorted(size)
        assert 0 < image.size <= 3 * PIXELS
        assert image.flags.c_contiguous


@pytest.mark.parametrize("name", sorted(pictures()))
def test_seeds_are_good(name: str) -> None:
    assert decode(pictures()[name], PIXELS).size > 0


@given(data=st.binary(max_size=200), name=seeds, cut=st.integers(0, 400))
def test_headers_of_anything(data: bytes, name: str, cut: int) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (
        sniff, partial(read_jpeg_header, max_pixels=PIXELS), headers.read_png_size,
        headers.bare_png, headers.read_webp_size, headers.check_tiff_strips,
    )  # fmt: skip
    for read in readers:
        with contextlib.suppress(ImageError):
            read(pictures()[name][:cut] + data)


@given(accept=st.text())
def test_what_names_no_media_range_does_not_ask_for_a_jpeg(accept: str) -> None:
    assert isinstance(wants_jpeg(accept), bool)
    assert not wants_jpeg(accept.replace("/", ""))


qualities = st.floats(0, 1).map(lambda q: round(q, 3))


@given(jpeg=qualities, json=qualities)
def test_the_better_liked_form_wins(jpeg: float, json: float) -> None:
    accept = f"application/json;q={json}, image/jpeg;q={jpeg}"
    assert wants_jpeg(accept) == (jpeg > json)


def received(body: bytes, content_type: str, cuts: list[int]) -> Received:
    """The request as the application gets it, its body in parts."""
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    parts = [body[a:b] for a, b in pairwise(edges)]
    messages: Iterator[Message] = iter(
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    )

    async def receive() -> Message:
        return next(messages)

    scope = {"type": "http", "headers": [(b"content-type", content_type.encode("latin-1"))]}
    return Received(scope, receive)


def picture_in(request: Received) -> bytes:
    async def read() -> bytes:
        room = UploadBudget(memory=10**6, disk=10**6, retry_after=1)
        async with read_picture(request, 10**6, room) as upload:
            data = upload.load()
        assert (room.memory, room.disk) == (10**6, 10**6)
        return data

    return asyncio.run(read())


cuttings = st.lists(st.integers(0, 10_000), max_size=5)
boundaries = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789'()+_,-./:=?", min_size=1, max_size=70)


@given(name=seeds, boundary=boundaries, cuts=cuttings)
def test_a_form_gives_its_picture_wherever_the_network_cuts_it(
    name: str, boundary: str, cuts: list[int]
) -> None:
    picture = pictures()[name]
    body, _ = bodies.form(picture, boundary.encode())
    quoted = f'multipart/form-data; boundary="{boundary}"'
    assert picture_in(received(body, quoted, cuts)) == picture


@given(name=seeds, random=mutations, cuts=cuttings)
def test_a_broken_form_gives_a_picture_or_a_request_error(
    name: str, random: Random, cuts: list[int]
) -> None:
    body, line = bodies.broken_form(pictures()[name], random)
    request = received(body, line.decode("latin-1").partition(": ")[2], cuts)
    with contextlib.suppress(RequestError):
        assert picture_in(request)


@given(content_type=st.text(st.characters(max_codepoint=255)), body=st.binary(), cuts=cuttings)
def test_any_body_gives_a_picture_or_a_request_error(
    content_type: str, body: bytes, cuts: list[int]
) -> None:
    with contextlib.suppress(RequestError):
        assert picture_in(received(body, content_type, cuts))


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live() as running:
        yield running


def answer(server: Live, data: bytes, method: str = "POST") -> Answer:
    """The one answer to `data`; the client has checked that it may be given."""

    async def ask() -> Answer:
        client = Client("127.0.0.1", server.port)
        try:
            (only,) = await client.ask(Request("property", data, Framing.WHOLE, (method,)))
        finally:
            await client.close()
        return only

    return asyncio.run(ask())


# Any byte that a header's value may hold (RFC 9110, 5.5).
values = st.binary(max_size=60).map(
    lambda b: bytes(sign for sign in b if sign >= 32 and sign != 127)
)
tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20).filter(
    lambda name: (
        name not in {"host", "te", "connection", "expect", "upgrade"}
        and not name.startswith(("content-l", "transfer"))
    )
)


@given(lines=st.lists(st.tuples(tokens, values), max_size=6))
def test_any_headers_are_answered(server: Live, lines: list[tuple[str, bytes]]) -> None:
    given_lines = [name.encode() + b": " + value for name, value in lines]
    data = heads.post(b"/detect", pictures()["jpeg"], given_lines)
    assert answer(server, data).status in {200, 400, 401, 403, 415, 422}


@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["confidence", "iou", "classes", "max_detections", "model", "x"]),
            st.text(max_size=30) | st.floats().map(str) | st.integers().map(str),
        ),
        max_size=4,
    )
)
def test_any_query_is_answered(server: Live, pairs: list[tuple[str, str]]) -> None:
    from urllib.parse import urlencode

    query = urlencode(pairs, errors="replace").encode()
    found = answer(server, heads.post(b"/detect?" + query, pictures()["png RGB"]))
    assert found.status in {200, 422}
    if not pairs:
        assert found.status == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=json_values, wrapped=st.booleans())
def test_any_json_is_refused_with_a_reason(server: Live, value: object, wrapped: bool) -> None:
    import json

    body = json.dumps({"source": value} if wrapped else value).encode("utf-8", "replace")
    lines = [b"Content-Type: application/json"]
    assert answer(server, heads.post(b"/detect", body, lines)).status in {400, 415, 422}
    put = heads.post(b"/models/x", body, lines, b"PUT")
    assert answer(server, put, "PUT").status in {401, 403, 422}


@given(path=st.binary(max_size=40), method=st.sampled_from(heads.METHODS))
def test_any_path_is_answered(server: Live, path: bytes, method: bytes) -> None:
    from urllib.parse import quote

    data = heads.head(method, b"/" + quote(path).encode(), [b"Content-Length: 0"])
    assert answer(server, data, method.decode()).status < 500
