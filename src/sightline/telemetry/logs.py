"""Logging: JSON or text lines on stderr, written in the background."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
from logging.handlers import QueueHandler
from typing import TYPE_CHECKING, Any, Literal

import structlog

from sightline.threads import LOG

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

_STDERR = 2
_MOST_LINES = 10_000
_LAST_WORDS = 2.0  # seconds that the process waits at its end for lines to be written


def configure_logs(form: Literal["auto", "json", "text"]) -> None:
    """Configure logging to stderr for the whole process, one line per event.

    Lines of all standard library loggers, uvicorn's included, have `timestamp` (ISO 8601, UTC),
    `level`, `logger`, `event`, and bound context such as `request_id`.

    Args:
        form: `json`, `text`, or `auto` for text on a terminal and json elsewhere.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: list[Processor]
    if text:
        # structlog's default formatter shows local variables, which may hold API keys.
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        renderer = [structlog.processors.format_exc_info, _escape, console]
    else:
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = BackgroundHandler(_STDERR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso"),
            ],
            processors=[_without_internals, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    atexit.register(handler.close)


def _without_internals(_: Any, __: str, line: EventDict) -> EventDict:
    """Remove fields that structlog and uvicorn add for internal use."""
    for name in ("_record", "_from_structlog", "color_message"):
        line.pop(name, None)
    return line


def _escape(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Escape control characters and line breaks, which may come from a client."""
    for name, value in event.items():
        if isinstance(value, str):
            lines = value.split("\n") if name == "exception" else [value]
            event[name] = "\n    ".join(map(_printable, lines))
    return event


def _printable(text: str) -> str:
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


class BackgroundHandler(QueueHandler):
    """Log handler that writes lines to a file descriptor from a thread of its own.

    Logging never blocks, neither on a slow disk nor on a pipe that nobody reads. When the queue is
    full, lines are dropped, and the next line tells how many.
    """

    queue: queue.SimpleQueue[logging.LogRecord | None]

    def __init__(self, fd: int, most_lines: int = _MOST_LINES) -> None:
        """`fd`: written to; `most_lines`: length of the queue."""
        super().__init__(queue.SimpleQueue())  # its put() takes no Python lock
        self._fd = fd
        self._most_lines = most_lines
        self._dropped = 0
        self._thread = LOG.start(self._write_all)

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.queue.qsize() < self._most_lines:
            self.queue.put(record)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Flush the queue, for two seconds at most."""
        super().close()
        self.queue.put(None)
        self._thread.join(_LAST_WORDS)

    def _write_all(self) -> None:
        while (record := self.queue.get()) is not None:
            self._write(record.getMessage())
            if dropped := self._dropped:
                self._dropped = 0
                lost: dict[str, Any] = {"name": __name__, "levelno": logging.WARNING}
                lost |= {"levelname": "WARNING", "msg": f"{dropped} log lines were dropped"}
                self._write(self.format(logging.makeLogRecord(lost)))

    def _write(self, line: str) -> None:
        """Write unbuffered: a thread that blocks here would keep the lock of Python's buffers."""
        rest = f"{line}\n".encode(errors="backslashreplace")
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            self._dropped += 1  # the pipe is closed or the disk is full
