"""Signal handlers of processes that have nothing to finish."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


def exit_cleanly(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Ends a process in which nothing is under way, with exit code 0."""
    raise SystemExit(0)


def abandon(code: int, _signal: int, _frame: FrameType | None) -> NoReturn:
    """Ends a process that loads a model, without waiting for the thread that loads it."""
    logging.shutdown()  # writes the last line
    os._exit(code)
