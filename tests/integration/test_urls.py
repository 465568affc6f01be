"""Addresses that lead inside: none is connected to, and none tells a client what is there."""
# ruff: noqa: RUF001  ambiguous characters are the point

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from PIL import Image

from sightline.api.openapi.operations import UNGENERATED
from sightline.errors import UrlFailed, UrlRefused
from sightline.net import guard as guards
from sightline.net.fetch import Fetcher
from sightline.settings import load_settings
from sightline.wiring.network import open_fetcher
from support import pictures
from support.hosts import Answer, Host, Wire, host, ok, redirect
from support.names import Zone, name_server, resolver
from support.servers import Live, live, live_resolving

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
HUNG = 30  # seconds: far more than any of this takes


def own_addresses() -> list[str]:
    """Those that this machine would speak from."""
    found = []
    for family, target in ((socket.AF_INET, "93.184.216.34"), (socket.AF_INET6, "2606:2800::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
            except OSError:  # no way out: it has no address of this family but its loopback
                continue
            address = probe.getsockname()[0]
            found.append(f"[{address}]" if ":" in address else address)
    return found


# Hosts that are, or that some programs take for, one inside. Each is tried at a port where
# something listens on 127.0.0.1 and ::1 and which is, for once, open.
INSIDE = [
    # loopback, and its other spellings
    "127.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "127.255.255.254", "0", "0.0.0.0", "00000000",
    "2130706433", "017700000001", "0x7f000001", "0x7F.0.0.1", "0x7f.1", "0x7f.0.0.0x1", "0x",
    "0177.0.0.1", "0177.0.0.01", "127.000.000.001", "127.0.0.01", "127.0.0x0.1", "4294967295",
    "6425673729", "127.0.0.1.0", "256.127.0.0.1", "1.2.3.4.5", "-2130706433", "127.0.0.1..",
    "localhost", "localhost.", "LOCALHOST", "LocalHost", "localhost..", ".localhost",
    "ip6-localhost",
    # other scripts' digits, letters and dots
    "①②⑦.0.0.1", "１２７．０．０．１", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1",
    "①⑥⑨.②⑤④.①⑥⑨.②⑤④", "ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "loc\u00adalhost", "local\u200bhost",
    "１２７.1", "٠x7f.1", "127.0.0.١", "\ufeff127.0.0.1",
    # escapes
    "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "127.0.0.1%00.public.test", "%6cocalhost",
    "localhost%00", "public.test%2f@127.0.0.1", "127.0.0.1%0d%0aHost:x", "%5b::1%5d",
    # IPv6
    "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::127.0.0.1]", "[::7f00:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:7F00:0001]", "[0:0:0:0:0:ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:0001]", "[::ffff:0:127.0.0.1]", "[::ffff:169.254.169.254]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::1]", "[2001::1]",
    "[fe80::1]", "[fe80::1%lo]", "[fe80::1%25lo]", "[::1%lo]", "[fec0::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[fd20:ce::254]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[::1",
    "::1", "[::1]]", "[[::1]]", "[127.0.0.1]", "[::1.]", "[v1.x]", "[]",
    # clouds, neighbours, and what is nowhere
    "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "10.0.0.1", "10.1", "172.16.0.1",
    "192.168.1.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255",
    "metadata.google.internal", "host.docker.internal", "kubernetes.default.svc", "router.local",
    # misleading authorities
    "public.test@127.0.0.1", "user:password@127.0.0.1", "user@public.test", "@127.0.0.1",
    "public.test:80@127.0.0.1", "127.0.0.1:80@public.test", "127.0.0.1\\@public.test",
    "public.test\\@127.0.0.1", "public.test\\.127.0.0.1", "127.0.0.1 ", " 127.0.0.1",
    "127.0.0.1 public.test", "127.0.0.1\t", "127.0.0.1\r\nHost: x", "127.\n0.0.1", "127.0.0.1\x00",
    "", ":", "a" * 64 + ".test", "a." * 127 + "test", "-", "..", "*", "xn--0", "xn--a-ecp.ru",
    *own_addresses(),
]  # fmt: skip

# Addresses as a whole; {port} is where something listens.
ODD = [
    "", " ", "127.0.0.1:{port}", "localhost:{port}/x", "//127.0.0.1:{port}/", "/etc/passwd",
    "http:", "http:/", "http://", "http:///", "http:127.0.0.1:{port}", "http:/127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}\\", "http://127.0.0.1:{port}#@public.test",
    "http://127.0.0.1:{port}?@public.test/", "http://127.0.0.1:{port};@public.test/",
    " http://127.0.0.1:{port}/", "\thttp://127.0.0.1:{port}/", "ht\ntp://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nX-Injected: 1", "http://127.0.0.1:{port}/\x00",
    "http://127.0.0.1:{port}/ ", "http://[::1]:{port}/\u2028", "url:http://127.0.0.1:{port}/",
    "file:///etc/passwd", "file://127.0.0.1:{port}/x", "ftp://127.0.0.1:{port}/x",
    "gopher://127.0.0.1:{port}/_x", "dict://127.0.0.1:{port}/x", "ldap://127.0.0.1:{port}/x",
    "ws://127.0.0.1:{port}/", "unix:///run/x.sock", "http+unix://%2Frun%2Fx.sock/",
    "data:image/png;base64,iVBORw0KGgo=", "javascript:alert(1)", "jar:http://127.0.0.1:{port}/!/",
    "http://public.test:22/", "http://public.test:25/", "http://public.test:6379/",
    "http://public.test:0/", "http://public.test:65536/", "http://public.test:99999999999999/",
    "http://public.test:-80/", "http://public.test:+80/", "http://public.test:８０/",
    "http://public.test:80:80/", "http://public.test:0x50/", "http://public.test:http/",
    "http://public.test: 80/", "http://public.test:80 /", "https://[2606:2800:220:1::1]:8443/",
    "http://127.0.0.1:{port}/" + "x" * 4096, "http://" + "x" * 5000, "x" * 60_000,
]  # fmt: skip

ADDRESS = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+|::|[0-9a-f]+:[0-9a-f]+:|localhost|Errno|Traceback")


@contextmanager
def listening() -> Iterator[tuple[Host, Host]]:
    """On 127.0.0.1 and on ::1, at one port."""

    def good(answer: Answer, _path: str) -> None:
        answer.send(ok(b"\xff\xd8\xff a secret of the inside"))

    with host(good) as four, host(good, "::1") as six:
        yield four, six


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Host, Host]]:
    with listening() as (four, six):
        opened = guards.OPEN_PORTS | {four.port, six.port}
        monkeypatch.setattr(guards, "OPEN_PORTS", opened)
        yield four, six


