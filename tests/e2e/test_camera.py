"""The camera in a real browser, whose camera is a film with a known truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from sightline.demo.truth import Truth
from sightline.models.resolve import BUNDLED
from sightline.vision.boxes import iou
from support.browser import DESKTOP, PHONE, Watched, chromium, watched
from support.camera import LOOK, write_video
from support.servers import ONE_A_CALL, Process, live, serve

NOTHING = "\u2013"  # where no figure is known
FRAMES = 32
CLEAR = 0.8  # share of a toy that shows, from which on it has to be found

_COLLECT = f"""(wanted) => new Promise((resolve, reject) => {{
  const look = {LOOK};
  const seen = new Map();
  const step = () => {{
    const now = look();
    if (now.number) seen.set(now.number, now);
    if (seen.size >= wanted) resolve([...seen.values()]);
    else requestAnimationFrame(step);
  }};
  step();
  setTimeout(() => reject(new Error(`only ${{seen.size}} frames were shown`)), 120000);
}})"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    path = tmp_path_factory.mktemp("film") / "toys.mjpeg"
    return path, write_video(path, 7, FRAMES)


@pytest.fixture(scope="module")
def browser(film: tuple[Path, list[Truth]]) -> Iterator[Browser]:
    with chromium(
        [
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={film[0]}",
            "--use-fake-ui-for-media-stream",
            "--host-resolver-rules=MAP plain 127.0.0.1",
        ]
    ) as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    data = tmp_path_factory.mktemp("data")
    with serve(
        ["--model", str(BUNDLED), "--data-dir", str(data)], environment=ONE_A_CALL
    ) as running:
        yield running


@contextmanager
def at_the_camera(browser: Browser, url: str, **options: Any) -> Iterator[Watched]:
    with watched(browser, **(DESKTOP | options)) as found:
        found.page.goto(url)
        found.page.get_by_role("button", name="Camera", exact=True).click()
        yield found


def start(page: Page) -> None:
    page.get_by_role("button", name="Start the camera").click()


def shown(page: Page, wanted: int) -> list[dict[str, Any]]:
    """So many different frames, as the page shows them."""
    found: list[dict[str, Any]] = page.evaluate(_COLLECT, wanted)
    return found


def follows(boxes: Sequence[Sequence[float]], truth: Truth) -> bool:
    """Whether each toy that shows clearly has a box of its class, IoU 0.5 at least."""
    found = np.array(boxes, dtype=float).reshape(-1, 5)
    return all(
        (iou(box, found[found[:, 0] == class_id, 1:]) >= 0.5).any()
        for box, class_id, visible in zip(truth.boxes, truth.class_id, truth.visible, strict=True)
        if visible >= CLEAR
    )


@pytest.mark.parametrize(
    "screen",
    [
        pytest.param(DESKTOP, id="desktop"),
        pytest.param(PHONE, id="phone", marks=pytest.mark.soak),
    ],
)
def test_boxes_lie_on_the_objects_of_the_frame_that_is_shown(
    browser: Browser, service: Process, film: tuple[Path, list[Truth]], screen: dict[str, Any]
) -> None:
    _, truths = film
    with at_the_camera(browser, service.url, **screen) as camera:
        start(camera.page)
        frames = shown(camera.page, 20)
        good = [follows(one["boxes"], truths[one["number"] - 1]) for one in frames]
        # Else boxes that come late, or lie anywhere, would do as well.
        late = [follows(one["boxes"], truths[one["number"] - 16]) for one in frames]
        assert {(one["width"], one["height"]) for one in frames} == {(640, 480)}
        assert sum(good) >= 0.9 * len(good), f"{sum(good)} of {len(good)}"
        assert sum(late) < 0.5 * len(late), f"{sum(late)} of {len(late)}"
        assert not camera.errors


# Starting and stopping

_TRACKS = """
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
window.tracks = [];
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const stream = await ask(wanted);
  window.tracks.push(...stream.getTracks());
  return stream;
};
window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    window.sockets.push(this);
  }
};
"""
_STATES = "[tracks.map(({ readyState }) => readyState), sockets.map((one) => one.readyState > 1)]"


def said(page: Page) -> Locator:
    return page.locator("#camera .status-text")


def test_stopping_ends_the_camera_and_the_connection(browser: Browser, service: Process) -> None:
    with watched(browser, **DESKTOP) as camera:
        page = camera.page
        page.add_init_script(_TRACKS)
        page.goto(service.url)
        page.get_by_role("button", name="Camera", exact=True).click()
        start(page)
        shown(page, 3)
        expect(page.locator("#camera dd").first).not_to_have_text(NOTHING)
        page.get_by_role("button", name="Stop the camera").click()
        expect(said(page)).to_have_text("The camera is off.")
        expect(page.locator("#camera .box")).to_have_count(0)
        assert page.evaluate(_STATES) == [["ended"], [True]]
        start(page)
        shown(page, 3)
        page.get_by_role("button", name="Pictures").click()
        page.wait_for_function("tracks.every(({ readyState }) => readyState === 'ended')")
        page.get_by_role("button", name="Camera", exact=True).click()
        start(page)
        shown(page, 3)
        camera.look_away(hidden=True)
        assert page.evaluate(_STATES) == [["ended"] * 3, [True] * 3]
        camera.look_away(hidden=False)
        shown(page, 3)
        assert page.evaluate("tracks.length") == 4
        assert not camera.errors


