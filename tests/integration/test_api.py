"""The HTTP API on a real socket, with the fake engine behind it."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from sightline import Detector, ModelError
from support import pictures
from support.eventually import eventually
from support.problems import problem
from support.servers import Live, live

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
BOX = {"x1": 0.0, "y1": 0.0, "x2": 64.0, "y2": 48.0}


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live() as running:
        yield running


@pytest.fixture
def client(server: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=90) as client:
        yield client
        # Whatever a test sent: the next good picture is answered.
        assert client.post("/detect", files={"file": GOOD}).json()["count"] == 1


def test_multipart(client: httpx.Client) -> None:
    answer = client.post("/detect", files={"file": ("photo.jpg", GOOD, "image/jpeg")})
    assert answer.status_code == 200
    assert "transfer-encoding" not in answer.headers
    body = answer.json()
    assert body["model"] == "fake"
    assert body["image"] == {"width": 64, "height": 48}
    assert body["count"] == 1
    assert body["detections"][0]["label"] == "bright"
    assert body["detections"][0]["bbox"] == BOX
    assert set(body["timing"]) == {
        "queue_ms", "decode_ms", "inference_ms", "postprocess_ms", "total_ms",
    }  # fmt: skip
    assert body["fps"] == pytest.approx(1000 / max(body["inference_time_ms"], 0.01), rel=0.01)


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "image/png", "application/octet-stream", "text/plain", None]
)
def test_raw_body_whatever_it_calls_itself(client: httpx.Client, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert client.post("/detect", content=GOOD, headers=headers).json()["count"] == 1


def test_curl_data_binary_works(client: httpx.Client) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/detect", content=GOOD, headers=headers).json()["count"] == 1


def test_chunked_body(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(GOOD), 100):
            yield GOOD[start : start + 100]

    assert client.post("/detect", content=chunks()).json()["count"] == 1


@pytest.mark.parametrize(
    "content", [GOOD, pictures.png(), pictures.encode(Image.new("L", (1, 1), 255), "GIF")]
)
def test_annotated_picture(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/detect", files={"file": content}, headers={"accept": "image/jpeg"})
    assert answer.headers["content-type"] == "image/jpeg"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content.startswith(b"\xff\xd8\xff")


def test_options(client: httpx.Client) -> None:
    def count(query: str) -> int:
        answer = client.post(f"/detect?{query}", files={"file": GOOD})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["count"])

    assert count("confidence=0.99") == 0
    assert count("classes=dark") == 0
    assert count("classes=dark,bright") == 1
    assert count("classes=dark&classes=0") == 1
    assert count("confidence=0&iou=1&max_detections=1&model=fake") == 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("confidence=7", "confidence"),
        ("confidence=nan", "confidence"),
        ("confidence=-0.1", "confidence"),
        ("confidence=high", "confidence"),
        ("confidence=", "confidence"),
        ("iou=2", "iou"),
        ("max_detections=0", "max_detections"),
        ("max_detections=1e9", "max_detections"),
        ("classes=unicorn", "unicorn"),
        ("classes=99", "99"),
        ("model=other", "there is: fake"),
        ("confidense=0.3", "confidense"),
        ("classes=", "empty class"),
        ("classes=dark,", "empty class"),
    ],
)
def test_bad_options(client: httpx.Client, query: str, words: str) -> None:
    answer = client.post(f"/detect?{query}", files={"file": GOOD})
    assert words in problem(answer, 422, "bad-option")["detail"]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("name", pictures.NOT_PICTURES)
def test_not_a_picture(client: httpx.Client, name: str, raw: bool) -> None:
    content = pictures.NOT_PICTURES[name]
    given: dict[str, Any] = (
        {"content": content} if raw else {"files": {"file": ("photo.jpg", content, "image/jpeg")}}
    )
    problem(client.post("/detect", **given), 415, "unsupported-image")


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 422, "empty-image"),
        (pictures.jpeg(640, 480)[:-2000], 422, "broken-image"),
        (pictures.jpeg(640, 480)[:30], 422, "broken-image"),
        (pictures.bare_png(64, 64, claims=(640, 640)), 422, "broken-image"),
        (pictures.bare_png(64, 64, claims=(50_000, 50_000)), 413, "image-too-large"),
        (pictures.bare_png(10_000, 10_000), 413, "image-too-large"),
        (pictures.jpeg() + bytes(11_000_000), 413, "upload-too-large"),
    ],
    ids=["empty", "truncated", "header-only", "lying", "lying-huge", "30000x30000", "11MB"],
)
@pytest.mark.parametrize("raw", [True, False])
def test_bad_pictures(
    client: httpx.Client, content: bytes, status: int, kind: str, raw: bool
) -> None:
    given: dict[str, Any] = {"content": content} if raw else {"files": {"file": content}}
    problem(client.post("/detect", **given), status, kind)


@pytest.mark.parametrize(
    "content",
    [
        pictures.encode(
            Image.new("RGB", (32, 32), "white"), "GIF", save_all=True,
            append_images=[Image.new("RGB", (32, 32), "black")],
        ),
        pictures.encode(Image.new("RGB", (1, 1), "white"), "PNG"),
        pictures.encode(Image.new("RGB", (8000, 2), "white"), "PNG"),
        pictures.encode(Image.new("RGB", (2, 8000), "white"), "JPEG"),
    ],
    ids=["animated-gif", "1x1", "8000x2", "2x8000"],
)  # fmt: skip
def test_unusual_but_good_pictures(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/detect", files={"file": content})
    assert (answer.status_code, answer.json()["count"]) == (200, 1)


def multipart(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


FILE = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
FORM = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("content_type", "body", "status", "kind", "words"),
    [
        ("multipart/form-data", multipart(FILE + GOOD), 400, "malformed-body", "boundary"),
        ("multipart/form-data; boundary=", b"--b--\r\n", 400, "malformed-body", "boundary"),
        ("multipart/form-data; boundary=" + "b" * 300, b"", 400, "malformed-body", "oundary"),
        ("multipart/mixed; boundary=b", multipart(FILE + GOOD), 400, "malformed-body", "form-data"),
        (FORM, b"", 400, "malformed-body", "closing boundary"),
        (FORM, b"no boundary in here", 400, "malformed-body", "malformed"),
        (FORM, multipart(FILE + GOOD, end=b""), 400, "malformed-body", "closing boundary"),
        (FORM, multipart(b"Bad Header\r\n\r\n" + GOOD), 400, "malformed-body", "malformed"),
        (FORM, multipart(b"A: " + b"x" * 9000 + b"\r\n\r\n"), 400, "malformed-body", "malformed"),
        (FORM, b"--b--\r\n", 422, "wrong-file-count", "no file"),
        (FORM, multipart(FILE + GOOD, FILE + GOOD), 422, "wrong-file-count", "more than one"),
        (FORM, multipart(b"\r\n" + GOOD), 422, "wrong-file-count", "''"),
        (
            FORM,
            multipart(b'Content-Disposition: form-data; name="confidence"\r\n\r\n0.3'),
            422, "wrong-file-count", "?confidence=0.3",
        ),
        (FORM, multipart(FILE), 422, "empty-image", "empty"),
    ],
)  # fmt: skip
def test_envelopes(
    client: httpx.Client, content_type: str, body: bytes, status: int, kind: str, words: str
) -> None:
    answer = client.post("/detect", content=body, headers={"content-type": content_type})
    assert words in problem(answer, status, kind)["detail"]


def test_envelopes_that_are_odd_but_good(client: httpx.Client) -> None:
    headers = {"content-type": 'Multipart/Form-Data; charset=utf-8; boundary="b"'}
    body = multipart(b"content-type: image/jpeg\r\n" + FILE + GOOD) + b"an epilogue"
    assert client.post("/detect", content=body, headers=headers).json()["count"] == 1


def test_limits_act_while_the_body_is_read(server: Live) -> None:
    """A client that announces no length and never stops is answered after the limit."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(
            b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"%x\r\n" % 2**20 + GOOD[:12] + bytes(2**20 - 12) + b"\r\n"
        sent = 0
        for _ in range(11):
            connection.sendall(chunk)
            sent += 1
        head = connection.recv(65536)
    assert b"413 " in head.split(b"\r\n")[0]
    assert sent == 11


