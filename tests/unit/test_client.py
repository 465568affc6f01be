"""The client without a service: errors, retries, uploads, and what it costs to import."""

from __future__ import annotations

import asyncio
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import sightline.client
from sightline import SightlineError
from sightline.client import Client, Result, errors, handle
from sightline.client.blocking import TaskHandle
from sightline.client.handle import AsyncTaskHandle
from sightline.client.pictures import gather
from sightline.client.transport import AsyncTransport, BlockingTransport
from sightline.client.upload import FormUpload
from support.bad_servers import answer, bad_server
from support.clients import Kind, Told, client_of
from support.hosts import host

if TYPE_CHECKING:
    import socket
    import ssl

ROOT = Path(__file__).resolve().parents[2]
ANSWER = {
    "model": "m",
    "digest": "d",
    "image": {"width": 40, "height": 30},
    "detections": [
        {
            "label": "bus",
            "class_id": 5,
            "confidence": 0.9,
            "bbox": {"x1": 1, "y1": 2, "x2": 3, "y2": 4},
        }
    ],
    "timing": {
        "queue_ms": 1,
        "decode_ms": 1,
        "inference_ms": 1,
        "postprocess_ms": 1,
        "total_ms": 4,
    },
}


def problem(status: int, slug: str, **more: Any) -> dict[str, Any]:
    return {
        "type": f"urn:sightline:problem:{slug}",
        "title": "It failed",
        "status": status,
        "detail": "Do this.",
        **more,
    }


# Names


