"""Pictures that a browser cannot show, and what the page shows of them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import expect

from support import pictures
from support.screen import BOXES, ask, pick, require_same

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from support.browser import Watched
    from support.servers import Live, Process

FORMATS = ("AVIF", "BMP", "GIF", "PNG", "TIFF", "WEBP")
PLAIN = "/detect?confidence=1"  # how the page asks for a picture without boxes


def drawn_size(page: Page) -> list[int]:
    size: list[int] = page.evaluate(
        "(({ naturalWidth, naturalHeight }) => [naturalWidth, naturalHeight])"
        "(document.querySelector('figure img'))"
    )
    return size


def test_a_tiff_is_shown_with_its_boxes_and_saved(
    desktop: Watched, service: Process, photos: list[Path], tmp_path: Path
) -> None:
    scan = tmp_path / "scan.tif"
    with Image.open(photos[0]) as photo:
        size = list(photo.size)
        photo.save(scan, compression="tiff_lzw")
    page = desktop.page
    page.goto(service.url)
    page.check("#small")  # which it cannot be here
    page.set_input_files("#files", scan)
    desktop.wait_for_end()
    pick(page, 0, scan.name)
    assert drawn_size(page) == size
    require_same(page.evaluate(BOXES), ask(service.url, scan.read_bytes()), within=1.5)
    page.wait_for_function("() => document.querySelector('#film img')?.naturalWidth > 0")
    with page.expect_download() as saving:
        page.click("#save-jpeg")
    with Image.open(saving.value.path()) as saved:
        assert list(saved.size) == size
    assert desktop.errors == []


def test_every_format_that_is_read_is_shown(desktop: Watched, fake: Live) -> None:
    """Only for what this browser cannot show is the service asked; a HEIC is refused in words."""
    bright = Image.new("RGB", (60, 40), (200, 200, 200))
    files = [(f"one.{kind.lower()}", "", pictures.encode(bright, kind)) for kind in FORMATS]
    page = desktop.page
    page.goto(fake.url)
    desktop.drop([*files, ("photo.heic", "image/heic", pictures.NOT_PICTURES["heic"])])
    desktop.wait_for_end()
    for number, (name, _, _) in enumerate(files):
        pick(page, number, name)
        assert drawn_size(page) == [60, 40]
    assert sum(url.endswith(PLAIN) for url in desktop.requests) == 1
    assert page.locator("#failures li").count() == 1
    assert "HEIC photograph" in page.inner_text("#failures li")


def test_a_picture_that_nobody_can_show_has_its_list(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.route(f"**{PLAIN}", lambda route: route.fulfill(status=413))
    page.route("**/images/0", lambda route: route.fulfill(status=410))
    page.goto(fake.url)
    packed = BytesIO()
    Image.new("RGB", (60, 40), (200, 200, 200)).save(packed, "TIFF")
    desktop.drop([("scan.tif", "image/tiff", packed.getvalue())])
    desktop.wait_for_end()
    expect(page.locator("#notice")).to_contain_text("cannot be shown here")
    expect(page.locator("#objects li")).to_have_count(1)
    expect(page.locator("figure .box")).to_have_count(1)
    expect(page.locator("#save-jpeg")).to_be_disabled()
    expect(page.locator("#save-csv")).to_be_enabled()


def test_where_nothing_is_kept_the_service_draws_after_a_reload(
    desktop: Watched, fake: Live
) -> None:
    page = desktop.page
    page.add_init_script("indexedDB.open = () => { throw new DOMException('no', 'SecurityError') }")
    page.goto(fake.url)
    desktop.drop([("one.png", "image/png", pictures.png())])
    desktop.wait_for_end()
    page.reload()
    desktop.wait_for_done(1)
    page.wait_for_function("() => document.querySelector('figure img').naturalWidth > 0")
    assert drawn_size(page) == [48, 32]
    assert page.locator("figure .box").count() == 0  # they are in the picture
    assert desktop.errors == []