def this_machine(name: str, port: int, *, type: int = 0) -> list[Any]:  # noqa: A002
    """As `socket.getaddrinfo`, but that it asks no name server: its answer may take a while."""
    flags = 0 if "localhost" in name else socket.AI_NUMERICHOST
    if name.endswith((".internal", ".svc", ".local")):
        name = "169.254.169.254"
    return socket.getaddrinfo(name, port, type=type, flags=flags)


def fetcher(**options: object) -> Fetcher:
    return open_fetcher(load_settings(**options), this_machine)


@pytest.mark.parametrize("name", INSIDE, ids=lambda name: ascii(name)[:40])
def test_hosts_inside_are_refused(name: str, inside: tuple[Host, Host]) -> None:
    with Wire.watched() as wire:
        for listener in inside:
            for scheme in ("http", "https"):
                with pytest.raises(UrlRefused) as caught:
                    fetcher().fetch(f"{scheme}://{name}:{listener.port}/x", HUNG)
                assert not ADDRESS.search(str(caught.value))
        with pytest.raises(UrlRefused):
            fetcher().fetch(f"http://{name}/x", HUNG)
    assert wire.asked == []
    assert not inside[0].heads
    assert not inside[1].heads


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text)[:40])
def test_odd_addresses_are_refused(text: str, inside: tuple[Host, Host]) -> None:
    with Wire.watched() as wire:
        for listener in inside:
            with pytest.raises(UrlRefused) as caught:
                fetcher().fetch(text.replace("{port}", str(listener.port)), HUNG)
            assert not ADDRESS.search(str(caught.value))
    assert wire.asked == []
    assert not inside[0].heads
    assert not inside[1].heads