def test_public_names() -> None:
    assert sightline.client.__all__ == [
        "Answer",
        "AsyncClient",
        "AsyncTaskHandle",
        "Client",
        "ClientError",
        "Problem",
        "Progress",
        "Result",
        "TaskHandle",
        "errors",
    ]
    assert dir(sightline.client) == sightline.client.__all__
    for name in sightline.client.__all__:
        assert getattr(sightline.client, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sightline.client.nonsense


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_both_clients_can_do_the_same() -> None:
    ours = public(sightline.client.Client)
    assert ours == public(sightline.client.AsyncClient) == {"close", "detect", "submit", "task"}
    both = {"annotated", "cancel", "ids", "results", "retry", "status", "wait"}
    assert public(TaskHandle) - {"total"} == both
    assert public(AsyncTaskHandle) == both | {"abandon", "add", "glance"}
    for cls in (sightline.client.Client, TaskHandle):
        assert all(getattr(cls, name).__doc__ for name in public(cls))


def test_naming_the_client_loads_nothing() -> None:
    code = "import sys, sightline.client; print(' '.join(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"httpx", "numpy", "anyio", "PIL", "pydantic"} & set(loaded)
    code = "import sys; from sightline.client import Client; print(' '.join(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"cv2", "openvino", "onnxruntime", "fastapi", "pydantic", "PIL"} & set(loaded)


# Errors


def test_every_type_of_problem_has_a_class() -> None:
    page = (ROOT / "docs" / "reference" / "problems.md").read_text("utf-8")
    documented = set(re.findall(r"`(urn:sightline:problem:[a-z-]+)`", page))
    assert documented == set(errors.PROBLEMS)


def test_a_problem_says_all_that_the_service_said() -> None:
    body = problem(503, "overloaded", retry_after=7, more="this")
    error = errors.problem_of(body)
    assert type(error) is errors.Overloaded
    assert isinstance(error, errors.TryLater | SightlineError)
    assert (error.status, error.title, error.detail) == (503, "It failed", "Do this.")
    assert (error.type, error.retry_after) == ("urn:sightline:problem:overloaded", 7)
    assert error.problem == body
    assert str(error) == "Do this."
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  ours
    assert (type(again), again.problem) == (type(error), body)


def test_a_type_that_is_not_known_is_a_problem() -> None:
    error = errors.problem_of(problem(418, "teapot"))
    assert type(error) is errors.Problem
    assert error.retry_after is None


# Requests


class Script:
    """A service that answers as it is told to, one answer after the other; the last one stays."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A response can be given once: a client makes it its own.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


MakeClient = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def make_client(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeClient]:
    """Gives a client of a script; its pauses are kept there, and take no time."""
    kind: Kind = request.param
    opened = []

    def ask(script: Script | Forgetful, **options: Any) -> Any:
        async def sleep(_: object, seconds: float) -> None:
            script.pauses.append(seconds)

        for wire in (BlockingTransport, AsyncTransport):
            monkeypatch.setattr(wire, "sleep", sleep)
        opened.append(client_of(kind, transport=httpx.MockTransport(script), **options))
        return opened[-1].__enter__()

    yield ask
    for one in opened:
        one.__exit__(None, None, None)


def later(status: int, slug: str, after: str = "7") -> httpx.Response:
    return httpx.Response(status, headers={"Retry-After": after}, json=problem(status, slug))


GOOD = httpx.Response(200, json=ANSWER)


@pytest.mark.parametrize(
    "refusal",
    [later(503, "overloaded"), later(429, "rate-limited"), later(429, "too-many-at-once")],
)
def test_retry_after_is_honoured_with_jitter(
    make_client: MakeClient, refusal: httpx.Response
) -> None:
    script = Script(*[refusal] * 8, GOOD)
    answer = make_client(script).detect(b"a picture")
    assert len(script.pauses) == 8
    assert all(7 <= pause <= 7 * 1.25 for pause in script.pauses)
    assert len(set(script.pauses)) > 1, "not all at once"
    assert [found.label for found in answer.detections] == ["bus"]
    assert answer.detections.labels == ("", "", "", "", "", "bus")
    assert b"a picture" in script.requests[-1].read(), "it is sent again, all of it"


@pytest.mark.parametrize(
    "date",
    [
        lambda moment: formatdate(moment, usegmt=True),
        formatdate,  # ends in -0000
        lambda moment: time.asctime(time.gmtime(moment)),
    ],
    ids=["GMT", "-0000", "asctime"],
)
def test_retry_after_may_be_a_date(make_client: MakeClient, date: Callable[[float], str]) -> None:
    script = Script(later(503, "overloaded", date(time.time() + 90)), GOOD)
    make_client(script).detect(b"a picture")
    assert 30 <= script.pauses[0] <= 90 * 1.25


@pytest.mark.parametrize("after", ["", "soon", "-7", "\xb2"])
def test_retry_after_may_be_nonsense(make_client: MakeClient, after: str) -> None:
    refusal = httpx.Response(503, headers={b"Retry-After": after.encode("latin-1")})
    script = Script(refusal, GOOD)
    make_client(script).detect(b"a picture")
    assert len(script.pauses) == 1


def test_retries_have_an_end(make_client: MakeClient) -> None:
    script = Script(later(503, "overloaded", "300"))
    with pytest.raises(errors.Overloaded) as refused:
        make_client(script).detect(b"a picture")
    assert refused.value.retry_after == 300
    assert len(script.requests) == 1, "it would be too late"


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.WriteError("broken pipe"),
        httpx.RemoteProtocolError("disconnected"),
        httpx.ReadTimeout("silent"),
        httpx.Response(408, json=problem(408, "body-stalled")),
        httpx.Response(502, text="<html>"),
        httpx.Response(503, text="<html>"),
        httpx.Response(504, text="<html>"),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(
    make_client: MakeClient, trouble: httpx.Response | Exception
) -> None:
    script = Script(*[trouble] * 6, GOOD)
    assert make_client(script).detect(b"a picture").detections
    assert len(script.requests) == 7
    assert all(pause <= 5 for pause in script.pauses)
    assert script.pauses[0] < script.pauses[5]


def test_that_nobody_is_there_is_told_once_meanwhile(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script(
        LOST, GOOD, *[LOST] * 8, GOOD, *[LOST] * 8, GOOD, later(503, "overloaded"), GOOD
    )
    client = make_client(script)
    for _ in range(4):
        client.detect(b"a picture")
    assert [record.name for record in caplog.records if "sightline" in record.name] == [
        "sightline.client",
        "sightline.client",
    ], "of two outages; one lost connection is none, and who is busy is there"
    assert "Nothing answers at http://127.0.0.1:8000 (reset)" in caplog.text
    assert re.search(r"It is asked again for (1[012]|[6-9])\d s more", caplog.text)


def test_who_does_not_prove_to_be_the_service_is_not_asked_again(secure: ssl.SSLContext) -> None:
    asked = []

    def plain(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(answer("400 Bad Request"))

    said = "does not prove to be it .*base_url="
    with host(lambda answer, _path: answer.silence(), tls=secure) as running:
        with (
            Client(running.url, patience=1) as client,
            pytest.raises(errors.Unreachable, match=said),
        ):
            client.detect(b"a picture")
        assert len(running.heads) == 1
    with bad_server(plain) as url, Client(url.replace("http", "https"), patience=1) as client:
        with pytest.raises(errors.Unreachable, match=said):
            client.detect(b"a picture")
        assert len(asked) == 1


@pytest.mark.parametrize("method", ["detect", "submit"])
def test_nobody_there(make_client: MakeClient, method: str) -> None:
    script = Script(httpx.ConnectError("refused"))
    client = make_client(script, patience=0, base_url="http://nobody:9000/below/")
    with pytest.raises(errors.Unreachable, match=r"http://nobody:9000/below \(refused\).*base_url"):
        getattr(client, method)(b"a picture")
    assert script.requests[0].url.path in {"/below/detect", "/below/predict"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401, json=problem(401, "key-wrong")), errors.KeyWrong),
        (httpx.Response(500, json=problem(500, "internal")), errors.Internal),
        (httpx.Response(504, json=problem(504, "deadline-exceeded")), errors.DeadlineExceeded),
        (httpx.Response(404, text="<html>"), errors.UnexpectedAnswer),
        (httpx.Response(301, headers={"Location": "https://a/"}), errors.UnexpectedAnswer),
        (httpx.Response(200, text="<html>"), errors.UnexpectedAnswer),
        (httpx.Response(200, json=[]), errors.UnexpectedAnswer),
        (httpx.Response(200, json={}), errors.UnexpectedAnswer),
        (httpx.Response(400, json={"detail": "no"}), errors.UnexpectedAnswer),
        (httpx.Response(400, json="no"), errors.UnexpectedAnswer),
    ],
)
def test_what_does_not_pass_is_told_at_once(
    make_client: MakeClient, answer: httpx.Response, error: type[Exception]
) -> None:
    script = Script(answer)
    with pytest.raises(error):
        make_client(script).detect(b"a picture")
    assert not script.pauses


def test_where_a_redirect_leads_is_told(make_client: MakeClient) -> None:
    there = {"Location": "https://vision.example/below/predict?a=secret"}
    script = Script(httpx.Response(308, headers=there))
    with pytest.raises(errors.UnexpectedAnswer) as odd:
        make_client(script, base_url="http://vision.example/below").submit(b"a picture")
    assert "http://vision.example/below/predict answered 308" in str(odd.value)
    assert "sends on to https://vision.example/below. If" in str(odd.value)
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "found",
    [
        {"class_id": -1},
        {"class_id": 10**9},
        {"class_id": "x"},
        {"confidence": 2},
        {"bbox": {"x1": 3, "y1": 0, "x2": 0, "y2": 0}},
    ],
)
def test_nonsense_is_told_as_such(make_client: MakeClient, found: dict[str, Any]) -> None:
    wrong = ANSWER | {"detections": [ANSWER["detections"][0] | found]}  # type: ignore[index]
    with pytest.raises(errors.UnexpectedAnswer, match="not as Sightline does"):
        make_client(Script(httpx.Response(200, json=wrong))).detect(b"a picture")


STATE = {
    "status": "processing",
    "progress": {"done": 0, "total": 1, "failed": 0},
    "results": [{"index": 0, "filename": "image-0", "status": "processing"}],
}


def state(status: str, tag: str = '"1"') -> httpx.Response:
    entry = {"index": 0, "filename": "image-0", "status": status, **ANSWER}
    body = STATE | {"status": status, "results": [entry]}
    return httpx.Response(200, headers={"ETag": tag}, json=body)


ACCEPTED = httpx.Response(201, json={"task_id": "abc"})
LOST = httpx.ReadError("reset")


def test_a_submission_that_was_lost_has_the_same_key(make_client: MakeClient) -> None:
    script = Script(LOST, later(503, "not-serving"), ACCEPTED, ACCEPTED)
    client = make_client(script)
    client.submit(b"a picture")
    client.submit(b"a picture")
    keys = [request.headers["Idempotency-Key"] for request in script.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_results_wait_for_what_is_new(make_client: MakeClient) -> None:
    unchanged = httpx.Response(304)
    processing = httpx.Response(200, headers={"ETag": '"1"'}, json=STATE)
    script = Script(ACCEPTED, processing, unchanged, state("completed"))
    (result,) = make_client(script).submit(b"a picture").results()
    assert result.status == "completed"
    first, *others = script.requests[1:]
    assert "wait" not in first.url.params
    assert [one.url.params["wait"] for one in others] == ["20.0", "20.0"]
    assert {one.headers["If-None-Match"] for one in others} == {'"1"'}
    assert others[0].extensions["timeout"]["read"] > 20


def test_waiting_is_for_the_end_alone(make_client: MakeClient) -> None:
    script = Script(ACCEPTED, httpx.Response(200, json=STATE), state("completed"))
    assert len(make_client(script).submit(b"a picture").wait()) == 1
    assert all("If-None-Match" not in one.headers for one in script.requests)
    assert [one.url.params.get("wait") for one in script.requests] == [None, "20.0", "20.0"]


def test_time_is_up_while_nobody_is_there(make_client: MakeClient) -> None:
    script = Script(ACCEPTED, LOST)
    submitted = make_client(script).submit(b"a picture")
    with pytest.raises(errors.TimedOut) as late:
        submitted.wait(0.3)
    assert isinstance(late.value.__cause__, errors.Unreachable)


def test_a_cancellation_that_was_lost_is_repeated_and_forgets_nothing(
    make_client: MakeClient,
) -> None:
    script = Script(ACCEPTED, LOST, state("cancelled"))
    assert make_client(script).submit(b"a picture").cancel().status == "cancelled"
    deletions = script.requests[1:]
    assert [one.method for one in deletions] == ["DELETE", "DELETE"]
    assert {one.url.params["forget"] for one in deletions} == {"false"}


EXPIRED = httpx.Response(410, json=problem(410, "expired-task"))


class Forgetful:
    """A service that answers for its first task, of 100 pictures, what `first` says; else as usual.

    Attributes:
        posted: how many tasks were wholly sent.
    """

    def __init__(self, first: Callable[[], httpx.Response]) -> None:
        self.posted = 0
        self.pauses: list[float] = []
        self.second: Callable[[], httpx.Response] = lambda: state("completed")
        self._first = first

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.posted += 1
            return httpx.Response(201, json={"task_id": f"task-{self.posted}"})
        answer = self._first() if request.url.path.endswith("task-1") else self.second()
        return httpx.Response(answer.status_code, content=answer.content)


def hundred(status: str) -> httpx.Response:
    entries = [{"index": n, "filename": f"f{n}", "status": status, **ANSWER} for n in range(100)]
    progress = {"done": 100, "total": 100, "failed": 0}
    return httpx.Response(200, json={"status": status, "progress": progress, "results": entries})


def test_results_are_fetched_while_more_is_sent(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "_GLANCE", 0)
    monkeypatch.setattr(handle, "_REST", 0)
    sending = []

    class File(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if size:
                sending.append(size)
            return super().read(size)

    def first() -> httpx.Response:
        if service.posted == 2:
            return EXPIRED
        return hundred("completed" if sending else "processing")

    service = Forgetful(first)
    last = File(bytes(10**6))
    submitted = make_client(service).submit([b"a picture"] * 100 + [last])
    assert sending
    results = submitted.wait()
    assert [result.status for result in results] == ["completed"] * 101


@pytest.mark.parametrize("method", ["wait", "results"])
def test_what_has_expired_takes_nothing_else_with_it(make_client: MakeClient, method: str) -> None:
    service = Forgetful(lambda: EXPIRED)
    submitted = make_client(service).submit([b"a picture"] * 101)
    results = sorted(getattr(submitted, method)(), key=lambda result: int(result.index))
    assert [result.index for result in results] == list(range(101))
    assert {type(result.error) for result in results[:100]} == {errors.ExpiredTask}
    assert {result.status for result in results[:100]} == {"error"}
    assert results[100].detections
    now = submitted.status()
    assert (now.status, now.done, now.failed) == ("completed", 101, 100)


def test_results_are_fetched_while_others_are_worked_with(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "_GLANCE", 0)
    monkeypatch.setattr(handle, "_REST", 0)
    given: list[Result] = []

    def second() -> httpx.Response:
        if len(given) < 10:
            return httpx.Response(200, json=STATE)
        return state("completed") if len(given) < 100 else EXPIRED

    service = Forgetful(lambda: hundred("completed"))
    service.second = second
    for result in make_client(service).submit([b"a picture"] * 101).results():
        assert result.status == "completed"
        given.append(result)
    assert len(given) == 101


def test_a_look_on_the_way_may_fail(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "_GLANCE", 0)
    monkeypatch.setattr(handle, "_REST", 0)
    monkeypatch.setattr(handle, "_GLANCE_LASTS", 0)

    def first() -> httpx.Response:
        if service.posted == 1:
            raise LOST
        return hundred("completed")

    service = Forgetful(first)
    submitted = make_client(service).submit([b"a picture"] * 101)
    assert [result.status for result in submitted.wait()] == ["completed"] * 101


def test_what_expires_can_neither_be_cancelled_nor_retried(make_client: MakeClient) -> None:
    script = Script(ACCEPTED, EXPIRED)
    submitted = make_client(script).submit(b"a picture")
    assert submitted.cancel() == submitted.retry()
    (result,) = submitted.wait()
    assert isinstance(result.error, errors.ExpiredTask)


def test_tasks_that_are_found_again_may_expire(make_client: MakeClient) -> None:
    service = Forgetful(lambda: hundred("completed"))
    client = make_client(service)
    service.second = lambda: httpx.Response(200, json=STATE)
    submitted = client.task("task-1", "task-2")
    service.second = lambda: EXPIRED
    results = submitted.wait()
    assert [result.status for result in results] == ["completed"] * 100 + ["error"]
    assert isinstance(results[100].error, errors.ExpiredTask)
    with pytest.raises(errors.ExpiredTask):
        client.task("task-1", "task-2")
    with pytest.raises(ValueError, match="Which tasks"):
        client.task()


class Interrupting(BytesIO):
    """A picture that is being sent when somebody presses Ctrl-C."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__(b"a picture")
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if size:
            raise self._error
        return super().read(size)


@pytest.mark.parametrize("key", [None, "mine"])
def test_an_interrupted_submission_leaves_nothing(
    make_client: MakeClient, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "_PARTING_LASTS", 60)
    deletions: list[int] = []

    def first() -> httpx.Response:
        deletions.append(len(deletions))
        if deletions == [0]:
            raise LOST
        return httpx.Response(204)

    client = make_client(Forgetful(first))
    # An event loop tells its task of Ctrl-C by cancelling it.
    error = asyncio.CancelledError if isinstance(client, Told) else KeyboardInterrupt
    options = {"idempotency_key": key} if key else {}
    with pytest.raises(error):
        client.submit([b"a picture"] * 100 + [Interrupting(error)], **options)
    assert deletions == ([] if key else [0, 1])


def test_the_key_and_who_is_asking(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_API_KEY", "from-the-environment")
    script = Script(GOOD)
    make_client(script, api_key="mine").detect(b"a picture")
    make_client(script).detect(b"a picture")
    assert [one.headers["Authorization"] for one in script.requests] == [
        "Bearer mine",
        "Bearer from-the-environment",
    ]
    assert script.requests[0].headers["User-Agent"].startswith("sightline-python/")
    assert str(script.requests[0].url) == "http://127.0.0.1:8000/detect"


def test_a_key_from_a_file_may_end_in_a_newline(make_client: MakeClient) -> None:
    script = Script(GOOD)
    make_client(script, api_key="mine\n").detect(b"a picture")
    assert script.requests[0].headers["Authorization"] == "Bearer mine"


@pytest.mark.parametrize("key", ["schl\xfcssel", "two\nlines"])
def test_a_key_that_cannot_be_sent_is_not_told(make_client: MakeClient, key: str) -> None:
    with pytest.raises(ValueError, match="API key has characters") as refused:
        make_client(Script(GOOD), api_key=key)
    assert key not in str(refused.value)


@pytest.mark.parametrize("key", ["", "schl\xfcssel", "two\nlines", "x" * 201])
def test_an_idempotency_key_that_cannot_be_sent(make_client: MakeClient, key: str) -> None:
    script = Script(ACCEPTED)
    with pytest.raises(ValueError, match="idempotency_key must be 1 to 200 printable ASCII"):
        make_client(script).submit(b"a picture", idempotency_key=key)
    assert not script.requests


def test_they_show_what_they_are(make_client: MakeClient) -> None:
    client = make_client(
        Forgetful(lambda: hundred("completed")), base_url="http://me:secret@a:1/b/"
    )
    assert "Client('http://a:1/b')" in shown_of(client)
    handle = client.submit([b"a picture"] * 101)
    assert shown_of(handle).endswith(
        "TaskHandle task-1 and 1 more: queued, 0 of 101 pictures have ended>"
    )
    handle.wait()
    assert shown_of(handle).endswith("completed, 101 of 101 pictures have ended>")


def shown_of(one: Any) -> str:
    return repr(getattr(one, "_inner", one))


def test_passwords_are_not_told(make_client: MakeClient) -> None:
    client = make_client(Script(httpx.Response(418)), base_url="http://me:secret@nobody/")
    with pytest.raises(errors.UnexpectedAnswer) as odd:
        client.submit(b"a picture", callback_url="http://a/?secret=1")
    client = make_client(Script(LOST), base_url="http://me:secret@nobody/", patience=0)
    with pytest.raises(errors.Unreachable) as lost:
        client.detect(b"a picture")
    assert "nobody" in str(odd.value)
    assert "secret" not in f"{odd.value} {lost.value}"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://", "http://a:b", "photos"])
def test_no_address_of_a_service(make_client: MakeClient, url: str) -> None:
    with pytest.raises(ValueError, match="no address of a service"):
        make_client(Script(GOOD), base_url=url)


def test_a_client_needs_no_event_loop_and_minds_none() -> None:
    """As in a notebook, whose cells are run by one."""

    async def cell() -> list[Result]:
        script = Script(ACCEPTED, httpx.Response(200, json=STATE), state("completed"))
        with Client(transport=httpx.MockTransport(script)) as client:
            return list(client.submit(b"a picture").results())

    assert len(asyncio.run(cell())) == 1


def test_an_upload_can_be_sent_again() -> None:
    upload = FormUpload("files", list(gather([b"one", b"two" * 200_000])))  # type: ignore[arg-type]
    first, second = b"".join(upload), b"".join(upload)
    assert first == second
    assert len(first) == int(upload.headers["Content-Length"])
    assert b'name="files"; filename="image-0"\r\n' in first
    assert max(map(len, upload)) < 2**20
