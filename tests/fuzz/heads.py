"""Request heads: lines, targets, queries and headers, usual and unusual."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

ADMIN_KEY = b"the-key-of-the-fuzzed-service"
TARGETS = (b"/health", b"/health/live", b"/health/ready", b"/models", b"/nothing", b"/openapi.json")
METHODS = (b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND", b"POST")

_VALUES = (
    b"", b" ", b"0", b"-1", b"1e999", b"nan", b"0x10", b"9" * 400, b"\xff\xfe", b"\xc3\xa9",
    b"a" * 4000,
    b"%00", b"../../etc/passwd", b"<script>", b"'; DROP TABLE", b"\t", b",,,,", b";;;=;",
    b'"', b"=?utf-8?q?",
)  # fmt: skip
_NAMES = (
    b"Host", b"Accept", b"Accept", b"Accept-Encoding", b"X-Request-Id", b"Range", b"Origin",
    b"Authorization",
    b"X-API-Key", b"Cookie", b"If-None-Match", b"If-Modified-Since", b"Content-Type",
    b"Content-Encoding",
    b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Referer", b"User-Agent",
    b"Idempotency-Key",
    b"Access-Control-Request-Method", b"Traceparent", b"Prefer", b"TE", b"Via", b"X-" + b"n" * 300,
)  # fmt: skip
_FITTING = (
    b"Accept: image/jpeg;q=0.5, */*;q=nan", b"Accept: image/jpeg", b"Accept: image/*;q=1e99,,;q",
    b"Range: bytes=0-0,-1,5-", b"Authorization: Bearer", b"Authorization: Basic Og==",
    b"Authorization: Bearer " + b"\xe2\x82\xac" * 9, b"Upgrade: websocket\r\nConnection: Upgrade",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
    b"Expect: 100-continue", b"Origin: null", b"Content-Type: multipart/form-data",
    b"Content-Type: multipart/form-data; boundary=", b"Content-Type: ;;;",
    b"Connection: keep-alive",
    b"Content-Type: application/json", b"Content-Encoding: gzip",
)  # fmt: skip


def head(
    method: bytes, target: bytes, headers: list[bytes], *, version: bytes = b"HTTP/1.1"
) -> bytes:
    lines = [b"%s %s %s" % (method, target, version), b"Host: localhost", *headers, b"", b""]
    return b"\r\n".join(lines)


def post(
    target: bytes,
    body: bytes,
    headers: list[bytes] | None = None,
    method: bytes = b"POST",
    *,
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """With the length that the body has."""
    lines = [*(headers or []), b"Content-Length: %d" % len(body)]
    return head(method, target, lines, version=version) + body


def query(random: Random) -> bytes:
    """Options, most of them wrong."""
    names = (
        b"confidence",
        b"iou",
        b"classes",
        b"max_detections",
        b"model",
        b"confidense",
        b"",
        b"%FF",
    )
    values = (
        b"0.5", b"7", b"nan", b"-0", b"1e-400", b"", b"dark", b"dark,bright", b",", b"99",
        b"fake", b"%00",
        b"%F0%9F%8E%89", b"%", b"%zz", b"%ff%fe", b"9" * 300, b"true", b"[]", b"a" * 3000,
        b"%0d%0aX:y", b"+", b"1_0",
    )  # fmt: skip
    pairs = [
        random.choice(names) + random.choice((b"=", b"=", b"=", b"")) + random.choice(values)
        for _ in range(random.choice((1, 1, 2, 5, 40)))
    ]
    return random.choice((b"?", b"?", b"?&", b"??")) + random.choice((b"&", b"&", b";")).join(pairs)


def strange(random: Random) -> list[bytes]:
    """Headers that are allowed, and that nobody should stumble over."""
    return [
        random.choice(_FITTING)
        if random.random() < 0.4
        else random.choice(_NAMES) + b": " + random.choice(_VALUES)
        for _ in range(random.choice((1, 1, 2, 6, 30)))
    ]


def target(random: Random) -> bytes:
    """Paths that lead nowhere, or that are written in another way."""
    known = random.choice((*TARGETS, b"/detect", b"/docs", b"/models/x"))
    places = (
        known, known + b"/", known.upper(), b"/" + known, known + b"%00", known + b"%2e%2e/",
        b"/%ff%fe",
        b"/../../../etc/passwd", b"/..%2f..%2fetc%2fpasswd", b"/" + b"a" * 5000, b"*", b"/?",
        b"/#x", b"/;x",
        b"http://other.example" + known, b"//other.example" + known, b"/%", b"/%zz",
        b"/static/../app.py",
        b"/docs/oauth2-redirect", b"/static-offline-docs/nothing", b"/models/%2e%2e", b"/\xc3\xa9",
    )  # fmt: skip
    return random.choice(places)


def bad_framing(random: Random) -> tuple[list[bytes], bytes]:
    """(headers, body) where no one can say how long the body is."""
    lengths = (b"5x", b"-1", b"+5", b"5 5", b"0x5", b"5,6", b"9" * 40, b"\xb2", b"5;q=1")
    match random.randrange(4):
        case 0:
            return [b"Content-Length: 5", b"Content-Length: 6"], b"abcdef"
        case 1:
            return [b"Content-Length: " + random.choice(lengths)], b"abcde"
        case 2:
            return [b"Content-Length: 5", b"Transfer-Encoding: chunked"], b"5\r\nabcde\r\n0\r\n\r\n"
        case _:
            codings = (b"chunked, gzip", b"xchunked", b"gzip, identity", b"chunked;")
            return [b"Transfer-Encoding: " + random.choice(codings)], b"5\r\nabcde\r\n0\r\n\r\n"


def bad_head(random: Random) -> bytes:
    """Heads that are complete, and not HTTP/1."""
    good = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
    heads = (
        b"\r\n\r\nNONSENSE\r\n\r\n", random.randbytes(60) + b"\r\n\r\n", b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1.1\r\n\r\n", b"G\0T / HTTP/1.1\r\n\r\n",
        b" GET / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / ICY/1.0\r\n\r\n", b"*1\r\n$4\r\nPING\r\n\r\n",
        b"<html></html>\r\n\r\n", good + b"No colon\r\n\r\n", good + b": no name\r\n\r\n",
        good + b"A b: c\r\n\r\n",
        good + b"X: a\0b\r\n\r\n", good + b"X\0: a\r\n\r\n",
        good + b"\xff: a\r\n\r\n",
        good + b"X: a\r\n folded\r\n\r\n",
        good + b"X : a\r\n\r\n", good + b"X: a\rb\r\n\r\n", good + b"X: \x7f\x01\r\n\r\n",
        b"GET / HTTP/1.1\n\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n", b"GET example.com HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ?x HTTP/1.1\r\nHost: x\r\n\r\n", good + b"Host: y\r\n\r\n",
        b"\xc9NT / HTTP/1.1\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n",
    )  # fmt: skip
    return random.choice(heads)