def test_the_listeners_would_have_noticed(inside: tuple[Host, Host]) -> None:
    for listener, listed in zip(inside, ("127.0.0.1", "::1"), strict=True):
        with Wire.watched() as wire:
            fetcher(url_allow=listed).fetch(f"{listener.url}/x", HUNG)
        assert wire.asked == [(listed, listener.port)]
        assert len(listener.heads) == 1


def test_through_the_api(inside: tuple[Host, Host], caplog: pytest.LogCaptureFixture) -> None:
    """All of them again, and then the service serves as before."""
    with (
        live_resolving(this_machine) as server,
        httpx.Client(base_url=server.url, timeout=HUNG) as client,
    ):
        texts = [f"http://{name}:{inside[0].port}/x" for name in INSIDE]
        texts += [text.replace("{port}", str(inside[0].port)) for text in ODD]
        with Wire.watched() as wire:
            for text in texts:
                answer = client.post("/detect", json={"url": text})
                assert answer.status_code == 422, text
                problem = answer.json()
                assert problem["type"] == "urn:sightline:problem:url-refused", text
                assert set(problem) == {"type", "title", "status", "detail"}
                assert not ADDRESS.search(problem["detail"]), text
        assert wire.besides(server.port) == []
        assert client.post("/detect", content=GOOD).json()["count"] == 1
    assert not inside[0].heads
    assert not [record for record in caplog.records if record.exc_info]


ZONE = {
    "inside.test": ["A 127.0.0.1"],
    "inside6.test": ["AAAA ::1"],
    "mapped.test": ["AAAA ::ffff:127.0.0.1"],
    "metadata.test": ["A 169.254.169.254"],
    "private.test": ["A 10.0.0.7"],
    "mixed.test": ["A 93.184.216.34,A 127.0.0.1"],
    "mixed6.test": ["A 93.184.216.34,AAAA ::1"],
    "mixed-last.test": ["A 93.184.216.34,A 93.184.216.35,AAAA 2606:2800::1,AAAA fd00::1"],
    "alias.test": ["CNAME alias2.test"],
    "alias2.test": ["CNAME inside.test"],
    "empty.test": [""],
    "rebind.test": ["A 93.184.216.34", "A 127.0.0.1"],
    "public.test": ["A 93.184.216.34,AAAA 2606:2800::1"],
}


@pytest.fixture
def zone() -> Zone:
    return Zone(ZONE)


@pytest.fixture
def named(zone: Zone) -> Iterator[Fetcher]:
    with name_server(zone) as port:
        yield open_fetcher(load_settings(), resolver(port))


