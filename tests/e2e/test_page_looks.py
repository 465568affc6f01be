"""The page for everybody: weight, contrast, keyboard, and where it may be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from support.browser import DESKTOP, PHONE, Watched, watched
from support.file_server import open_file_server
from support.screen import set_confidence
from support.servers import live
from support.tasks import picture

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, FileChooser, Page

    from support.servers import Live, Process

MOST_BYTES = 100_000
FOCUS = """() => {
  const one = document.activeElement;
  const top = document.querySelector('#status-bar').getBoundingClientRect().top;
  return [one.id, one.getBoundingClientRect().bottom > top && !one.closest('#status-bar')];
}"""
LISTEN = """() => {
  performance.now = () => 0;
  const said = document.querySelector('#progress [role=status]');
  const heard = [];
  new MutationObserver(() => heard.push(said.textContent)).observe(said, { childList: true });
  return heard;
}"""
WATCH_THUMBNAILS = """() => {
  const touched = [];
  const note = ({ target }) => touched.push(target.closest('button').dataset.name);
  const everything = { subtree: true, childList: true, attributes: true };
  new MutationObserver((changes) => changes.forEach(note)).observe(
    document.querySelector('#thumbnails'), everything);
  return touched;
}"""
LOOK = """(one) => {
  const { backgroundColor, borderTopColor } = getComputedStyle(one);
  return [backgroundColor, borderTopColor];
}"""


def serious(page: Page) -> list[str]:
    """What axe-core finds serious or worse: rule and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    ("options", "scheme"),
    [
        pytest.param(DESKTOP, "light", id="desktop-light"),
        pytest.param(PHONE, "dark", id="phone-dark"),
        pytest.param(DESKTOP, "dark", id="desktop-dark", marks=pytest.mark.soak),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.soak),
    ],
)
def test_axe_finds_nothing_serious(
    browser: Browser, service: Process, photos: list[Path], options: Any, scheme: Any
) -> None:
    with watched(browser, color_scheme=scheme, **options) as screen:
        page = screen.page
        page.goto(service.url)
        page.wait_for_selector("#samples button")
        assert serious(page) == []
        screen.drop(
            [
                (photos[0].name, "image/jpeg", photos[0].read_bytes()),
                ("notes.pdf", "application/pdf", b"%PDF-1.7\n1 0 obj\n"),
            ]
        )
        screen.wait_for_end()
        page.locator("#classes button").first.click()
        page.locator("#thumbnails button").nth(1).click()
        page.wait_for_selector("#notice:visible")
        assert serious(page) == []
        page.evaluate("document.querySelector('#key-dialog').showModal()")
        assert serious(page) == []


@pytest.mark.parametrize("options", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_first_paint_is_light(browser: Browser, service: Process, options: Any) -> None:
    with watched(browser, **options) as screen:
        session = screen.page.context.new_cdp_session(screen.page)
        session.send("Network.enable")
        asked: dict[str, str] = {}
        sizes: dict[str, float] = {}  # by address: the status bar asks for its figures all the time

        def on_end(event: dict[str, Any]) -> None:
            address = asked[event["requestId"]]
            sizes[address] = max(event["encodedDataLength"], sizes.get(address, 0))

        session.on(
            "Network.requestWillBeSent",
            lambda event: asked.update({event["requestId"]: event["request"]["url"]}),
        )
        session.on("Network.loadingFinished", on_end)
        screen.page.goto(service.url)
        screen.page.wait_for_selector("#samples button")
        screen.page.wait_for_load_state("networkidle")
        assert len(sizes) > 20  # all of it was counted
        assert sum(sizes.values()) < MOST_BYTES
        assert screen.hosts() == {service.url.removeprefix("http://")}
        assert screen.errors == []
        assert screen.shifts() == []
        page = screen.page
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [320, 360])
def test_nothing_is_cut_off_or_hidden_on_the_smallest_screens(
    browser: Browser, fake: Live, width: int
) -> None:
    small = PHONE | {"viewport": {"width": width, "height": 640}}
    with watched(browser, **small) as screen:
        page = screen.page
        page.goto(fake.url)
        screen.drop([(f"{name}.png", "image/png", picture(90)) for name in "abc"])
        screen.wait_for_end()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.locator("#pick").focus()
        seen = set()
        while page.evaluate("document.activeElement !== document.body"):
            focused, hidden = page.evaluate(FOCUS)
            assert not hidden, focused
            seen.add(focused)
            page.keyboard.press("Tab")
        assert {"clear", "confidence", "copy-python"} <= seen
        assert screen.shifts() == []


def test_forced_colours_tell_what_is_chosen(browser: Browser, fake: Live) -> None:
    with watched(browser, forced_colors="active", **DESKTOP) as screen:
        page = screen.page
        page.goto(fake.url)
        screen.drop([(f"{name}.png", "image/png", picture(90)) for name in "ab"])
        screen.wait_for_end()
        chip = page.locator("#classes button")
        tiles = page.locator("#thumbnails button")
        plain = chip.evaluate(LOOK)
        ground = page.locator("body").evaluate(LOOK)[0]
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "true")
        assert chip.evaluate(LOOK) != plain
        assert tiles.nth(0).evaluate(LOOK) != tiles.nth(1).evaluate(LOOK)
        for filled in (".bar div", "#service .dot", "#objects .swatch"):
            assert page.locator(filled).first.evaluate(LOOK)[0] != ground


