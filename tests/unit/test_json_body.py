"""JSON bodies that name pictures by their addresses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from starlette.requests import Request

from sightline.api.tasks.submission import UrlsBody
from sightline.api.uploads.by_url import UrlBody
from sightline.api.uploads.json_body import is_json, read_json
from sightline.errors import BadOption, BodyTooLarge, MalformedBody, RequestError

if TYPE_CHECKING:
    from starlette.types import Message


def request_of(body: bytes, content_type: str = "application/json") -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "headers": headers}, receive)


def read(body: bytes, model: type[UrlBody | UrlsBody] = UrlBody) -> UrlBody | UrlsBody:
    return asyncio.run(read_json(request_of(body), model, 100, '{"url": "…"}'))


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("text/json", False),
        ("multipart/form-data; boundary=json", False),
        ("", False),
    ],
)
def test_json_is_told_by_its_type(content_type: str, expected: bool) -> None:
    assert is_json(request_of(b"", content_type)) is expected


def test_good_bodies() -> None:
    assert read(b'{"url": "http://a/b"}') == UrlBody(url="http://a/b")
    assert read(b'{"urls": ["c", "d"]}', UrlsBody) == UrlsBody(urls=["c", "d"])


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"", MalformedBody, "not JSON. Send {"),
        (b"{", MalformedBody, "not JSON"),
        (b"[]", BadOption, "is not acceptable: Input should be an object"),
        (b"{}", BadOption, "'url': Field required. Send {"),
        (b'{"url": 1}', BadOption, "'url': Input should be a valid string"),
        (b'{"url": "a", "iou": 1}', BadOption, "'iou': Extra inputs are not permitted"),
        (b'{"url": "%s"}' % (b"a" * 100), BodyTooLarge, "a few lines"),
    ],
)
def test_bad_bodies(body: bytes, error: type[RequestError], words: str) -> None:
    with pytest.raises(error) as caught:
        read(body)
    assert words in str(caught.value)
