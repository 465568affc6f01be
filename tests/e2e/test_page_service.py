"""The page and what answers it: no Sightline, nobody, somebody who hangs, and proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Dialog, Page, expect

from support import pictures
from support.screen import tasks_of
from support.servers import live

if TYPE_CHECKING:
    from pathlib import Path

    from support.browser import Watched
    from support.servers import Live

NOTHING = "\u2013"  # where no figure is known
LONGEST = 16_000  # ms; no pause between two questions is longer
SIGN_IN = "<!doctype html><p>Sign in first</p>"

# A folder as browsers give it, with a picture, and a folder within that nobody may read.
_DROP_FOLDER = """() => {
  const fail = (_, reject) => reject(new DOMException('Permission denied', 'NotReadableError'));
  const file = new File(['x'], 'seen.jpg', { type: 'image/jpeg' });
  const folder = (name, read) => ({
    name, isDirectory: true, createReader: () => ({ readEntries: read }),
  });
  const lists = [[
    folder('secret', fail),
    { name: 'seen.jpg', isFile: true, file: (resolve) => resolve(file) },
  ], []];
  const top = folder('holiday', (resolve) => resolve(lists.shift()));
  DataTransferItem.prototype.webkitGetAsEntry = () => top;
  const transfer = new DataTransfer();
  transfer.items.add(file);
  const init = { bubbles: true, cancelable: true, dataTransfer: transfer };
  document.querySelector('#stage').dispatchEvent(new DragEvent('drop', init));
}"""


def one(name: str = "one.jpg") -> tuple[str, str, bytes]:
    return (name, "image/jpeg", pictures.jpeg(64, 48))


def asked(screen: Watched, path: str) -> int:
    """How often."""
    return sum(path in url for url in screen.requests)


def test_what_is_no_sightline_is_named_and_gets_no_pictures(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.clock.install()
    service = page.locator("#service .status-text")
    answers = [(404, "<h1>File not found</h1>"), (500, "<h1>Oops</h1>"), (200, SIGN_IN)]
    status, body = answers[0]
    page.route(
        "**/health",
        lambda route: route.fulfill(status=status, content_type="text/html", body=body),
    )
    page.goto(f"{fake.url}/#tasks={'0' * 32}")
    desktop.drop([one()])
    for status, body in answers:  # noqa: B007
        page.clock.fast_forward(LONGEST)
        expect(service).to_have_text(
            f"No Sightline service answers at {fake.url}/ (status {status}). "
            "Name one in the address of this page: ?api=https://…"
        )
    expect(page.locator("#service")).to_have_attribute("data-state", "trouble")
    assert asked(desktop, "/predict") == asked(desktop, "/result/") == 0
    page.unroute("**/health")
    page.clock.fast_forward(LONGEST)
    desktop.wait_for_done(1)
    expect(page.locator("#failures")).to_contain_text("Earlier results")
    expect(page.locator("#service")).to_have_attribute("data-state", "ready")


def test_what_hangs_is_given_up_and_asked_again(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.clock.install()
    service = page.locator("#service")
    page.route(  # the status bar alone would find out that the service is well again
        "**/metrics", lambda route: route.fulfill(status=429, headers={"Retry-After": "6000"})
    )
    page.route("**/health", lambda _: None)
    with page.expect_request("**/health"):
        page.goto(fake.url)
    page.clock.fast_forward(11_000)
    expect(service).to_contain_text("The service does not answer.")
    page.unroute("**/health")
    page.clock.fast_forward(LONGEST)
    expect(service).to_have_attribute("data-state", "ready")

    keys: list[str | None] = []
    page.route("**/predict?*", lambda route: keys.append(route.request.headers["idempotency-key"]))
    with page.expect_request("**/predict?*"):
        desktop.drop([one()])
    page.clock.fast_forward(61_000)
    expect(service).to_contain_text("The service does not answer.")
    page.unroute("**/predict?*")
    with page.expect_request("**/predict?*") as again:
        page.clock.fast_forward(LONGEST)
    assert again.value.headers["idempotency-key"] == keys[0]
    desktop.wait_for_done(1)

    page.route("**/result/*", lambda _: None)
    page.route("**/events", lambda route: route.abort())
    with page.expect_request("**/result/*"):
        desktop.drop([one("other.jpg")])
    page.clock.fast_forward(31_000)
    expect(service).to_contain_text("The service does not answer.")
    page.unroute("**/result/*")
    page.clock.fast_forward(LONGEST)
    desktop.wait_for_done(2)


def test_a_service_that_dies_while_nothing_is_asked_of_it_is_missed(
    desktop: Watched, fake: Live
) -> None:
    page = desktop.page
    page.clock.install()
    page.goto(fake.url)
    service, model = page.locator("#service"), page.locator("#status-bar dd").first
    expect(service).to_have_attribute("data-state", "ready")
    expect(model).to_have_text("fake")

    def die() -> None:
        page.route(  # what a proxy says; the status bar alone would not look again for ten minutes
            "**/metrics", lambda route: route.fulfill(status=502, headers={"Retry-After": "600"})
        )
        page.route("**/health", lambda route: route.abort("connectionrefused"))
        page.clock.fast_forward(3_500)
        expect(service).to_contain_text("The service does not answer.")
        expect(model).to_have_text(NOTHING)

    def rise() -> None:
        page.unroute("**/metrics")
        page.unroute("**/health")
        page.clock.fast_forward(LONGEST)
        expect(service).to_have_attribute("data-state", "ready")
        expect(model).to_have_text("fake")

    die()
    rise()
    die()
    desktop.look_away(hidden=True)
    before = asked(desktop, "/health")
    for _ in range(5):
        page.clock.fast_forward(LONGEST)
        desktop.wait_until_idle()
    assert asked(desktop, "/health") == before  # a forgotten page lets it rest
    desktop.look_away(hidden=False)
    rise()


@pytest.mark.parametrize("named", ["vision.example.org", "localhost:9999", "//x.example"])
def test_what_is_no_address_of_a_service_is_said_and_nobody_asked(
    desktop: Watched, fake: Live, named: str
) -> None:
    page = desktop.page
    page.goto(f"{fake.url}/?api={named}")
    expect(page.locator("#service")).to_have_text(
        f"“{named}” is no address of a service: write ?api=https://…", use_inner_text=True
    )
    expect(page.locator("#show-camera")).to_be_disabled()
    desktop.drop([one()])
    expect(page.locator("#notice")).to_contain_text("Waiting for its turn")
    page.click("#cancel")
    desktop.wait_for_end()
    answered = ("/health", "/metrics", "/predict", "/result/")
    assert [url for url in desktop.requests if any(path in url for path in answered)] == []


def test_what_a_proxy_does_not_let_through_is_told_and_can_go_smaller(
    desktop: Watched, fake: Live
) -> None:
    page = desktop.page
    page.goto(fake.url)
    page.route(
        "**/predict?*",
        lambda route: route.fulfill(
            status=413, content_type="text/html", body="<h1>413 Request Entity Too Large</h1>"
        ),
        times=1,
    )
    desktop.drop([one()])
    desktop.wait_for_end()
    assert "too large for a proxy before the service" in page.inner_text("#failures")
    page.click("#retry")
    desktop.wait_for_done(1)


def test_a_picture_that_is_too_large_can_be_shrunk(desktop: Watched) -> None:
    page = desktop.page
    with live(max_pixels=4_000_000) as small:
        page.goto(small.url)
        desktop.drop([("large.jpg", "image/jpeg", pictures.jpeg(2600, 1700)), one()])
        desktop.wait_for_end()
        assert "Tick “Shrink large photographs first”, then Retry." in page.inner_text("#failures")
        page.check("#shrink-first")
        page.click("#retry")
        desktop.wait_for_done(2)
        page.reload()
        desktop.wait_for_done(2)


def test_pictures_that_are_on_their_way_are_not_left_without_a_question(
    desktop: Watched, fake: Live
) -> None:
    page = desktop.page
    page.goto(fake.url)
    page.wait_for_selector("#service[data-state=ready]")
    questions: list[str] = []

    def leave(dialog: Dialog) -> None:
        questions.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    page.click("#stage")  # browsers ask nothing for pages that nobody has touched
    page.route("**/predict?*", lambda _: None)
    with page.expect_request("**/predict?*"):
        desktop.drop([one()])
    page.reload()
    assert questions == ["beforeunload"]
    page.unroute("**/predict?*")
    page.click("#stage")
    desktop.drop([one()])
    desktop.wait_for_done(1)
    page.reload()
    assert questions == ["beforeunload"]


def test_addresses_of_tasks_are_followed(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.goto(fake.url)
    desktop.drop([one()])
    desktop.wait_for_done(1)
    (task,) = tasks_of(page)
    page.focus(".skip")
    page.keyboard.press("Enter")  # a link within the page
    expect(page.locator("#pictures")).to_be_focused()
    expect(page).to_have_url(f"{fake.url}/#tasks={task}")

    page.goto(f"{fake.url}/#tasks={'0' * 32}")  # in the open page
    expect(page.locator("#failures")).to_contain_text("Earlier results The results have expired.")
    expect(page.locator("#notice")).to_contain_text("The results have expired")
    expect(page).to_have_url(f"{fake.url}/")
    page.goto(f"{fake.url}/#task={task}")
    desktop.wait_for_done(1)
    assert page.locator("#thumbnails button").count() == 1


def failures(page: Page) -> list[str]:
    found: list[str] = page.locator("#failures li").all_inner_texts()
    return found


def test_folders_without_a_picture_and_closed_ones_are_told(
    desktop: Watched, fake: Live, tmp_path: Path
) -> None:
    page = desktop.page
    page.goto(fake.url)
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture", "utf-8")
    page.set_input_files("#folder-files", folder)
    desktop.wait_for_end()
    (said,) = failures(page)
    assert said.startswith("letters No pictures in it. JPEG")
    page.evaluate(_DROP_FOLDER)
    expect(page.locator("#thumbnails button")).to_have_count(3)
    assert failures(page)[1] == "secret It cannot be read. Permission denied"
    assert desktop.errors == []
