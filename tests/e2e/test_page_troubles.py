"""The page when something goes wrong: one task's trouble is not the others'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from support import pictures
from support.browser import watched
from support.eventually import eventually
from support.predict import stuck
from support.screen import tasks_of
from support.servers import live

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Route

    from support.browser import Watched
    from support.servers import Live

KEY = "camera:open-sesame"

File = tuple[str, str, bytes]

_STORE = """new Promise((resolve) => {
  indexedDB.open('sightline', 1).onsuccess = ({ target: { result: database } }) => {
    const store = database.transaction('pictures', 'readwrite').objectStore('pictures');
    const asked = %s;
    asked.onsuccess = () => {
      database.close();
      resolve(asked.result);
    };
  };
})"""
STORED = f"{_STORE % 'store.getAll()'}.then((all) => all.map((one) => one.name))"
STORE_OLD = _STORE % "store.put({ name: 'old.jpg', at: Date.now() - 7_200_000 }, ['old', 0])"


def drawn(*names: str) -> list[File]:
    """Small pictures, no two alike."""
    return [
        (name, "image/jpeg", pictures.jpeg(64 + number, 48)) for number, name in enumerate(names)
    ]


def test_a_task_that_cannot_be_sent_holds_up_none_behind_it(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.goto(fake.url)
    page.wait_for_selector("#service[data-state=ready]")

    def answer_otherwise(route: Route) -> None:
        route.fulfill(status=200, content_type="text/html", body="<p>Sign in first</p>")

    page.route("**/predict?*", answer_otherwise, times=1)
    first, second = drawn("first.jpg", "second.jpg")
    desktop.drop([first])
    desktop.drop([second])
    desktop.wait_for_end()
    assert "1 of 2 done · 1 failed" in page.inner_text("#progress p")
    assert "first.jpg It could not be sent" in page.inner_text("#failures")
    page.click("#retry")
    desktop.wait_for_done(2)


def test_a_database_that_the_browser_has_closed_holds_up_nothing(
    desktop: Watched, fake: Live
) -> None:
    page = desktop.page
    page.add_init_script(
        "IDBDatabase.prototype.transaction = () => {"
        " throw new DOMException('closing', 'InvalidStateError') }"
    )
    page.goto(fake.url)
    for number, file in enumerate(drawn("first.jpg", "second.jpg"), 1):
        desktop.drop([file])
        desktop.wait_for_done(number)
    page.reload()
    desktop.wait_for_done(2)
    assert desktop.errors == []


def test_results_that_cannot_be_read_hold_up_no_others(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.goto(fake.url)
    page.wait_for_selector("#service[data-state=ready]")
    page.route("**/events", lambda route: route.abort())
    broken: set[str] = set()

    def answer_otherwise(route: Route) -> None:
        if len(broken) < 3:
            broken.add(route.request.url)
        if route.request.url in broken:
            route.fulfill(status=200, content_type="text/html", body="<p>Sign in first</p>")
        else:
            route.continue_()

    page.route("**/result/*", answer_otherwise)
    for file in drawn("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"):
        desktop.drop([file])
    desktop.wait_for_end()
    assert "2 of 5 done · 3 failed" in page.inner_text("#progress p")
    assert "The results cannot be read" in page.inner_text("#failures")


def test_a_file_that_is_gone_before_it_is_sent_fails_alone(
    desktop: Watched, fake: Live, tmp_path: Path
) -> None:
    page = desktop.page
    page.goto(fake.url)
    page.wait_for_selector("#service[data-state=ready]")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict?*", hold, times=1)
    files = drawn("first.jpg", "gone.jpg", "changed.jpg", "last.jpg")
    paths = [tmp_path / name for name, _, _ in files]
    for path, (_, _, data) in zip(paths, files, strict=True):
        path.write_bytes(data)
    with page.expect_request("**/predict?*"):
        page.set_input_files("#files", paths[0])
    page.set_input_files("#files", paths[1:3])  # by themselves, and among others
    page.set_input_files("#files", paths)
    paths[1].unlink()
    paths[2].write_bytes(files[0][2] * 2)
    held[0].continue_()
    desktop.wait_for_end()
    assert "3 of 7 done · 4 failed" in page.inner_text("#progress p")
    said = page.inner_text("#failures")
    assert said.count("The file is gone or has changed. Choose it again.") == 4
    page.reload()
    desktop.wait_for_done(3)
    assert page.locator("#thumbnails button").count() == 3


def test_pictures_of_long_ago_are_not_kept(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.goto(fake.url)
    desktop.drop(drawn("new.jpg"))
    desktop.wait_for_done(1)
    page.evaluate(STORE_OLD)
    assert sorted(page.evaluate(STORED)) == ["new.jpg", "old.jpg"]
    page.goto("about:blank")
    page.goto(fake.url)  # with no task in its address
    eventually(lambda: page.evaluate(STORED) == ["new.jpg"], "the old picture is still stored", 60)


def test_a_cancel_whose_answer_is_lost_forgets_no_results(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.goto(fake.url)
    cancels: list[Route] = []

    def lose_answer(route: Route) -> None:
        if route.request.method == "DELETE":
            cancels.append(route)
        if cancels == [route]:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route("**/result/*", lose_answer)
    with stuck(fake, after=1) as go_on:
        desktop.drop(drawn(*(f"{number}.jpg" for number in range(30))))
        desktop.wait_for_done(1)
        with page.expect_response(lambda answer: answer.request.method == "DELETE"):
            page.click("#cancel")
        go_on.set()
        desktop.wait_for_end()
    assert len(cancels) == 2
    page.wait_for_selector("#service[data-state=ready]")
    (task,) = tasks_of(page)
    state = httpx.get(f"{fake.url}/result/{task}", timeout=60).raise_for_status().json()
    assert state["status"] == "cancelled"
    done = [one for one in state["results"] if one["status"] == "completed"]
    assert page.locator("#thumbnails [data-state=done]").count() == len(done)


def test_who_wants_a_key_is_named_and_no_other_gets_it(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    asked: list[str | None] = []

    def answer(route: Route) -> None:
        key = route.request.headers.get("x-api-key")
        asked.append(key)
        route.fulfill(
            status=307 if key else 401,
            headers={"Access-Control-Allow-Origin": "*", "Location": f"{fake.url}/health"},
            json={"title": "A key is wanted", "detail": "Send one.", "status": 401},
        )

    page.route("https://other.example/**", answer)
    page.goto(f"{fake.url}/?api=https://other.example/vision/")
    page.wait_for_selector("dialog[open]")
    said = page.inner_text("dialog[open]")
    assert "https://other.example/vision wants a key" in said
    assert "sent to https://other.example/vision alone" in said
    page.fill("dialog input", "open-sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("#service[data-state=trouble]")
    assert "open-sesame" in asked
    assert f"{fake.url}/health" not in desktop.requests


def test_an_upload_that_is_sent_on_takes_no_key_along(browser: Browser) -> None:
    with (
        live(api_keys=KEY) as locked,
        live(api_keys=KEY, cors_origins=locked.url) as other,
        # As on a host that sends no policy of its own; the service's keeps the pictures back too.
        watched(browser, bypass_csp=True) as hosted,
    ):
        page = hosted.page
        page.add_init_script("sessionStorage.setItem('sightline-key:', 'open-sesame')")
        page.goto(locked.url)
        page.wait_for_selector("#service[data-state=ready]")
        page.route(
            f"{locked.url}/predict?*",
            lambda route: route.fulfill(status=307, headers={"Location": f"{other.url}/predict"}),
        )
        hosted.drop(drawn("one.jpg"))
        page.wait_for_selector("dialog[open]")  # the other takes this key too: it got none
        assert f"{other.url}/predict" in hosted.requests


def test_what_was_cancelled_and_sent_again_is_shown_once(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    names = [f"{number}.jpg" for number in range(30)]
    with stuck(fake, after=1) as go_on:
        page.goto(fake.url)
        desktop.drop(drawn(*names))
        desktop.wait_for_done(1)
        desktop.cancel()
        go_on.set()
        desktop.wait_for_end()
    assert page.locator("#thumbnails [data-state=cancelled]").count() > 0
    page.click("#retry")
    desktop.wait_for_done(30)
    shown = "[...document.querySelectorAll('#thumbnails button')].map((one) => one.title)"
    assert sorted(page.evaluate(shown)) == sorted(names)
    page.reload()
    desktop.wait_for_done(30)
    desktop.wait_for_end()
    assert sorted(page.evaluate(shown)) == sorted(names)
    assert page.locator("#retry").is_hidden()
