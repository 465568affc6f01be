"""The page and the queue: cancelling, coming back, waiting for a service, keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sightline.tasks import retry_policy
from support import pictures
from support.browser import DESKTOP, PHONE, Watched, watched
from support.predict import stuck
from support.screen import results_of, set_confidence, tasks_of
from support.servers import Live, live
from support.tasks import DARKEST, picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

NAMES = "[...document.querySelectorAll('#thumbnails button')].map((tile) => tile.title)"


def several(count: int) -> list[tuple[str, str, bytes]]:
    """Pictures of which no two are alike."""
    return [
        (f"{number:03}.png", "image/png", picture(number % 100, number // 100))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(DESKTOP, id="desktop"),
        pytest.param(PHONE, id="phone", marks=pytest.mark.soak),
    ],
)
def test_a_hundred_are_found_again_and_cancelled_half_way(
    browser: Browser, fake: Live, options: dict[str, object]
) -> None:
    with watched(browser, **options) as screen, stuck(fake, after=20) as go_on:
        page = screen.page
        page.goto(fake.url)
        screen.drop(several(100))
        screen.wait_for_done(20)
        (task,) = tasks_of(page)
        page.reload()
        screen.wait_for_done(20)
        assert tasks_of(page) == [task]
        assert page.locator("#thumbnails button").count() == 100
        screen.cancel()  # it goes on
        go_on.set()
        screen.wait_for_end()
        ended = [one["status"] for one in results_of(fake.url, task)]
        assert set(ended) == {"completed", "cancelled"}
        assert ended.count("completed") >= 20
        screen.wait_for_done(ended.count("completed"))
        assert f"{ended.count('cancelled')} cancelled" in page.inner_text("#progress p")
        page.wait_for_function(  # the picture was kept: it is the one that was dropped
            "() => document.querySelector('figure img').naturalWidth === 20"
            " && document.querySelector('figure .box')"
        )
        assert screen.errors == []
        assert screen.shifts() == []


def test_more_than_a_task_takes(desktop: Watched, fake: Live) -> None:
    """Two tasks, shown as one: after a reload, filtered, saved, cancelled, and sent again."""
    page = desktop.page
    files = several(150)
    names = [name for name, _, _ in files]
    with stuck(fake, after=110) as go_on:
        page.goto(fake.url)
        desktop.drop(files)
        desktop.wait_for_done(110)
        assert len(tasks_of(page)) == 2
        assert "of 150 done" in page.inner_text("#progress p")
        page.reload()
        desktop.wait_for_done(110)
        assert page.evaluate(NAMES) == names
        desktop.cancel()
        go_on.set()
        desktop.wait_for_end()
    results = [one for task in tasks_of(page) for one in results_of(fake.url, task)]
    done = [one["status"] == "completed" for one in results]
    assert 110 <= sum(done) < 150
    desktop.wait_for_done(sum(done))
    assert f"{sum(done)} of 150 done · {150 - sum(done)} cancelled" in said(page)

    set_confidence(page, 0.7)
    desktop.wait_until_idle()
    levels = [(DARKEST + number % 100) / 255 for number in range(150)]
    bright = [level >= 0.7 and ended for level, ended in zip(levels, done, strict=True)]
    assert 0 < sum(bright) < sum(done)
    assert f"{sum(bright)} objects" in said(page)
    with page.expect_download() as saving:
        page.click("#save-json")
    saved = json.loads(Path(saving.value.path()).read_text("utf-8"))["images"]
    kept = [one for one in zip(names, bright, done, strict=True) if one[2]]
    assert [(one["filename"], one["count"]) for one in saved] == [one[:2] for one in kept]

    page.click("#retry")
    desktop.wait_for_done(150)
    page.reload()
    desktop.wait_for_done(150)
    assert sorted(page.evaluate(NAMES)) == names
    assert desktop.errors == []


def said(page: Page) -> str:
    return page.inner_text("#progress p")


@pytest.mark.parametrize("forgotten", [False, True])
def test_what_failed_for_a_passing_reason_is_run_again(
    desktop: Watched, fake: Live, monkeypatch: pytest.MonkeyPatch, forgotten: bool
) -> None:
    page = desktop.page
    page.goto(fake.url)

    def choke(_images: Any) -> None:
        raise RuntimeError("the graphics card fell out")

    pdf = ("notes.pdf", "application/pdf", pictures.NOT_PICTURES["pdf"])
    with monkeypatch.context() as broken:
        broken.setattr(retry_policy, "_FIRST_PAUSE", 0.01)
        broken.setattr(fake.detector._engine, "before_infer", choke)
        desktop.drop([*several(2), pdf])
        desktop.wait_for_end()
    assert "0 of 3 done · 3 failed" in said(page)
    assert page.locator("#failures li").count() == 3
    assert page.inner_text("#retry") == "Retry 2"  # a PDF will never be a picture
    if forgotten:
        gone = httpx.delete(f"{fake.url}/result/{tasks_of(page)[0]}", timeout=60)
        gone.raise_for_status()
    page.click("#retry")
    desktop.wait_for_done(2)
    desktop.wait_for_end()
    assert "2 of 3 done · 1 failed" in said(page)
    assert page.inner_text("#failures li").startswith("notes.pdf")
    assert page.locator("#retry").is_hidden()
    sent = [url for url in desktop.asked() if "/predict" in url]
    assert len(sent) == 1 + forgotten  # pictures that the service has are not sent again
    page.reload()
    desktop.wait_for_done(2)


def test_what_was_cancelled_can_be_sent_again(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.goto(fake.url)
    page.wait_for_selector("#service[data-state=ready]")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict?*", hold)
    desktop.drop(several(3))
    page.wait_for_selector("#thumbnails [data-state=uploading]")
    page.click("#cancel")
    page.wait_for_selector("#retry:visible")
    assert page.locator("#thumbnails [data-state=cancelled]").count() == 3
    page.unroute("**/predict?*")
    page.click("#retry")
    desktop.wait_for_done(3)
    assert page.locator("#thumbnails button").count() == 3


def test_a_busy_service_is_asked_again_when_it_says(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.clock.install()
    page.goto(fake.url)
    page.wait_for_selector("#service[data-state=ready]")
    keys: list[str | None] = []

    def refuse_once(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key"))
        if len(keys) > 1:
            route.continue_()
        else:
            problem = {"title": "Too much work is waiting", "detail": "Later.", "status": 503}
            route.fulfill(status=503, headers={"Retry-After": "300"}, json=problem)

    page.route("**/predict?*", refuse_once)
    desktop.drop(several(2))
    page.wait_for_selector("#service[data-state=trouble]")
    assert "busy or waking up" in page.inner_text("#service")
    assert "Trying again in" in page.inner_text("#service")
    assert len(keys) == 1
    page.clock.fast_forward(300_000)
    desktop.wait_for_end()
    assert keys[0]
    assert keys == [keys[0]] * 2  # should the first have arrived after all, it is the same task
    assert page.get_attribute("#service", "data-state") == "ready"


def test_events_that_do_not_come_through_are_polled_for(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.route("**/events", lambda route: route.abort())
    page.goto(fake.url)
    desktop.drop(several(4))
    desktop.wait_for_done(4)
    assert any(re.search(r"/result/[0-9a-f]{32}(\?wait=\d+)?$", url) for url in desktop.requests)


def test_a_page_waits_for_the_service_elsewhere_that_it_is_pointed_at(
    desktop: Watched, fake: Live
) -> None:
    page = desktop.page
    with live(cors_origins=fake.url) as other:
        page.route(f"{other.url}/**", lambda route: route.abort("connectionrefused"))
        page.goto(f"{fake.url}/?api={other.url}")
        page.wait_for_selector("#service[data-state=trouble]")
        said = page.inner_text("#service")
        assert f"does not answer, or allows no pages of {fake.url} (SIGHTLINE_CORS_ORIGINS)" in said
        assert f"sent to {other.url}" in page.inner_text("#foreign-service")
        page.unroute(f"{other.url}/**")
        page.wait_for_selector("#service[data-state=ready]")
        desktop.drop(several(2))
        desktop.wait_for_end()
        assert "2 of 2 done" in page.inner_text("#progress p")
        page.reload()
        desktop.wait_for_done(2)


def test_a_key_is_asked_for_and_kept_in_the_tab(desktop: Watched) -> None:
    page = desktop.page
    with live(api_keys="camera:open-sesame") as locked:
        page.goto(locked.url)
        for key in ("wrong", "open-sesame"):
            page.wait_for_selector("dialog[open]")
            page.fill("dialog input", key)
            page.keyboard.press("Enter")
            page.wait_for_selector(
                "dialog .error:visible" if key == "wrong" else "#service[data-state=ready]"
            )
        desktop.drop(several(2))
        desktop.wait_for_end()
        page.reload()
        desktop.wait_for_done(2)
        assert page.locator("dialog[open]").count() == 0
        assert "open-sesame" not in page.evaluate("JSON.stringify(localStorage)")
