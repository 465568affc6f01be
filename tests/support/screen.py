"""The page's boxes as a person sees them, and as the service answers them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

# What is on the screen, in pixels of the picture: from where the browser shows both.
BOXES = """() => {
  const picture = document.querySelector('figure img');
  const place = picture.getBoundingClientRect();
  const { naturalWidth: width, naturalHeight: height } = picture;
  const scale = Math.min(place.width / width, place.height / height);
  const left = place.left + (place.width - width * scale) / 2;
  const top = place.top + (place.height - height * scale) / 2;
  return [...document.querySelectorAll('figure .box')].map((box) => {
    const frame = box.querySelector('.frame').getBBox();
    const matrix = box.getScreenCTM();
    const at = (x, y) => new DOMPoint(x, y).matrixTransform(matrix);
    const [a, b] = [at(frame.x, frame.y), at(frame.x + frame.width, frame.y + frame.height)];
    return {
      index: Number(box.dataset.index),
      class_id: Number(box.dataset.class),
      text: box.querySelector('text').textContent,
      box: [a.x - left, a.y - top, b.x - left, b.y - top].map((value) => value / scale),
    };
  }).sort((a, b) => a.index - b.index);
}"""

# All that is said of what was copied: each goes away after a while.
SAID = """() => {
  const note = document.querySelector('#copy-status');
  const said = [];
  new MutationObserver(() => said.push(note.textContent)).observe(note, { childList: true });
  return said;
}"""
HEARD = "([said, words]) => said.includes(words)"


def ask(url: str, data: bytes, **options: Any) -> list[dict[str, Any]]:
    """What the service at `url` finds in a picture."""
    answer = httpx.post(f"{url}/detect", content=data, params=options, timeout=60)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["detections"]
    return found


def pick(page: Page, index: int, name: str) -> None:
    """Choose a picture among the thumbnails; return once it is shown with its boxes."""
    page.locator("#thumbnails button").nth(index).click()
    page.wait_for_function(
        "(name) => { const i = document.querySelector('figure img');"
        " return i.alt === name && i.complete && i.naturalWidth > 0"
        " && document.querySelector('figure .box') }",
        arg=name,
    )


def require_same(shown: list[dict[str, Any]], found: list[dict[str, Any]], within: float) -> None:
    """Raises unless the boxes on the screen are those of an answer, to so many pixels."""
    assert [one["class_id"] for one in shown] == [one["class_id"] for one in found]
    for one, other in zip(shown, found, strict=True):
        assert one["text"] == f"{other['label']} {other['confidence']:.2f}"
        assert one["box"] == pytest.approx(list(other["bbox"].values()), abs=within)


def set_confidence(page: Page, value: float) -> None:
    page.locator("#confidence").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value
    )


def tasks_of(page: Page) -> list[str]:
    """Ids of the tasks in the page's address."""
    return re.findall(r"[0-9a-f]{32}", page.evaluate("location.hash"))


def results_of(url: str, task: str) -> list[dict[str, Any]]:
    """What the service has of a task's pictures."""
    answer = httpx.get(f"{url}/result/{task}", timeout=60)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["results"]
    return found
