"""`POST /predict` on a real socket, with the fake engine behind it, on disk and in memory."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sightline.storage.blobs import Blobs
from support import pictures
from support.eventually import eventually
from support.hosts import Answer, host, ok
from support.predict import ended, files, stuck
from support.problems import problem
from support.servers import Live, live
from support.tasks import is_of, picture

KINDS = ["disk", "memory"]
MAX_UPLOAD = 64 * 1024
BOUNDARY = "5ightl1ne"


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Live]:
    where = {"data_dir": ":memory:"} if request.param == "memory" else {}
    with live(max_upload_mb=MAX_UPLOAD / 2**20, max_pixels=20_000, **where) as running:
        yield running
        # Whatever the tests sent: the next task is worked on.
        with httpx.Client(base_url=running.url, timeout=90) as client:
            last = client.post("/predict", files=files(picture(1)))
            assert ended(client, last)["status"] == "completed"


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=90) as client:
        yield client


def blobs_of(server: Live) -> Blobs:
    blobs: Blobs = server.context.tasks.blobs
    return blobs


@contextmanager
def leaving_no_blobs(server: Live) -> Iterator[None]:
    before = {folder.name for folder in blobs_of(server).folders()}
    yield
    eventually(
        lambda: {folder.name for folder in blobs_of(server).folders()} <= before, "no blob is left"
    )


# What a task comes to


def test_answers_are_those_of_detect(client: httpx.Client) -> None:
    query = "confidence=0.3&classes=bright&max_detections=5"
    several = [picture(3), picture(40, 7), picture(99, 3)]
    accepted = client.post(f"/predict?{query}", files=files(*several))
    body = accepted.json()
    assert accepted.headers["location"] == f"/result/{body['task_id']}"
    assert int(accepted.headers["content-length"]) == len(accepted.content)
    assert (body["status"], body["total"], body["failed"]) == ("queued", 3, 0)
    state = ended(client, accepted)
    assert state["progress"] == {"done": 3, "total": 3, "failed": 0}
    assert (state["status"], state["model"]) == ("completed", "fake")
    for number, data in enumerate(several):
        now = client.post(f"/detect?{query}", files={"file": data}).json()
        entry = state["results"][number]
        assert (entry["index"], entry["filename"]) == (number, f"{number}.png")
        for member in ("model", "digest", "image", "count", "detections"):
            assert entry[member] == now[member], member
        assert set(now) < set(entry)


def test_a_hundred_pictures(client: httpx.Client) -> None:
    state = ended(client, client.post("/predict", files=files(*map(picture, range(100)))))
    assert state["progress"] == {"done": 100, "total": 100, "failed": 0}
    assert all(is_of(entry, entry["index"]) for entry in state["results"])
    assert [entry["filename"] for entry in state["results"]] == [f"{n}.png" for n in range(100)]


@pytest.mark.parametrize("field", ["file", "files"])
def test_one_picture_under_either_name(client: httpx.Client, field: str) -> None:
    state = ended(client, client.post("/predict", files=files(picture(7), field=field)))
    assert is_of(state["results"][0], 7)


def test_names_are_kept_as_far_as_they_can_be_shown(client: httpx.Client) -> None:
    name = "näch\x01ste 漢字 " + "x" * 300
    answer = client.post("/predict", files=[("files", (name, picture(1), "image/png"))])
    shown = ended(client, answer)["results"][0]["filename"]
    assert shown.startswith("näch")
    assert "漢字 x" in shown
    assert "\x01" not in shown
    assert len(shown) == 255


BAD = [
    (b"", "empty-image", 422),
    (b"\xff", "unsupported-image", 415),
    (b"hello, this is text and no picture at all", "unsupported-image", 415),
    (picture(1) + b"\0" * MAX_UPLOAD, "upload-too-large", 413),
    (pictures.png(200, 101), "image-too-large", 413),
    (b"\xff\xd8\xff" + b"\0" * 200, "broken-image", 422),
    (picture(1)[:32], "broken-image", 422),
]


def test_what_is_no_picture_fails_alone(client: httpx.Client, server: Live) -> None:
    good = [picture(number) for number in range(len(BAD) + 1)]
    mixed = [good[0]]
    for (bad, *_), data in zip(BAD, good[1:], strict=True):
        mixed += [bad, data]
    accepted = client.post("/predict", files=files(*mixed))
    assert accepted.json()["failed"] == len(BAD)
    state = ended(client, accepted)
    assert state["status"] == "completed"
    for number, (_, kind, status) in enumerate(BAD):
        entry = state["results"][2 * number + 1]
        assert entry["status"] == "error"
        assert entry["error"]["type"] == f"urn:sightline:problem:{kind}"
        assert entry["error"]["status"] == status
        assert len(entry["error"]["detail"]) > 15
    assert all(is_of(state["results"][2 * number], number) for number in range(len(BAD) + 1))
    kept = next(one for one in blobs_of(server).folders() if one.name == state["task_id"])
    assert kept.bytes == sum(map(len, good))


def test_a_task_of_none_but_bad_files_has_ended_at_once(client: httpx.Client) -> None:
    accepted = client.post("/predict", files=files(b"nonsense", b""))
    state = client.get(accepted.headers["location"]).json()
    assert state["status"] == "error"
    assert state["progress"] == {"done": 2, "total": 2, "failed": 2}


@pytest.mark.parametrize(("bad", "kind", "status"), BAD)
def test_strict_refuses_all(
    client: httpx.Client, server: Live, bad: bytes, kind: str, status: int
) -> None:
    with leaving_no_blobs(server):
        answer = client.post("/predict?strict=true", files=files(picture(1), bad, picture(2)))
    assert "File 2, '1.png'" in problem(answer, status, kind)["detail"]


# What is refused


@pytest.mark.parametrize("count", [0, 101])
def test_number_of_files(client: httpx.Client, server: Live, count: int) -> None:
    body = form(*[picture(1)] * count) if count else f"--{BOUNDARY}--\r\n".encode()
    with leaving_no_blobs(server):
        problem(send(client, body), 422, "wrong-file-count")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("model=other", "there is: fake"),
        ("classes=unicorn", "unicorn"),
        ("classes=99", "99"),
        ("confidence=7", "confidence"),
        ("priority=urgent", "priority"),
        ("strict=perhaps", "strict"),
        ("callback=https://example.com", "callback"),
    ],
)
def test_bad_options(client: httpx.Client, query: str, words: str) -> None:
    answer = client.post(f"/predict?{query}", files=files(picture(1)))
    assert words in problem(answer, 422, "bad-option")["detail"]


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://[::1]/", "ftp://example.com/", "x"])
def test_callbacks_that_lead_inside(client: httpx.Client, url: str) -> None:
    answer = client.post("/predict", params={"callback_url": url}, files=files(picture(1)))
    problem(answer, 422, "callback-refused")


def test_another_field(client: httpx.Client, server: Live) -> None:
    with leaving_no_blobs(server):
        answer = client.post("/predict", files=files(picture(1)), data={"confidence": "0.3"})
    assert "'confidence'" in problem(answer, 422, "wrong-file-count")["detail"]


def test_broken_envelopes(client: httpx.Client, server: Live) -> None:
    with leaving_no_blobs(server):
        for body in (form(picture(1), picture(2))[:-30], b"", b"nonsense"):
            problem(send(client, body), 400, "malformed-body")
        answer = client.post("/predict", content=picture(1), headers={"content-type": "image/png"})
        problem(answer, 400, "malformed-body")
        long = f"--{BOUNDARY}\r\nX: {'y' * 20_000}\r\n\r\n--{BOUNDARY}--\r\n".encode()
        problem(send(client, long), 400, "malformed-body")


def form(*data: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'
    parts = [head.encode() + one + b"\r\n" for one in data]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def send(client: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return client.post("/predict", content=body, headers=kind | headers)


def test_a_body_beyond_a_hundred_pictures_is_refused_by_its_head(server: Live) -> None:
    head = begin(100 * (MAX_UPLOAD + 64 * 1024) + 1)
    assert b" 413 " in talk(server, head)


def begin(length: int) -> bytes:
    return (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode()


def talk(server: Live, sent: bytes) -> bytes:
    """The answer's first bytes to what is sent; the connection stays open meanwhile."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(sent)
        return connection.recv(4096)


