"""Log lines: JSON for machines, or text for people."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor


def configure_logs(form: Literal["auto", "json", "text"]) -> None:
    """Send every log line of this process to stderr, one line each.

    Lines of the standard library's loggers, uvicorn's included, get the same form: `timestamp`
    (ISO 8601, UTC), `level`, `logger`, `event`, and what else is known, such as `request_id`.

    Args:
        form: `json`, `text`, or `auto` for text on a terminal and json elsewhere.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: list[Processor]
    if text:
        renderer = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso"),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    # One line for each request that the service itself sends is the debugger's.
    logging.getLogger("httpx").setLevel(logging.WARNING)
