"""A front end and the engine process, on a real socket: what each does when the other ends."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sightline import errors
from sightline.api.app import create_app
from sightline.api.problems import answer_to
from sightline.api.request_info import open_info
from sightline.backend import remote as remote_module
from sightline.backend.framing import Frame, error_from_header, error_to_header, pack, read_frame
from sightline.backend.messages import DeviceInfo
from sightline.backend.operations import STATUS
from sightline.errors import (
    ConfigError,
    DetectorClosed,
    InferenceError,
    Overloaded,
    SightlineError,
    TooManyAtOnce,
)
from sightline.machine import budget
from sightline.settings import load_settings
from sightline.workers.balancing import ConnectionCounts
from sightline.workers.engine import end_if_hung
from sightline.workers.handover import from_json, to_json
from sightline.workers.restarts import how_it_ended
from sightline.workers.supervisor import require_unix_sockets, supervise
from support.backends import GOOD, HELD, Bench, Sent, local, remote, rpc_server


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(whole())


@contextmanager
def held(bench: Bench) -> Iterator[tuple[threading.Event, threading.Event, list[int]]]:
    """The engine waits: whether it was reached, what lets it go on, and its batches."""
    reached, go_on, seen = threading.Event(), threading.Event(), list[int]()

    def hold(images: Any) -> None:
        seen.append(len(images))
        reached.set()
        go_on.wait(60)

    bench.engine.before_infer = hold
    try:
        yield reached, go_on, seen
    finally:
        go_on.set()


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


# Errors


def example(cls: type[SightlineError]) -> SightlineError:
    """An error with a value for whatever it takes."""
    values: dict[str, Any] = {
        "str": "what was wrong, and what to do: ü",
        "int": 7,
        "int | None": 16,
    }
    _, *taken = inspect.signature(cls.__init__).parameters.values()
    if any(parameter.name == "args" for parameter in taken):
        return cls(values["str"])
    return cls(*(values[parameter.annotation] for parameter in taken))


PUBLIC = [
    cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)
]


@pytest.mark.parametrize("cls", PUBLIC)
def test_every_error_survives_the_wire(cls: type[SightlineError]) -> None:
    sent = example(cls)
    got = error_from_header(json.loads(json.dumps(error_to_header(sent))))
    assert type(got) is cls
    assert str(got) == str(sent)
    assert vars(got) == vars(sent)
    scope: Any = {"type": "http", "headers": []}
    open_info(scope, "x", "")
    problems = [answer_to(error, scope) for error in (sent, got)]
    assert problems[0].body == problems[1].body
    assert problems[0].raw_headers == problems[1].raw_headers


def test_an_error_of_nobodys_travels_as_the_nearest_that_is_public() -> None:
    class Odd(errors.BrokenImage):
        pass

    assert type(error_from_header(error_to_header(Odd("odd")))) is errors.BrokenImage


# Frames


def read(data: bytes, max_payload: int = 100) -> Any:
    async def scenario() -> Any:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await read_frame(reader, max_payload)

    return asyncio.run(scenario())


def test_frames() -> None:
    frame = Frame({"id": 1, "text": "ü"}, b'{"json": true}', b"\0body")
    packed = b"".join(pack(frame))
    assert read(packed) == frame
    for end in range(len(packed)):
        with pytest.raises(EOFError):
            read(packed[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"".join(pack(Frame({}, b"", bytes(101)))),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x03" + bytes(8) + b"{:}",
        b"\0\0\0\x01" + bytes(8) + b"\xff",
    ],
)
def test_what_is_no_frame(data: bytes) -> None:
    with pytest.raises(ConnectionError):
        read(data)


# Ends


def test_when_the_engine_process_ends_all_that_waits_fails_at_once_and_later_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "_PAUSE", 0.01)
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with local(tmp_path, max_concurrent=1) as bench, AsyncExitStack() as stack:
            ending = await stack.enter_async_context(AsyncExitStack())
            await ending.enter_async_context(rpc_server(path, bench))
            front = await stack.enter_async_context(remote(path, bench))
            place = await front.admit("alice")
            with held(bench) as (reached, go_on, _):
                asked = [asyncio.create_task(front.detect()) for _ in range(5)]
                assert await asyncio.to_thread(reached.wait, 60)
                await ending.aclose()
                for result in await asyncio.gather(*asked, return_exceptions=True):
                    assert isinstance(result, DetectorClosed)
                    assert "ended meanwhile" in str(result)
                await away(front)
                await place.aclose()
                go_on.set()
            assert front.backend.device == DeviceInfo("cpu", "fake", "fp32")
            await ending.enter_async_context(rpc_server(path, bench))
            await front.backend.connected()  # type: ignore[attr-defined]
            assert (await front.detect()).body
            await (await front.admit("alice")).aclose()

    run(scenario)


async def away(front: Bench) -> None:
    """Whatever is asked of it is refused at once."""
    for calling in (
        front.detect(),
        front.status(),
        front.load("a", "b"),
        front.remove("a"),
        front.admit("alice"),
    ):
        with pytest.raises(DetectorClosed, match="not there"):
            await calling


def test_when_a_front_end_ends_nothing_of_it_is_left(tmp_path: Path) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with local(tmp_path, max_concurrent=2) as bench, rpc_server(path, bench):
            with held(bench) as (reached, go_on, seen):
                async with remote(path, bench) as other:
                    async with remote(path, bench) as front:
                        places = [await front.admit("alice") for _ in range(2)]
                        first = asyncio.create_task(other.detect())
                        assert await asyncio.to_thread(reached.wait, 60)
                        asked = [asyncio.create_task(front.detect()) for _ in range(20)]
                        await until(lambda: bench.waiting >= 20)
                        with pytest.raises(TooManyAtOnce):
                            await other.admit("alice")
                    results = await asyncio.gather(*asked, return_exceptions=True)
                    assert {type(result) for result in results} == {DetectorClosed}
                    await until(lambda: not bench.detector._pipeline._lanes)
                    places.append(await other.admit("alice"))
                    go_on.set()
                    assert (await first).body
                    assert (await other.detect()).body
                    assert sum(seen) == 2

    run(scenario)


# Limits of the socket


def test_a_front_end_that_sends_too_much_is_cut_off_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with (
            local(tmp_path, max_upload_mb=0.1) as bench,
            rpc_server(path, bench),
            remote(path, bench) as good,
            remote(path, bench) as bad,
        ):
            with pytest.raises(DetectorClosed):
                await bad.detect(GOOD + bytes(200_000))
            assert (await good.detect()).body
            await bad.backend.connected()  # type: ignore[attr-defined]
            assert (await bad.detect()).body

    run(scenario)


def test_what_is_sent_faster_than_it_is_queued_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with local(tmp_path) as bench, rpc_server(path, bench), remote(path, bench) as front:
            go_on, submit = threading.Event(), bench.detector.submit

            def slow(*arguments: Any, **options: Any) -> Any:
                go_on.wait(60)
                return submit(*arguments, **options)

            monkeypatch.setattr(bench.detector, "submit", slow)
            large = GOOD + bytes(HELD // 2)
            asked = [asyncio.create_task(front.detect(large)) for _ in range(5)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
            go_on.set()
            refusal = next(iter(done)).exception()
            assert isinstance(refusal, Overloaded)
            assert refusal.retry_after == 1
            await asyncio.gather(*asked, return_exceptions=True)
            assert (await front.detect(GOOD + bytes(2 * HELD))).body, "one alone always may"

    run(scenario)


def test_a_bug_in_one_call_is_that_calls_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with local(tmp_path) as bench, rpc_server(path, bench), remote(path, bench) as front:
            with monkeypatch.context() as patched:
                patched.setattr(bench.detector, "submit", lambda *_, **__: 1 / 0)
                with pytest.raises(SightlineError, match="its log says how") as caught:
                    await front.detect()
            assert not isinstance(caught.value, InferenceError)
            assert "ZeroDivisionError" in caplog.text
            assert (await front.detect()).body

    run(scenario)


def test_a_picture_whose_client_is_gone_before_it_is_sent_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with local(tmp_path) as bench, rpc_server(path, bench), remote(path, bench) as front:
            reading, go_on = threading.Event(), threading.Event()

            class Slow(Sent):
                def load(self) -> bytes:
                    reading.set()
                    go_on.wait(60)
                    return self.data

            pictures = [Slow(GOOD) for _ in range(3)]
            asked = [asyncio.create_task(front.detect(each)) for each in pictures]
            assert await asyncio.to_thread(reading.wait, 60)
            for each in asked:
                each.cancel()
            go_on.set()
            await asyncio.wait(asked)
            assert not any(each.closed for each in pictures)
            assert (await front.detect()).body

    run(scenario)


def test_an_engine_process_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async def stuck(*_: Any) -> Any:
            await asyncio.Event().wait()

        async with (
            local(tmp_path, rate_limit="9/minute") as bench,
            rpc_server(path, bench),
            remote(path, bench) as front,
        ):
            with monkeypatch.context() as patch:
                patch.setattr(STATUS, "timeout", 0.1)
                patch.setattr(bench.backend, "call", stuck)
                with pytest.raises(DetectorClosed, match="did not answer"):
                    await front.status()
            await front.count("alice")

    run(scenario)


# Small parts


def test_settings_reach_another_process_whole(tmp_path: Path) -> None:
    given = load_settings(
        engine="fake",
        port=0,
        data_dir=tmp_path,
        admin_key="the-boss",
        api_keys="bob:secret",
        models_folder=tmp_path,
        cors_origins="https://a.example, https://b.example",
        rate_limit="5/second",
        workers=3,
    )
    (tmp_path / "sightline.toml").write_text("host = 5")  # it does not count there
    got = from_json(to_json(given))
    assert dict(got) == dict(given)
    assert got.admin_key is not None
    assert got.admin_key.get_secret_value() == "the-boss"


def test_the_front_end_with_fewest_connections_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    counts = [ConnectionCounts.make(path, 3), ConnectionCounts(path), ConnectionCounts(path)]
    assert [one.is_least(index) for index, one in enumerate(counts)] == [True] * 3
    counts[0].write(0, 7)
    counts[1].write(1, 6)
    assert [one.is_least(index) for index, one in enumerate(counts)] == [False, True, False]
    counts[2].write(1, None)  # it has died
    assert [one.is_least(index) for index, one in enumerate(counts)] == [True, False, False]


def test_front_ends_divide_the_budget_for_uploads(tmp_path: Path) -> None:
    settings = load_settings(engine="fake", data_dir=tmp_path, workers=3)
    nothing: Any = None  # the server is not started
    budgets = [create_app(settings, nothing, share).upload_budget for share in (1, 4)]
    assert budgets[1].memory == budgets[0].memory // 4 == budget().uploads // 4
    assert budgets[1].disk == budgets[0].disk // 4


def test_a_platform_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    require_unix_sockets()
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(ConfigError, match="leave it at 0"):
        require_unix_sockets()


def test_a_folder_whose_path_is_too_long_for_a_socket_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with socket.socket() as listener, pytest.raises(ConfigError, match="Set TMPDIR"):
        supervise(load_settings(workers=1), "", listener, lambda _: None)
    assert list(folder.iterdir()) == []


def test_ends_in_words() -> None:
    assert how_it_ended(-9) == "was killed by SIGKILL"
    assert how_it_ended(3) == "ended with exit code 3"
    assert how_it_ended(-40) == "was killed by signal 40"


def test_an_engine_process_that_hangs_ends_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(logging, "shutdown", lambda: None)

    async def scenario() -> None:
        async with local(tmp_path) as bench:
            watching = asyncio.create_task(end_if_hung(bench.backend, 0.01, ended.append))
            with held(bench) as (entered, go_on, _):
                asked = asyncio.create_task(bench.detect())
                assert await asyncio.to_thread(entered.wait, 60)
                assert not watching.done()
                monkeypatch.setattr("sightline.serving.repository._HUNG_AFTER", 0.0)
                await watching
                go_on.set()
                await asked

    run(scenario)
    assert ended == [70]
    assert "its engine has not returned from a call for" in caplog.text
