"""/docs in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import pictures

if TYPE_CHECKING:
    from support.browser import Watched
    from support.servers import Live


def test_an_annotated_picture_is_shown(desktop: Watched, fake: Live) -> None:
    desktop.page.goto(f"{fake.url}/docs")
    operation = desktop.page.locator("#operations-detect-detect")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    filled = [one.input_value() for one in operation.locator(".parameters input[type=text]").all()]
    assert set(filled) <= {"", "300"}, "examples are to be read, not to be sent"
    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": pictures.jpeg()}
    operation.locator("input[type=file]").set_input_files(photo)  # type: ignore[arg-type]
    operation.locator(".responses-table select.content-type").first.select_option("image/jpeg")
    operation.get_by_role("button", name="Execute").click()
    picture = operation.locator(".live-responses-table img")
    picture.wait_for()
    desktop.page.wait_for_function(
        "image => image.naturalWidth === 48", arg=picture.element_handle()
    )
    assert not desktop.errors
    assert desktop.hosts() == {fake.url.removeprefix("http://")}
