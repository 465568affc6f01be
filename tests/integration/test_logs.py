"""Log lines, and what becomes of them where nobody reads them."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from sightline.telemetry import logs
from sightline.telemetry.logs import BackgroundHandler, configure_logs
from support.eventually import eventually


@pytest.fixture(autouse=True)
def _long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LAST_WORDS", 60)


@contextmanager
def configured(form: Literal["json", "text"]) -> Iterator[None]:
    """Logs as a process has them; on return they are written, and others' logs as before."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        configure_logs(form)
        yield
        root.handlers[0].close()
    finally:
        root.handlers = handlers
        root.setLevel(level)  # to assign it would leave what loggers remember of the other one


def test_lines_are_json(capfd: pytest.CaptureFixture[str]) -> None:
    with configured("json"):
        logging.getLogger("sightline.request").info("request", extra={"status": 200})
        seen = RuntimeError("seen")
        logging.getLogger("sightline").error("it broke\nin two lines: \udcff", exc_info=seen)
    first, second = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert (first["event"], first["level"], first["status"]) == ("request", "info", 200)
    assert first["timestamp"].endswith("Z")
    assert second["event"].startswith("it broke\nin two lines")
    assert "RuntimeError: seen" in second["exception"]


def test_text_shows_no_key_and_obeys_no_client(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "sl_secret")

    def fail(key: str) -> None:
        raise RuntimeError(f"{len(key)}\nforged line\x1b[2J")

    with configured("text"):
        client = "\x1b[31m\x9b1m\r\u202e\nforged line"
        logging.getLogger("sightline").info("from %s", client, extra={"client": client})
        try:
            fail(os.environ["SECRET"])
        except RuntimeError:
            logging.getLogger("sightline").exception("failed")
    said = capfd.readouterr().err
    assert "RuntimeError: 9" in said
    assert "sl_secret" not in said
    assert "\nforged" not in said
    assert all(c.isprintable() or c == "\n" for c in said)


def test_nobody_waits_for_a_reader() -> None:
    reading, writing = os.pipe()
    handler = BackgroundHandler(writing, most_lines=10)
    logger = logging.Logger("test")
    logger.addHandler(handler)

    def log() -> None:
        for _ in range(1000):
            logger.info("x" * 1000)

    flood = threading.Thread(target=log)
    flood.start()
    flood.join(60)
    assert not flood.is_alive()

    received = bytearray()

    def read() -> None:
        while part := os.read(reading, 65536):
            received.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: b"log lines were dropped" in received, "it says that lines are missing")
    handler.close()
    os.close(writing)
    reader.join(60)
    os.close(reading)
    assert received.startswith(b"x" * 1000 + b"\n")


def test_a_pipe_that_is_closed_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    handler = BackgroundHandler(writing)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.info("into the void")
    handler.close()
    os.close(writing)
    assert not handler._thread.is_alive()