def test_a_screen_reader_hears_how_it_goes_now_and_then(desktop: Watched, fake: Live) -> None:
    """Not each of the many changes of the line that is seen."""
    page = desktop.page
    page.goto(fake.url)
    heard = page.evaluate_handle(LISTEN)  # in a moment without end
    desktop.drop([(f"{name}.png", "image/png", picture(90)) for name in "abcdef"])
    desktop.wait_for_end()
    begin, end = page.evaluate("(heard) => heard", heard)
    assert begin.endswith("0 of 6 done")
    assert end == page.inner_text("#progress p") == "6 of 6 done \u00b7 6 objects"
    named = page.locator("#thumbnails button").first.get_attribute("aria-label")
    assert named == "a.png, done, 1 object"


def test_the_slider_touches_only_tiles_that_change(desktop: Watched, fake: Live) -> None:
    """Each write costs a layout, and there may be hundreds of them."""
    page = desktop.page
    page.goto(fake.url)
    desktop.drop([("dark", "image/png", picture(10)), ("bright", "image/png", picture(90))])
    desktop.wait_for_end()
    page.wait_for_function("document.querySelectorAll('#thumbnails img').length === 2")
    touched = page.evaluate_handle(WATCH_THUMBNAILS)
    set_confidence(page, 0.52)
    desktop.wait_until_idle()
    set_confidence(page, 0.7)
    expect(page.locator("#objects li")).to_have_count(0)
    assert page.evaluate("(touched) => [...new Set(touched)]", touched) == ["dark"]


def test_everything_can_be_done_with_a_keyboard(
    desktop: Watched, service: Process, photos: list[Path]
) -> None:
    page = desktop.page

    def choose(chooser: FileChooser) -> None:
        chooser.set_files(photos[:2])

    page.on("filechooser", choose)
    page.goto(service.url)
    page.wait_for_selector("#samples button")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#pick").focus()
    page.keyboard.press("Enter")
    desktop.wait_for_end()
    page.locator("#thumbnails button").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "(name) => document.querySelector('figure img').alt === name", arg=photos[1].name
    )
    expect(page.locator("#thumbnails button[tabindex='0']")).to_have_attribute(
        "title", photos[1].name
    )
    expect(page.locator("#thumbnails button[tabindex='-1']")).to_have_count(1)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#objects') !== null"):
            break
    assert page.locator("figure .box.highlighted").get_attribute("data-index") == "0"
    before = page.locator("figure .box").count()
    page.locator("#confidence").focus()
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelectorAll('figure .box').length === 0")
    assert before > 0
    assert "None at this confidence" in page.inner_text("#panel")


def test_the_demo_model_says_what_it_knows(browser: Browser, tmp_path: Path) -> None:
    with live(engine="onnxruntime", data_dir=tmp_path) as demo, watched(browser, **PHONE) as screen:
        page = screen.page
        page.goto(demo.url)
        page.wait_for_selector("#service[data-state=demo]")
        said = page.inner_text("#service")
        assert "Demo model: knows only" in said
        page.click("#service summary")
        assert "sightline pull yolox-tiny" in page.inner_text("#service")
        page.click("#service summary")
        page.click("#samples button")
        screen.wait_for_end()
        expect(page.locator("figure .box").nth(4)).to_be_visible()
        assert screen.errors == []
        assert screen.shifts() == []


def test_below_a_path_of_a_proxy(desktop: Watched) -> None:
    with live(root_path="/vision") as shown:
        page = desktop.page
        page.goto(f"{shown.url}/vision")
        assert page.url == f"{shown.url}/vision/"
        page.wait_for_selector("#service[data-state=ready]")
        page.locator("#samples button").first.click()
        desktop.wait_for_end()
        assert "1 of 1 done" in page.inner_text("#progress p")
        assert desktop.errors == []
        assert {url.split("/")[3] for url in desktop.requests if url.startswith("http")} == {
            "vision"
        }


@pytest.mark.parametrize("allowed", [True, False])
def test_frames_are_for_those_who_are_named(desktop: Watched, allowed: bool) -> None:
    with (
        open_file_server() as outer,
        live(frame_ancestors=outer.url if allowed else "https://huggingface.co") as shown,
    ):
        outer.content_type = "text/html"
        frame = f"<title>outer</title><iframe src='{shown.url}/' width=1000 height=800></iframe>"
        page = desktop.page
        address = outer.put("/outer.html", frame.encode())
        inside = page.frame_locator("iframe")
        if allowed:
            page.goto(address)
            inside.locator("#samples button").first.click()
            inside.locator("#clear").wait_for(state="visible")
            assert "1 of 1 done" in inside.locator("#progress p").inner_text()
        else:
            with page.expect_console_message(lambda said: "frame-ancestors" in said.text):
                page.goto(address)
            assert inside.locator("#pick").count() == 0
