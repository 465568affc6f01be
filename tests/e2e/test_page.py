"""The page in a real browser: what is dropped on it, what it shows, what can be taken along."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from support import pictures
from support.browser import DESKTOP, PHONE, Watched, watched
from support.screen import (
    BOXES,
    HEARD,
    SAID,
    ask,
    pick,
    require_same,
    results_of,
    set_confidence,
    tasks_of,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from support.servers import Process


@pytest.fixture(params=["desktop", "phone"])
def screen(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Watched]:
    options = DESKTOP if request.param == "desktop" else PHONE
    with watched(browser, **options) as page:
        yield page


def files_of(photos: list[Path]) -> list[tuple[str, str, bytes]]:
    return [(photo.name, "image/jpeg", photo.read_bytes()) for photo in photos]


def test_boxes_of_dropped_photographs_are_at_the_right_pixels(
    screen: Watched, service: Process, photos: list[Path]
) -> None:
    """Then filtered, hovered and saved, with no other host, error or shift on the way."""
    page = screen.page
    three = photos[:3]
    page.goto(service.url)
    page.wait_for_selector("#service[data-state=ready]")
    screen.drop(files_of(three))
    screen.wait_for_end()
    assert "3 of 3 done" in page.inner_text("#progress p")
    answers = [ask(service.url, photo.read_bytes()) for photo in three]
    for index, photo in enumerate(three):
        pick(page, index, photo.name)
        require_same(page.evaluate(BOXES), answers[index], within=1.5)
        assert page.locator("#objects li").count() == len(answers[index])

    asked = screen.asked()
    set_confidence(page, 0.85)
    screen.wait_until_idle()
    few = [one for one in answers[2] if one["confidence"] >= 0.85]
    require_same(page.evaluate(BOXES), few, within=1.5)
    set_confidence(page, 0.5)
    label = answers[2][0]["label"]
    page.locator(f'#classes [data-label="{label}"]').click()
    page.wait_for_selector(f'#classes [data-label="{label}"][aria-pressed=true]')
    wanted = [one for one in answers[2] if one["label"] == label]
    require_same(page.evaluate(BOXES), wanted, within=1.5)
    assert screen.asked() == asked  # it was all here already

    with page.expect_download() as saving:
        page.click("#save-json")
    saved = json.loads(Path(saving.value.path()).read_text("utf-8"))
    assert [image["filename"] for image in saved["images"]] == [photo.name for photo in three]
    for image, answer in zip(saved["images"], answers, strict=True):
        assert image["detections"] == [one for one in answer if one["label"] == label]
    assert screen.errors == []
    assert screen.shifts() == []
    assert screen.hosts() == {service.url.removeprefix("http://")}


def test_a_box_and_its_row_light_up_together(
    desktop: Watched, service: Process, photos: list[Path]
) -> None:
    page = desktop.page
    page.goto(service.url)
    page.set_input_files("#files", photos[0])
    desktop.wait_for_end()
    pick(page, 0, photos[0].name)  # its boxes are where they stay
    row = page.locator("#objects button").nth(1)
    highlighted = page.locator("figure .box.highlighted")
    row.hover()
    expect(highlighted).to_have_attribute("data-index", "1")
    page.mouse.move(0, 0)
    expect(highlighted).to_have_count(0)
    row.focus()
    expect(highlighted).to_have_attribute("data-index", "1")
    row.evaluate("row => row.blur()")
    frame = page.locator('figure .box[data-index="2"] .frame').bounding_box()
    assert frame
    page.mouse.click(frame["x"] + 3, frame["y"] + 3)
    expect(page.locator("#objects button.highlighted")).to_have_attribute("data-index", "2")
    page.mouse.move(0, 0)
    expect(highlighted).to_have_attribute("data-index", "2")  # a tap holds it


def test_turned_and_shrunk_photographs_keep_their_boxes(
    desktop: Watched, service: Process, photos: list[Path], tmp_path: Path
) -> None:
    """A camera's large picture on its side: sent smaller, with boxes in its own upright pixels."""
    with Image.open(photos[0]) as photo:
        large = photo.resize((photo.width * 3, photo.height * 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned = tmp_path / "turned.jpg"
    large.rotate(90, expand=True).save(turned, quality=92, exif=exif)
    answer = ask(service.url, turned.read_bytes())
    page = desktop.page
    page.goto(service.url)
    for small, within in ((False, 4), (True, 25)):
        page.set_checked("#shrink-first", small)
        page.set_input_files("#files", turned)
        desktop.wait_for_end()
        pick(page, int(small), "turned.jpg")
        assert page.inner_text("figcaption").endswith(f"{large.width} × {large.height}")
        shown = page.evaluate(BOXES)
        assert [one["class_id"] for one in shown] == [one["class_id"] for one in answer]
        for one, other in zip(shown, answer, strict=True):
            assert one["box"] == pytest.approx(list(other["bbox"].values()), abs=within)
    results = [one for task in tasks_of(page) for one in results_of(service.url, task)]
    longest = [max(one["image"].values()) for one in results]
    assert longest == [max(large.size), 1920]


def test_the_annotated_picture_and_the_table_can_be_saved(
    desktop: Watched, service: Process, photos: list[Path]
) -> None:
    page = desktop.page
    page.goto(service.url)
    page.set_input_files("#files", photos[1])
    desktop.wait_for_end()
    pick(page, 0, photos[1].name)
    answer = ask(service.url, photos[1].read_bytes())
    with page.expect_download() as saving:
        page.click("#save-csv")
    rows = list(csv.DictReader(io.StringIO(Path(saving.value.path()).read_text("utf-8"))))
    assert [row["label"] for row in rows] == [one["label"] for one in answer]
    assert [float(row["x1"]) for row in rows] == [one["bbox"]["x1"] for one in answer]
    with page.expect_download() as saving:
        page.click("#save-jpeg")
    assert saving.value.suggested_filename == f"{photos[1].stem}-boxes.jpg"
    with Image.open(saving.value.path()) as saved, Image.open(photos[1]) as photo:
        assert saved.size == photo.size
        before, after = (np.asarray(one.convert("RGB"), np.int16) for one in (photo, saved))
    box = answer[0]["bbox"]
    middle = round((box["y1"] + box["y2"]) / 2)
    edge = after[middle, round(box["x1"])] - before[middle, round(box["x1"])]
    assert np.abs(edge).max() > 40  # a line was drawn there


def test_programs_that_ask_the_same_can_be_copied(
    desktop: Watched, service: Process, photos: list[Path]
) -> None:
    page = desktop.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(service.url)
    names = ["plain.jpg", 'a, b; "c" it\'s \\d.jpg']
    data = photos[0].read_bytes()
    desktop.drop([(name, "image/jpeg", data) for name in names])
    desktop.wait_for_end()
    said = page.evaluate_handle(SAID)
    page.click("#copy-curl")
    page.wait_for_function(HEARD, arg=[said, "curl command copied"])
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == f"curl -F 'file=@plain.jpg' '{service.url}/detect?confidence=0.5'"
    page.click("#copy-python")
    page.wait_for_function(HEARD, arg=[said, "program copied"])
    program = page.evaluate("navigator.clipboard.readText()")
    compile(program, "copied", "exec")
    assert f'"{service.url}/detect"' in program
    pick(page, 1, names[1])
    said = page.evaluate_handle(SAID)
    page.click("#copy-curl")
    page.wait_for_function(HEARD, arg=[said, "curl command copied"])
    _, _, part, address = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert part == r'file=@"a, b; \"c\" it' + r"'s \\d.jpg" + '"'  # in quotes, a comma is one
    assert address == f"{service.url}/detect?confidence=0.5"


def test_a_pdf_is_refused_in_words_and_loses_no_other(
    screen: Watched, service: Process, photos: list[Path]
) -> None:
    page = screen.page
    page.goto(service.url)
    screen.drop([("notes.pdf", "application/pdf", b"%PDF-1.7\n1 0 obj\n"), *files_of(photos[:1])])
    screen.wait_for_end()
    assert "1 of 2 done · 1 failed" in page.inner_text("#progress p")
    said = page.inner_text("#failures")
    assert "notes.pdf" in said
    assert "PDF document, not a picture" in said
    assert page.locator("#retry").is_hidden()  # it would not help
    page.locator("#thumbnails button").first.click()
    expect(page.locator("#notice")).to_contain_text("PDF document")
    assert screen.errors == []
    assert screen.shifts() == []


def test_pasted_pictures_folders_and_samples(
    desktop: Watched, service: Process, tmp_path: Path
) -> None:
    page = desktop.page
    page.goto(service.url)
    page.locator("#samples button").first.click()
    desktop.wait_for_end()
    assert "stop sign" in page.inner_text("#classes")
    page.evaluate(
        """async () => {
          const data = await (await fetch('samples/table.webp')).blob();
          const transfer = new DataTransfer();
          transfer.items.add(new File([data], 'pasted.webp', { type: 'image/webp' }));
          document.body.dispatchEvent(
            new ClipboardEvent('paste', { bubbles: true, clipboardData: transfer }));
        }"""
    )
    desktop.wait_for_done(2)
    assert "clock" in page.inner_text("#classes")
    folder = tmp_path / "folder" / "inner"
    folder.mkdir(parents=True)
    grey = pictures.encode(Image.new("RGB", (64, 48), (120, 120, 120)), "JPEG")
    (folder / "grey.jpg").write_bytes(grey)
    (folder / "notes.txt").write_text("no picture", "utf-8")
    page.set_input_files("#folder-files", tmp_path / "folder")
    desktop.wait_for_done(3)
    assert page.locator("#thumbnails button").count() == 3  # of a folder, pictures alone
    page.click("#clear")
    page.wait_for_selector("#empty-state:visible")
    assert page.evaluate("location.hash") == ""