def test_names_that_lead_inside_look_like_names_of_nothing(
    named: Fetcher, inside: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sightline")
    names = [name for name in ZONE if name not in {"rebind.test", "public.test"}]
    said = set()
    with Wire.watched() as wire:
        for name in [*names, "nothing.test", "127.0.0.1"]:
            for port in (80, inside[0].port, inside[1].port, 6379):
                with pytest.raises(UrlRefused) as caught:
                    named.fetch(f"http://{name}:{port}/", HUNG)
                said.add(str(caught.value))
    assert len(said) == 1
    assert wire.asked == []
    assert not inside[0].heads
    assert not inside[1].heads
    # The operator is told.
    assert "mixed6.test" in caplog.text
    assert "refused at port 80: ::1" in caplog.text
    assert "Name or service not known" in caplog.text


def test_a_name_that_changes_after_it_was_checked(
    named: Fetcher, inside: tuple[Host, Host], zone: Zone
) -> None:
    """It is asked for once, and what was checked is what is connected to."""
    url = f"http://rebind.test:{inside[0].port}/"
    with Wire.watched() as wire:
        with pytest.raises(UrlFailed):
            named.fetch(url, HUNG)
        assert zone.asked == [("rebind.test", "A"), ("rebind.test", "AAAA")]
        with pytest.raises(UrlRefused):
            named.fetch(url, HUNG)
    assert wire.asked == [("93.184.216.34", inside[0].port)]
    assert not inside[0].heads


def test_every_public_address_of_a_name_is_tried(named: Fetcher) -> None:
    with Wire.watched() as wire, pytest.raises(UrlFailed):
        named.fetch("https://public.test/", HUNG)
    assert wire.asked == [("93.184.216.34", 443), ("2606:2800::1", 443)]


def test_names_through_the_api(inside: tuple[Host, Host], zone: Zone) -> None:
    names = [name for name in ZONE if name not in {"rebind.test", "public.test"}]
    with ExitStack() as stack:
        port = stack.enter_context(name_server(zone))
        server = stack.enter_context(live_resolving(resolver(port)))
        wire = stack.enter_context(Wire.watched())
        answers = {
            httpx.post(
                f"{server.url}/detect", json={"url": f"https://{name}:{inside[0].port}/"}
            ).text
            for name in [*names, "nothing.test"]
        }
        assert wire.besides(server.port) == []
    assert len(answers) == 1
    assert "url-refused" in answers.pop()


@contextmanager
def leading(locations: dict[str, str], **options: object) -> Iterator[tuple[Host, Fetcher]]:
    """A host that is open, and leads on to other places."""

    def answer(to: Answer, path: str) -> None:
        to.send(redirect(locations[path]) if path in locations else ok(GOOD))

    with host(answer) as running:
        yield running, fetcher(url_allow=f"127.0.0.1:{running.port}")


def test_redirects_are_checked_like_addresses(inside: tuple[Host, Host]) -> None:
    port = inside[0].port
    targets = [
        f"http://127.0.0.1:{port}/", f"http://[::1]:{inside[1].port}/", f"//127.0.0.1:{port}/",
        f"http://localhost:{port}/", f"http://2130706433:{port}/", "http://169.254.169.254/",
        "file:///etc/passwd", "ftp://93.184.216.34/", "gopher://127.0.0.1/", "data:image/png,x",
        "javascript:x", "http://user:secret@93.184.216.34/", "//user@93.184.216.34/",
        "http://93.184.216.34:22/", "https://93.184.216.34:8443/", "http://93.184.216.34:0/",
        "http://[::ffff:127.0.0.1]/", "http://[", "http://" + "a" * 5000 + "/",
        f"http:\\\\127.0.0.1:{port}", f"/\\127.0.0.1:{port}/", f"http://127.0.0.1\t:{port}/",
        f"http://127.0.0.1:{port}/\x7f", "http://nothing.invalid/", "http://①②⑦.0.0.1/",
        "http://93.184.216.34/\xa0",
    ]  # fmt: skip
    locations = {f"/{number}": target for number, target in enumerate(targets)}
    said = set()
    with leading(locations) as (running, opened), Wire.watched() as wire:
        for path in locations:
            with pytest.raises(UrlRefused) as caught:
                opened.fetch(running.url + path, HUNG)
            said.add(str(caught.value))
    assert len(said) == 1
    assert wire.besides(running.port) == []
    assert not inside[0].heads
    assert not inside[1].heads


def test_good_redirects_are_followed() -> None:
    locations = {"/a/1": "2", "/a/2": "/b/3?x=1#y", "/b/3?x=1": "?z", "/b/3?z": "../4", "/4": "5"}
    with leading(locations) as (running, opened):
        assert opened.fetch(f"{running.url}/a/1", HUNG) == GOOD
    assert len(running.heads) == 6


def test_a_redirect_with_unseen_characters_is_not_guessed_at() -> None:
    with leading({"/0": "/a\tb"}) as (running, opened), pytest.raises(UrlRefused):
        opened.fetch(f"{running.url}/0", HUNG)
    assert len(running.heads) == 1


@pytest.mark.parametrize(
    ("locations", "words", "asked"),
    [
        ({f"/{n}": f"/{n + 1}" for n in range(50)}, "more than 5 times", 6),
        ({"/0": "/0"}, "in a circle", 1),
        ({"/0": "/1", "/1": "/0"}, "in a circle", 2),
        ({"/0": "#again"}, "in a circle", 1),
        ({"/0": ""}, "where to", 1),
    ],
)
def test_redirects_that_do_not_end(locations: dict[str, str], words: str, asked: int) -> None:
    with leading(locations) as (running, opened), pytest.raises(UrlFailed) as caught:
        opened.fetch(f"{running.url}/0", HUNG)
    assert words in str(caught.value)
    assert len(running.heads) == asked


@pytest.fixture(scope="module")
def file_server() -> Iterator[Host]:
    """Serves a good picture at every path, but for some."""
    not_pictures = {f"/{name}": body for name, body in pictures.NOT_PICTURES.items()}

    def answer(to: Answer, path: str) -> None:
        if path == "/404":
            to.send(b"HTTP/1.1 404 No\r\nContent-Length: 13\r\n\r\nsecret inside")
        else:
            to.send(ok(not_pictures.get(path, GOOD)))

    with host(answer) as running:
        yield running


@pytest.fixture(scope="module")
def server(file_server: Host) -> Iterator[Live]:
    with live(url_allow=f"127.0.0.1:{file_server.port}") as running:
        yield running


def post(server: Live, body: object, query: str = "", **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/detect{query}", json=body, headers=headers, timeout=HUNG)


@pytest.mark.parametrize("query", ["", "?confidence=0.99", "?classes=dark", "?classes=unicorn"])
def test_a_picture_by_its_address_is_answered_as_if_sent(
    server: Live, file_server: Host, query: str
) -> None:
    sent = httpx.post(f"{server.url}/detect{query}", content=GOOD)
    named = post(server, {"url": f"{file_server.url}/photo"}, query)
    assert named.status_code == sent.status_code
    timed = {"inference_time_ms", "fps", "timing"}
    assert {k: v for k, v in named.json().items() if k not in timed} == {
        k: v for k, v in sent.json().items() if k not in timed
    }


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"]
)
def test_what_counts_as_json(server: Live, file_server: Host, kind: str) -> None:
    body = {"url": f"{file_server.url}/photo"}
    assert post(server, body, **{"content-type": kind}).json()["count"] == 1


def test_an_annotated_picture_by_its_address(server: Live, file_server: Host) -> None:
    answer = post(server, {"url": f"{file_server.url}/photo"}, accept="image/jpeg")
    assert answer.content.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("name", pictures.NOT_PICTURES)
def test_what_is_no_picture_is_refused_as_if_sent(
    server: Live, file_server: Host, name: str
) -> None:
    sent = httpx.post(f"{server.url}/detect", content=pictures.NOT_PICTURES[name])
    named = post(server, {"url": f"{file_server.url}/{name}"})
    assert (named.status_code, named.json()) == (sent.status_code, sent.json())


def test_a_failing_host_is_named_by_its_status_alone(server: Live, file_server: Host) -> None:
    answer = post(server, {"url": f"{file_server.url}/404"})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:sightline:problem:url-failed"
    assert answer.json()["detail"] == "The address cannot be fetched: its host answered 404."


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "malformed-body"),
        (b'{"url":', 400, "malformed-body"),
        (b"\xff\xfe", 400, "malformed-body"),
        (GOOD, 400, "malformed-body"),
        (b"[" * 50_000, 400, "malformed-body"),
        (b"[]", 422, "bad-option"),
        (b"null", 422, "bad-option"),
        (b"{}", 422, "bad-option"),
        (b'{"url": 1}', 422, "bad-option"),
        (b'{"url": ["http://a.test/"]}', 422, "bad-option"),
        (b'{"url": "http://a.test/", "headers": {}}', 422, "bad-option"),
        (b'{"url": "' + b"x" * 70_000 + b'"}', 413, "upload-too-large"),
    ],
)
def test_bodies_that_name_nothing(server: Live, body: bytes, status: int, kind: str) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{server.url}/detect", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:sightline:problem:{kind}"


def test_openapi_shows_the_body(server: Live) -> None:
    told = httpx.get(f"{server.url}/openapi.json").json()
    forms = told["paths"]["/detect"]["post"]["requestBody"][UNGENERATED]
    assert forms["application/json"]["schema"] == {"$ref": "#/components/schemas/UrlBody"}
    schema = told["components"]["schemas"]["UrlBody"]
    assert schema["required"] == ["url"]
    assert schema["additionalProperties"] is False
