from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.browser import DESKTOP, Watched, chromium, watched
from support.servers import ONE_A_CALL, Live, Process, live, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")  # no longer: while it runs, this thread can run no other loop
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def service(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service as people start it, for all tests of the page."""
    model = shared / "models" / "yolox-nano.onnx"  # starts and answers in half of yolov8n's time
    data = tmp_path_factory.mktemp("data")
    with serve(["--model", str(model), "--data-dir", str(data)], environment=ONE_A_CALL) as running:
        yield running


@pytest.fixture(scope="module")
def fake() -> Iterator[Live]:
    """A service that sees whatever is bright, and that can be held."""
    with live() as running:
        yield running


@pytest.fixture
def desktop(browser: Browser) -> Iterator[Watched]:
    with watched(browser, **DESKTOP) as page:
        yield page
