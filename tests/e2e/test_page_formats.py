"""Pictures that a browser cannot show, and what the page shows of them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import expect

from support import pictures
from support.screen import BOXES, HEARD, SAID, ask, pick, require_same, results_of, tasks_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from support.browser import Watched
    from support.servers import Live, Process

FORMATS = ("AVIF", "BMP", "GIF", "PNG", "TIFF", "WEBP")
PLAIN = "/detect?confidence=1"  # how the page asks for a picture without boxes
IS_WHITE = """() => {
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d');
  context.drawImage(document.querySelector('figure img'), 0, 0);
  return context.getImageData(2, 2, 1, 1).data[0] > 240;
}"""


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
    page.check("#shrink-first")  # which it cannot be here
    page.set_input_files("#files", scan)
    desktop.wait_for_end()
    pick(page, 0, scan.name)
    assert drawn_size(page) == size
    require_same(page.evaluate(BOXES), ask(service.url, scan.read_bytes()), within=1.5)
    page.wait_for_function("() => document.querySelector('#thumbnails img')?.naturalWidth > 0")
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


def turned(orientation: int, size: tuple[int, int] = (80, 60)) -> bytes:
    """A WebP whose upper left is white once it is upright."""
    upright = Image.new("RGB", size, (150, 150, 150))
    upright.paste((255, 255, 255), (0, 0, size[0] // 4, size[1] // 4))
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pictures.encode(upright.transpose(back) if back else upright, "WEBP", exif=exif)


def test_a_webp_is_upright_as_its_exif_says(desktop: Watched, fake: Live) -> None:
    """No browser turns one; the service does, and its boxes are in upright pixels."""
    large = (2400, 120)  # to be shrunk, were it not seen lying on its side then
    sizes = {"none": (80, 60), "over": (80, 60), "side": large}
    page = desktop.page
    page.goto(fake.url)
    page.check("#shrink-first")
    files = zip(sizes, (1, 3, 6), sizes.values(), strict=True)
    desktop.drop([(name, "image/webp", turned(way, size)) for name, way, size in files])
    desktop.wait_for_end()
    for number, (name, size) in enumerate(sizes.items()):
        pick(page, number, name)
        page.wait_for_function(IS_WHITE)
        assert drawn_size(page) == list(size)
    results = [one for task in tasks_of(page) for one in results_of(fake.url, task)]
    assert [tuple(one["image"].values()) for one in results] == list(sizes.values())
    assert sum(url.endswith(PLAIN) for url in desktop.requests) == 2
    assert desktop.errors == []


def test_what_lies_on_its_side_is_asked_for(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.goto(fake.url)
    page.evaluate("() => { Blob.prototype.arrayBuffer = null }")  # it cannot look into the file
    desktop.drop([("side.webp", "image/webp", turned(6))])
    desktop.wait_for_end()
    page.wait_for_function(IS_WHITE)
    assert drawn_size(page) == [80, 60]


def test_what_is_transparent_is_white_wherever_it_is_drawn(desktop: Watched, fake: Live) -> None:
    """As the service sees it: shrunk, what is sent; saved, what was looked at."""
    clear = pictures.encode(Image.new("RGBA", (2400, 40), (0, 0, 0, 0)), "PNG")
    page = desktop.page
    page.goto(fake.url)
    page.check("#shrink-first")
    desktop.drop([("clear.png", "image/png", clear)])
    desktop.wait_for_end()
    expect(page.locator("#objects .name")).to_have_text("bright")
    with page.expect_download() as saving:
        page.click("#save-jpeg")
    with Image.open(saving.value.path()) as saved:
        middle = saved.convert("RGB").getpixel((1800, 30))
        assert middle == (255, 255, 255)


def test_a_picture_larger_than_a_canvas_is_saved_smaller(desktop: Watched, fake: Live) -> None:
    wide = pictures.encode(Image.new("RGB", (70_000, 40), (200, 200, 200)), "PNG")
    page = desktop.page
    page.goto(fake.url)
    desktop.drop([("wide.png", "image/png", wide)])
    desktop.wait_for_end()
    pick(page, 0, "wide.png")
    with page.expect_download() as saving:
        page.click("#save-jpeg")
    with Image.open(saving.value.path()) as saved:
        assert saved.size == (35_000, 20)
    page.evaluate("() => { HTMLCanvasElement.prototype.toBlob = (take) => take(null) }")
    said = page.evaluate_handle(SAID)
    page.click("#save-jpeg")
    page.wait_for_function(HEARD, arg=[said, "This browser cannot draw it."])