def test_a_client_that_hangs_up_leaves_nothing(server: Live, client: httpx.Client) -> None:
    body = form(picture(1), picture(2) + b"\0" * 50_000, picture(3))
    with leaving_no_blobs(server):
        for sent in (len(body) - 10, len(body) // 2, 300):
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(begin(len(body)) + body[:sent])


# Again


def test_the_same_key_and_body_are_the_same_task(client: httpx.Client, server: Live) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = client.post("/predict?priority=low", files=files(picture(1), b"no"), headers=key)
    ended(client, first)
    with leaving_no_blobs(server):
        again = client.post("/predict?priority=low", files=files(picture(1), b"no"), headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers


def test_the_same_key_and_another_body_conflict(client: httpx.Client, server: Live) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    ended(client, client.post("/predict", files=files(picture(1)), headers=key))
    with leaving_no_blobs(server):
        for query, sent in [
            ("", files(picture(2))),
            ("", files(picture(1), picture(1))),
            ("", files(picture(1), field="files") + files(b"")),
            ("?confidence=0.1", files(picture(1))),
            ("?priority=high", files(picture(1))),
        ]:
            answer = client.post(f"/predict{query}", files=sent, headers=key)
            problem(answer, 409, "idempotency-conflict")


def test_what_is_there_already_is_answered_however_much_waits() -> None:
    """It takes no room, and nothing of it is written: 40 of 40 pictures wait."""
    pair = files(picture(1), b"no picture", picture(2) + b"\0" * 300_000)
    urls = json.dumps({"urls": ["https://example.com/x.jpg"]})
    kind = {"content-type": "application/json"}
    first_key, second_key = ({"Idempotency-Key": uuid.uuid4().hex} for _ in range(2))
    with (
        live(max_backlog_images=40, max_backlog_mb=1) as server,
        httpx.Client(base_url=server.url, timeout=90) as client,
        stuck(server),
    ):
        first = client.post("/predict", files=pair, headers=first_key)
        second = client.post("/predict", content=urls, headers=second_key | kind)
        filling = client.post("/predict", files=files(*[picture(1)] * 38))
        assert {one.status_code for one in (first, second, filling)} == {201}
        problem(client.post("/predict", files=files(picture(1))), 503, "overloaded")
        with leaving_no_blobs(server):
            again = client.post("/predict", files=pair, headers=first_key)
            other = client.post("/predict", files=files(picture(1)), headers=first_key)
            named = client.post("/predict", content=urls, headers=second_key | kind)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["idempotent-replayed"] == "true"
        assert (named.status_code, named.content) == (201, second.content)
        problem(other, 409, "idempotency-conflict")
        for pieces in (b"", b"--x--\r\n"):
            problem(send(client, pieces, **first_key), 400, "malformed-body")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_keys_that_are_none(client: httpx.Client, key: str) -> None:
    answer = client.post("/predict", files=files(picture(1)), headers={"Idempotency-Key": key})
    problem(answer, 422, "bad-option")


# Addresses


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"urls": []}, 422, "wrong-file-count"),
        ({"urls": ["https://example.com/x.jpg"] * 101}, 422, "wrong-file-count"),
        ({"url": "https://example.com/x.jpg"}, 422, "bad-option"),
        ({"urls": "https://example.com/x.jpg"}, 422, "bad-option"),
        ({"urls": ["https://example.com/" + "x" * 5000]}, 422, "bad-option"),
        ("{", 400, "malformed-body"),
        ({"urls": ["http://127.0.0.1/x.jpg"]}, 422, "url-refused"),
        ({"urls": ["https://example.com/a.jpg", "http://169.254.169.254/"]}, 422, "url-refused"),
        ({"urls": ["http://user:word@example.com/x"]}, 422, "url-refused"),
        ({"urls": ["file:///etc/passwd"]}, 422, "url-refused"),
        ({"urls": ["s3://other/x.jpg"]}, 422, "url-refused"),
        ({"urls": ["s3://other"]}, 422, "url-refused"),
        ({"urls": ["photo.jpg"]}, 422, "url-refused"),
    ],
)
def test_addresses_that_are_refused(
    client: httpx.Client, body: Any, status: int, kind: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": "application/json"}
    problem(client.post("/predict", content=content, headers=headers), status, kind)


def test_addresses_are_fetched_and_judged_each(tmp_path: Path) -> None:
    def answer(to: Answer, path: str) -> None:
        to.send(ok(picture(5) if path.startswith("/5.png") else b"this is no picture, it is text"))

    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "6.png").write_bytes(picture(6))
    (tmp_path / "closed.png").write_bytes(picture(7))
    prefix = f"file://{tmp_path}/open/"
    with (
        host(answer) as there,
        live(url_allow=f"127.0.0.1:{there.port}", url_prefixes=prefix) as server,
        httpx.Client(base_url=server.url, timeout=90) as client,
    ):
        for bad in ("../closed.png", "%2e%2e/closed.png", "x/../../closed.png", "..%2Fclosed.png"):
            refused = client.post("/predict", json={"urls": [f"{there.url}/5.png", prefix + bad]})
            assert "Address 2" in problem(refused, 422, "url-refused")["detail"]
        urls = [f"{there.url}/5.png?key=secret", f"{there.url}/text", f"{prefix}6.png"]
        state = ended(client, client.post("/predict", json={"urls": urls}))
        assert [entry["filename"] for entry in state["results"]] == ["5.png", "text", "6.png"]
        assert is_of(state["results"][0], 5)
        assert state["results"][1]["error"]["type"] == "urn:sightline:problem:unsupported-image"
        assert is_of(state["results"][2], 6)
        drawn = client.get(f"/result/{state['task_id']}/images/0")
        assert drawn.headers["content-type"] == "image/jpeg"


