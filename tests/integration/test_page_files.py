"""The page's files over HTTP: what a browser is told of them, and what it may do."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from sightline.api.assets import PAGE, WEB, policy
from sightline.errors import ConfigError
from sightline.settings import load_settings
from support.servers import Live, live

if TYPE_CHECKING:
    from pathlib import Path

KEY = "open-sesame"


@pytest.fixture(scope="module")
def locked() -> Iterator[Live]:
    with live(api_keys=f"camera:{KEY}") as running:
        yield running


def test_every_file_is_served_to_everybody_as_what_it_is(locked: Live) -> None:
    assert len(PAGE) > 20
    for path, asset in PAGE.items():
        answer = httpx.get(locked.url + path, headers={"Accept-Encoding": "identity"})
        name = "index.html" if path == "/" else path.removeprefix("/")
        assert answer.content == (WEB / name).read_bytes()
        assert answer.headers["content-type"] == asset.media_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        assert int(answer.headers["content-length"]) == len(answer.content)


def test_text_is_packed_and_known_text_not_sent_again(locked: Live) -> None:
    with httpx.stream("GET", f"{locked.url}/app.js", headers={"Accept-Encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(raw) == (WEB / "app.js").read_bytes()
    known = {"If-None-Match": packed.headers["etag"], "Accept-Encoding": "gzip"}
    again = httpx.get(f"{locked.url}/app.js", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    plain = httpx.get(f"{locked.url}/app.js", headers=known | {"Accept-Encoding": "identity"})
    assert plain.status_code == 200  # other bytes have another tag


def test_the_policy_is_strict(locked: Live) -> None:
    page = httpx.get(locked.url)
    assert page.headers["content-security-policy"] == policy("", ())
    assert "unsafe" not in policy("", ())
    assert "frame-ancestors 'none'" in policy("", ())
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|https?://", page.text)


def test_the_page_may_ask_the_service_that_it_is_pointed_at_and_no_other(locked: Live) -> None:
    page = httpx.get(locked.url, params={"api": "https://vision.example.org:8443/a"})
    asked = "connect-src 'self' https://vision.example.org:8443 wss://vision.example.org:8443;"
    assert asked in page.headers["content-security-policy"]
    for hostile in ("https://a.test; script-src *", "https://*", "javascript:x", "//a.test", "%"):
        page = httpx.get(locked.url, params={"api": hostile})
        assert page.headers["content-security-policy"] == policy("", ())


@pytest.mark.parametrize("value", ["https://huggingface.co, self", "*"])
def test_frames(value: str) -> None:
    with live(frame_ancestors=value) as framed:
        headers = httpx.get(framed.url).headers
    wanted = {"*": "*"}.get(value, "https://huggingface.co 'self'")
    assert f"frame-ancestors {wanted};" in headers["content-security-policy"]
    assert "x-frame-options" not in headers


@pytest.mark.parametrize("value", ["'self'", "huggingface.co", "https://a.test; script-src *"])
def test_frames_that_are_no_origins_are_refused_at_start(value: str) -> None:
    with pytest.raises(ConfigError, match="frame_ancestors"):
        load_settings(frame_ancestors=value)


def test_every_module_that_is_needed_at_once_is_fetched_at_once() -> None:
    index = (WEB / "index.html").read_text("utf-8")
    ahead = set(re.findall(r'rel="modulepreload" href="(.*?)"', index))
    needed, found = {"app.js"}, set[str]()
    while needed:
        name = needed.pop()
        found.add(name)
        text = (WEB / name).read_text("utf-8")
        needed |= set(re.findall(r"^import .*? from '\./(.*?)';$", text, re.MULTILINE)) - found
    assert ahead == found - {"app.js"}


@pytest.mark.parametrize("path", sorted(WEB.glob("*.*")), ids=lambda path: path.name)
def test_files_stay_small(path: Path) -> None:
    assert path.read_text("utf-8").count("\n") <= 300


def test_a_page_that_asks_for_the_key_itself_gets_no_dialog(locked: Live) -> None:
    plain = httpx.get(f"{locked.url}/health")
    assert "Basic" in plain.headers["www-authenticate"]
    headers = httpx.get(f"{locked.url}/health", headers={"X-API-Key": ""})
    assert (headers.status_code, headers.headers["www-authenticate"]) == (401, "Bearer")
    assert httpx.get(f"{locked.url}/health", headers={"X-API-Key": KEY}).is_success


def test_below_a_path_the_slash_is_added() -> None:
    with live(root_path="/vision") as shown:
        answer = httpx.get(f"{shown.url}/vision?api=https://a.test")
        assert answer.status_code == 307
        assert answer.headers["location"] == "/vision/?api=https://a.test"
        assert httpx.get(f"{shown.url}/vision/").text == httpx.get(f"{shown.url}/").text