@pytest.mark.soak
def test_what_is_shown_goes_on_through_a_restart(
    browser: Browser, service: Process, tmp_path: Path
) -> None:
    arguments = ["--model", str(BUNDLED), "--data-dir", str(tmp_path)]
    with serve(arguments) as first:
        port = first.url.rpartition(":")[2]
        with at_the_camera(browser, first.url) as camera:
            page = camera.page
            start(page)
            shown(page, 3)
            first.stop()
            expect(said(page)).to_contain_text("Connecting again in")
            with serve([*arguments, "--port", port]):
                expect(said(page)).to_have_text("The camera runs.", timeout=30_000)
                shown(page, 3)


def test_a_key_that_was_entered_is_sent(browser: Browser) -> None:
    key = "odd=signs/in+it"
    with live(api_keys=f"ann:{key}") as locked, watched(browser, **DESKTOP) as camera:
        camera.page.add_init_script(f"sessionStorage.setItem('sightline-key:', '{key}')")
        camera.page.goto(locked.url)
        camera.page.get_by_role("button", name="Camera", exact=True).click()
        start(camera.page)
        shown(camera.page, 3)
        camera.page.get_by_role("button", name="Stop the camera").click()
        camera.page.add_init_script("sessionStorage.setItem('sightline-key:', 'another')")
        camera.page.reload()
        dialog = camera.page.locator("#key-dialog")
        expect(dialog).to_be_visible()
        camera.page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        camera.page.get_by_role("button", name="Camera", exact=True).click()
        start(camera.page)
        expect(said(camera.page)).to_contain_text("key")
        expect(camera.page.get_by_role("button", name="Start the camera")).to_be_visible()


# Without a camera


REASONS = {
    "NotAllowedError": "refused. Allow it",
    "NotFoundError": "no camera. Connect one",
    "NotReadableError": "busy",
    "OverconstrainedError": "with another",
    "TypeError": "cannot be used: told so",
}


def test_it_says_what_to_do_where_there_is_no_camera(browser: Browser, service: Process) -> None:
    with at_the_camera(browser, service.url) as camera:
        for error, words in REASONS.items():
            camera.page.evaluate(
                """(error) => {
                  navigator.mediaDevices.getUserMedia =
                    async () => { throw new DOMException('told so', error); };
                }""",
                error,
            )
            start(camera.page)
            expect(said(camera.page)).to_contain_text(words)
            expect(camera.page.get_by_role("button", name="Start the camera")).to_be_enabled()
        assert not camera.errors


def test_a_camera_that_was_replaced_is_not_asked_for_again(
    browser: Browser, service: Process
) -> None:
    with at_the_camera(browser, service.url) as camera:
        page = camera.page
        page.locator("#camera select").evaluate("one => one.add(new Option('Old', 'gone', 1, 1))")
        start(page)
        expect(said(page)).to_contain_text("That camera is gone")
        page.wait_for_function("document.querySelector('#camera select').value !== 'gone'")
        start(page)
        shown(page, 1)
        assert not camera.errors


def test_it_says_that_browsers_want_https(browser: Browser, service: Process) -> None:
    url = service.url.replace("127.0.0.1", "plain")
    with at_the_camera(browser, url) as camera:
        expect(said(camera.page)).to_contain_text("over HTTPS or on localhost")
        expect(camera.page.get_by_role("button", name="Start the camera")).to_be_disabled()


# The looks


@pytest.mark.parametrize(
    ("screen", "scheme"),
    [
        pytest.param(DESKTOP, "light", id="desktop-light"),
        pytest.param(PHONE, "dark", id="phone-dark"),
        pytest.param(DESKTOP, "dark", id="desktop-dark", marks=pytest.mark.soak),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.soak),
    ],
)
def test_axe_finds_nothing_serious_and_nothing_jumps(
    browser: Browser, service: Process, screen: dict[str, Any], scheme: str
) -> None:
    with at_the_camera(browser, service.url, **screen, color_scheme=scheme) as camera:
        start(camera.page)
        shown(camera.page, 10)
        found = Axe().run(camera.page).response["violations"]
        assert not [one["id"] for one in found if one["impact"] in {"serious", "critical"}]
        assert sum(shift[0] for shift in camera.shifts()) < 0.001
        assert len(camera.hosts()) == 1
        width = camera.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
