"""The page and the queue: cancelling, coming back, waiting for a service, keys."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from support.browser import DESKTOP, PHONE, Watched, watched
from support.servers import live

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

    from support.servers import Process


@pytest.fixture(scope="module")
def hundred(photos: list[Path]) -> list[tuple[str, str, bytes]]:
    """A hundred pictures, no two alike."""
    with Image.open(photos[1]) as photo:
        small = photo.resize((480, 360))
    found = []
    for number in range(100):
        packed = BytesIO()
        small.rotate(number / 10).save(packed, "JPEG", quality=70)
        found.append((f"{number:02}.jpg", "image/jpeg", packed.getvalue()))
    return found


def task_of(page: Page) -> str:
    found = re.search(r"#tasks=([0-9a-f]{32})$", page.url)
    assert found, page.url
    return found[1]


@pytest.mark.parametrize("options", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_hundred_are_found_again_and_cancelled_half_way(
    browser: Browser,
    service: Process,
    hundred: list[tuple[str, str, bytes]],
    options: dict[str, object],
) -> None:
    with watched(browser, **options) as screen:
        page = screen.page
        page.goto(service.url)
        screen.drop(hundred)
        screen.wait_for_done(5)
        task = task_of(page)
        page.reload()
        screen.wait_for_done(5)
        assert task_of(page) == task
        assert page.locator("#film button").count() == 100
        assert page.locator("#cancel").is_visible()  # it goes on
        screen.wait_for_done(20)
        page.click("#cancel")
        screen.wait_for_end()
        state = httpx.get(f"{service.url}/result/{task}").json()
        assert state["status"] == "cancelled"
        ended = [one["status"] for one in state["results"]]
        assert set(ended) == {"completed", "cancelled"}
        assert ended.count("completed") >= 20
        screen.wait_for_done(ended.count("completed"))
        assert f"{ended.count('cancelled')} cancelled" in page.inner_text("#progress p")
        page.wait_for_function(  # the picture was kept: it is the one that was dropped
            "() => document.querySelector('figure img').naturalWidth === 480"
            " && document.querySelector('figure .box')"
        )
        assert screen.errors == []
        assert screen.shifts() == []


def test_what_was_cancelled_can_be_sent_again(
    desktop: Watched, service: Process, hundred: list[tuple[str, str, bytes]]
) -> None:
    page = desktop.page
    page.goto(service.url)
    page.wait_for_selector("#service[data-state=ready]")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict?*", hold)
    desktop.drop(hundred[:3])
    page.wait_for_selector("#film [data-state=uploading]")
    page.click("#cancel")
    page.wait_for_selector("#retry:visible")
    assert page.locator("#film [data-state=cancelled]").count() == 3
    page.unroute("**/predict?*")
    page.click("#retry")
    desktop.wait_for_done(3)
    assert page.locator("#film button").count() == 3


def test_a_busy_service_is_asked_again_when_it_says(
    desktop: Watched, service: Process, hundred: list[tuple[str, str, bytes]]
) -> None:
    page = desktop.page
    page.goto(service.url)
    page.wait_for_selector("#service[data-state=ready]")
    keys: list[str | None] = []

    def refuse_once(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key"))
        if len(keys) > 1:
            route.continue_()
        else:
            problem = {"title": "Too much work is waiting", "detail": "Later.", "status": 503}
            route.fulfill(status=503, headers={"Retry-After": "2"}, json=problem)

    page.route("**/predict?*", refuse_once)
    desktop.drop(hundred[:2])
    page.wait_for_selector("#service[data-state=trouble]")
    assert "busy or waking up" in page.inner_text("#service")
    assert "Trying again in" in page.inner_text("#service")
    desktop.wait_for_end()
    assert keys[0]
    assert keys == [keys[0]] * 2  # should the first have arrived after all, it is the same task
    assert page.get_attribute("#service", "data-state") == "ready"


def test_events_that_do_not_come_through_are_polled_for(
    desktop: Watched, service: Process, hundred: list[tuple[str, str, bytes]]
) -> None:
    page = desktop.page
    page.route("**/events", lambda route: route.abort())
    page.goto(service.url)
    desktop.drop(hundred[:4])
    desktop.wait_for_done(4)
    assert any("?wait=" in url or "/result/" in url for url in desktop.requests)


def test_a_page_waits_for_the_service_elsewhere_that_it_is_pointed_at(
    desktop: Watched, service: Process, hundred: list[tuple[str, str, bytes]]
) -> None:
    page = desktop.page
    with live(cors_origins=service.url) as other:
        page.route(f"{other.url}/**", lambda route: route.abort("connectionrefused"))
        page.goto(f"{service.url}/?api={other.url}")
        page.wait_for_selector("#service[data-state=trouble]")
        assert "does not answer" in page.inner_text("#service")
        assert f"sent to {other.url}" in page.inner_text("#elsewhere")
        page.unroute(f"{other.url}/**")
        page.wait_for_selector("#service[data-state=ready]")
        desktop.drop(hundred[:2])
        desktop.wait_for_end()
        assert "2 of 2 done" in page.inner_text("#progress p")
        page.reload()
        desktop.wait_for_done(2)


def test_a_key_is_asked_for_and_kept_in_the_tab(
    desktop: Watched, hundred: list[tuple[str, str, bytes]]
) -> None:
    page = desktop.page
    with live(api_keys="camera:open-sesame") as locked:
        page.goto(locked.url)
        for key in ("wrong", "open-sesame"):
            page.wait_for_selector("dialog[open]")
            page.fill("dialog input", key)
            page.keyboard.press("Enter")
            page.wait_for_selector(
                "dialog .wrong:visible" if key == "wrong" else "#service[data-state=ready]"
            )
        desktop.drop(hundred[:2])
        desktop.wait_for_end()
        page.reload()
        desktop.wait_for_done(2)
        assert page.locator("dialog[open]").count() == 0
        assert "open-sesame" not in page.evaluate("JSON.stringify(localStorage)")
