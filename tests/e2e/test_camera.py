"""The camera in a real browser, whose camera is a film with a known truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sightline.demo.truth import Truth
from sightline.models.resolve import BUNDLED
from sightline.vision.boxes import iou
from support.browser import DESKTOP, PHONE, Watched, chromium, watched
from support.camera import LOOK, write_video
from support.servers import Process, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FRAMES = 96
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
  setTimeout(() => reject(new Error(`only ${{seen.size}} frames were shown`)), 60000);
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
        ]
    ) as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    data = tmp_path_factory.mktemp("data")
    with serve(["--model", str(BUNDLED), "--data-dir", str(data)]) as running:
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


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_boxes_lie_on_the_objects_of_the_frame_that_is_shown(
    browser: Browser, service: Process, film: tuple[Path, list[Truth]], screen: dict[str, Any]
) -> None:
    _, truths = film
    with at_the_camera(browser, service.url, **screen) as camera:
        start(camera.page)
        frames = shown(camera.page, 60)
        good = [follows(one["boxes"], truths[one["number"] - 1]) for one in frames]
        # Else boxes that come late, or lie anywhere, would do as well.
        late = [follows(one["boxes"], truths[one["number"] - 16]) for one in frames]
        assert {(one["width"], one["height"]) for one in frames} == {(640, 480)}
        assert sum(good) >= 0.9 * len(good), f"{sum(good)} of {len(good)}"
        assert sum(late) < 0.5 * len(late), f"{sum(late)} of {len(late)}"
        assert not camera.errors