def test_a_pdf_is_refused_before_the_rest_of_it_arrives(server: Live) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(
            b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
            b"%PDF-1.7 and then nothing for a long time"
        )
        assert b"415 " in connection.recv(65536).split(b"\r\n")[0]


def test_a_declared_length_is_refused_before_any_of_it_arrives(server: Live) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 99000000\r\n\r\n")
        assert b"413 " in connection.recv(65536).split(b"\r\n")[0]


def test_clients_that_leave_cost_nothing(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 clients hang up while their pictures wait: none of those is inferred."""
    reached, barrier, seen = threading.Event(), threading.Event(), []

    def hold(images: np.ndarray) -> None:
        seen.append(len(images))
        reached.set()
        assert barrier.wait(60)

    request = b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    engine: Any = server.detector._engine
    submit, futures = server.detector.submit, list[Any]()

    def noted(*arguments: Any, **options: Any) -> Any:
        futures.append(submit(*arguments, **options))
        return futures[-1]

    monkeypatch.setattr(server.detector, "submit", noted)
    before, engine.before_infer = engine.before_infer, hold
    try:
        first = threading.Thread(
            target=httpx.post, args=(f"{server.url}/detect",), kwargs={"content": GOOD}
        )
        first.start()
        assert reached.wait(60)
        leavers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for connection in leavers:
            connection.sendall(request)
        wait_until(lambda: waiting(server) >= 20)
        for connection in leavers:
            connection.close()
        wait_until(lambda: sum(future.cancelled() for future in futures) == 20)
        barrier.set()
        first.join(60)
        assert httpx.post(f"{server.url}/detect", content=GOOD).json()["count"] == 1
    finally:
        barrier.set()
        engine.before_infer = before
    assert sum(seen) == 2


def waiting(server: Live) -> int:
    pipeline = server.detector._pipeline
    return len(pipeline._lanes) + pipeline._capacity - pipeline._room


def wait_until(condition: Any) -> None:
    eventually(condition, "it did not happen")


def test_overload_is_a_503_with_a_time() -> None:
    with live(max_queue=2) as server:
        barrier, reached = threading.Event(), threading.Event()

        def hold(_images: np.ndarray) -> None:
            reached.set()
            assert barrier.wait(60)

        server.detector._engine.before_infer = hold  # type: ignore[attr-defined]
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(httpx.post(f"{server.url}/detect", content=GOOD, timeout=60))

        threads = [threading.Thread(target=ask) for _ in range(30)]
        for thread in threads:
            thread.start()
        assert reached.wait(60)
        wait_until(lambda: len(answers) >= 30 - 4 - 2 * 4 - 2)
        barrier.set()
        for thread in threads:
            thread.join(60)
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(answers) == 30
        assert 10 <= len(refused) < 30
        for answer in refused:
            body = problem(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) == body["retry_after"] >= 1
        assert httpx.post(f"{server.url}/detect", content=GOOD).status_code == 200


def test_health(client: httpx.Client) -> None:
    body = client.get("/health").json()
    assert body["status"] == "ok"
    assert (body["model"], body["engine"], body["device"]) == ("fake", "fake", "cpu")
    assert body["gpu_available"] in {True, False}
    assert client.get("/health/live").json() == {"status": "ok"}
    assert client.get("/health/ready").json() == {"status": "ok"}


def test_a_dead_worker_turns_ready_red(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_images: np.ndarray) -> None:
        raise SystemExit

    def gone(_name: str, _source: str | None) -> Detector:
        raise ModelError("it is gone")

    with live() as server:
        monkeypatch.setattr(server.repository, "_open", gone)
        server.detector._engine.before_infer = die  # type: ignore[attr-defined]
        problem(httpx.post(f"{server.url}/detect", content=GOOD), 503, "worker-died")
        for path in ("/health", "/health/ready"):
            body = problem(httpx.get(server.url + path), 503, "not-serving")
            assert "worker died" in body["detail"]
        assert httpx.get(f"{server.url}/health/live").status_code == 200


def test_the_frameworks_own_errors_are_problems(client: httpx.Client) -> None:
    problem(client.get("/nothing/here"), 404, "not-found")
    answer = client.get("/detect")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"this is not HTTP\r\n\r\n",
        b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_get_a_problem(server: Live, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request_bytes)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 400 " in head.split(b"\r\n")[0]
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400


def test_clients_that_leave_in_mid_body_are_no_error(
    server: Live, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(
                b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + GOOD[:90]
            )
    assert httpx.post(f"{server.url}/detect", content=GOOD).json()["count"] == 1
    assert not [record for record in caplog.records if record.exc_info]


def test_metadata_made_to_keep_the_server_busy_does_not(client: httpx.Client) -> None:
    """5000 colour profiles of a megabyte each, packed into 5 MB: they are not unpacked."""
    profile = pictures.chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(2**20)))
    content = pictures.png()[:33] + profile * 5000 + pictures.png()[33:]
    assert client.post("/detect?confidence=0", content=content).json()["count"] == 1


def test_an_engine_failure_is_a_500_without_a_traceback(server: Live) -> None:
    def fail(_images: np.ndarray) -> None:
        raise RuntimeError("a secret of the engine")

    engine: Any = server.detector._engine
    before, engine.before_infer = engine.before_infer, fail
    try:
        answer = httpx.post(f"{server.url}/detect", content=GOOD)
    finally:
        engine.before_infer = before
    assert "secret" not in json.dumps(problem(answer, 500, "internal"))
    assert httpx.post(f"{server.url}/detect", content=GOOD).json()["count"] == 1


@pytest.mark.parametrize("path", ["/health", "/nothing", "/docs", "/health/live"])
def test_every_answer_names_the_device(client: httpx.Client, path: str) -> None:
    named = client.get(path).headers["x-sightline-device"]
    assert named == "cpu; engine=fake; precision=fp32"


def test_docs_need_no_other_host(client: httpx.Client) -> None:
    import re

    page = client.get("/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    for link in links:
        assert link.startswith("/"), link
        assert client.get(link).status_code == 200
