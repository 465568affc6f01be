"""Chromium, and pages that tell on themselves."""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

WITHIN = 60_000  # ms; longer than anything takes on a machine that is busy with other things
expect.set_options(timeout=WITHIN)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 375, "height": 760},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}

# Everything that moves by itself counts, whether or not somebody has just clicked.
_WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const moved = entry.sources.map(({ node, previousRect: from, currentRect: to }) =>
      `${node?.id || node?.className || node} ${from.x},${from.y} to ${to.x},${to.y}`);
    window.shifts.push([entry.value, ...moved]);
  }
}).observe({ type: 'layout-shift', buffered: true });
"""
_DONE = "(least) => document.querySelectorAll('#thumbnails [data-state=done]').length >= least"
_DROP = """([target, files]) => {
  const transfer = new DataTransfer();
  for (const [name, type, data] of files) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  const init = { bubbles: true, cancelable: true, dataTransfer: transfer };
  const element = document.querySelector(target);
  element.dispatchEvent(new DragEvent('dragover', init));
  element.dispatchEvent(new DragEvent('drop', init));
}"""
_HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


def find() -> str | None:
    """Where Chromium is: $CHROMIUM, on the PATH, or as `playwright install` puts it."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


@contextmanager
def chromium(arguments: Sequence[str] = ()) -> Iterator[Browser]:
    """A browser; where there is none, the tests that want one are skipped, but fail under CI."""
    executable = find()
    if executable is None:
        message = "no Chromium: `make browser` brings one, or name it in $CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    root = sys.platform != "win32" and os.geteuid() == 0
    sandbox = ("--no-sandbox",) if root else ()  # its sandbox does not work for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=[*QUIET, *sandbox, *arguments]
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and what it did that nobody wanted."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hosts(self) -> set[str]:
        """Whom it asked."""
        return {urlsplit(url).netloc for url in self.requests if url.startswith(("http", "ws"))}

    def shifts(self) -> list[Any]:
        """What moved without being asked to: how much, and what."""
        found: list[Any] = self.page.evaluate("window.shifts")
        return found

    def asked(self) -> list[str]:
        """Every request to a service but those of the status bar, which looks all the time."""
        sent = (url for url in self.requests if not url.startswith("blob:"))
        return [url for url in sent if not url.endswith("/metrics")]

    def wait_until_idle(self) -> None:
        """Until what was done to the page is on the screen: it is drawn at the next frame."""
        self.page.evaluate("() => new Promise(requestAnimationFrame)")

    def wait_for_end(self) -> None:
        """Until nothing is under way any more."""
        self.wait_until_idle()
        self.page.wait_for_selector("#clear:visible")

    def wait_for_done(self, count: int) -> None:
        """Until at least so many pictures are done."""
        self.page.wait_for_function(_DONE, arg=count)

    def cancel(self) -> None:
        """Press Cancel; return once the service has cancelled what had not begun."""
        self.page.click("#cancel")
        self.page.wait_for_selector("#thumbnails [data-state=cancelled]")

    def look_away(self, *, hidden: bool) -> None:
        """Hide the page behind another tab, or come back to it."""
        self.page.evaluate(_HIDE, hidden)

    def drop(self, files: Sequence[tuple[str, str, bytes]], target: str = "#stage") -> None:
        """Drop files (name, type, bytes) as a file manager does."""
        packed = [(name, kind, base64.b64encode(data).decode()) for name, kind, data in files]
        self.page.evaluate(_DROP, [target, packed])


@contextmanager
def watched(browser: Browser, **options: Any) -> Iterator[Watched]:
    """A page of its own context."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(WITHIN)
    found = Watched(page)
    page.add_init_script(_WATCH_SHIFTS)

    def on_request(request: Request) -> None:
        found.requests.append(request.url)

    page.on("request", on_request)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on(
        "console",
        lambda said: found.errors.append(said.text) if said.type in {"error", "warning"} else None,
    )
    try:
        yield found
    finally:
        context.close()