# Limits


def test_a_full_backlog_is_told_before_the_body_is_read() -> None:
    with (
        live(max_backlog_images=40, max_backlog_mb=1) as server,
        httpx.Client(base_url=server.url, timeout=90) as client,
    ):
        with stuck(server):
            many = client.post("/predict", files=files(*[picture(1)] * 41))
            problem(many, 422, "wrong-file-count")  # it would never do
            first = client.post("/predict", files=files(*[picture(1)] * 40))
            problem(client.post("/predict", files=files(picture(1))), 503, "overloaded")
            eventually(lambda: client.get("/tasks").json()["bytes_waiting"], "it is seen")
            assert b" 503 " in talk(server, begin(2 * 2**20))
        assert ended(client, first)["status"] == "completed"
        eventually(
            lambda: client.post("/predict", files=files(picture(1))).status_code == 201,
            "there is room again",
        )


def test_bodies_that_arrive_count_as_if_they_waited() -> None:
    with live(max_backlog_mb=1) as server:
        part = form(picture(1) + b"\0" * 700_000)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow:
            slow.sendall(begin(1_000_000) + part[:700_000])
            reservations = server.context.tasks._reservations
            eventually(lambda: reservations._reserved == 700_000, "it arrives")
            assert b" 503 " in talk(server, begin(700_000))
        eventually(lambda: not reservations._reserved, "it has gone")


def test_a_body_has_time_for_each_of_its_pictures() -> None:
    """Its time as a whole is up long before: what counts is that it comes fast enough."""
    padded = picture(1) + b"\0" * 10_000
    body = form(*[padded] * 5)
    with live(body_timeout=1.5, max_upload_mb=0.01) as server:

        def slowly() -> Iterator[bytes]:
            pause = threading.Event()
            for start in range(0, len(body), 5000):
                yield body[start : start + 5000]
                pause.wait(0.2)

        with httpx.Client(base_url=server.url, timeout=90) as client:
            kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
            answer = client.post("/predict", content=slowly(), headers=kind)
            assert answer.status_code == 201
            assert b" 408 " in talk(server, begin(len(body)) + body[:100])


def test_a_proxy_shows_the_service_elsewhere() -> None:
    with live(root_path="/vision") as server:
        answer = httpx.post(f"{server.url}/vision/predict", files=files(picture(1)))
        assert answer.headers["location"].startswith("/vision/result/")
        assert httpx.get(f"{server.url}{answer.headers['location']}").status_code == 200
