"""Docs are checked: generated pages are current, README's examples give what they say."""

from __future__ import annotations

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import httpx
import pytest

from support.commands import python, sightline
from support.servers import ONE_A_CALL, serve

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def block_after(text: str, kind: str = "") -> str:
    """The first fenced block of `kind` after `text` in the README."""
    found = re.search(rf"```{kind}\n(.*?)```", README[README.index(text) :], re.DOTALL)
    assert found
    return found[1]


def test_reference_pages_are_current() -> None:
    done = python(ROOT / "docs" / "generate.py", "--check")
    assert done.returncode == 0, done.stderr


def test_every_link_in_the_docs_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readme_names_every_part() -> None:
    tree = block_after("## What is where")
    package = ROOT / "src" / "sightline"
    for path in package.iterdir():
        if path.name.startswith(("_", "py.")):
            continue
        name = f"{path.name}/" if path.is_dir() else path.name
        assert f"  {name} " in tree, name


@pytest.fixture
def example(shared: Path, tmp_path: Path) -> Path:
    """The two files that the README's examples use."""
    (tmp_path / "yolox-nano.onnx").symlink_to(shared / "models" / "yolox-nano.onnx")
    (tmp_path / "photo.jpg").symlink_to(shared / "photos" / "dog.jpg")
    return tmp_path


def test_the_python_example_prints_what_it_says(example: Path) -> None:
    code = block_after("programs to start from", "python")
    done = python("-c", code)
    assert f"```python\n{code}```\n```\n{done.stdout}```" in README


def test_the_examples_over_http_answer_what_they_say(example: Path) -> None:
    shown = json.loads(block_after("## Use", "json"))
    code = block_after("From Python, with retries", "python")
    assert "http://127.0.0.1:8000" in code
    with serve(
        ["--model", "yolox-nano.onnx", "--engine", "openvino"], environment=ONE_A_CALL
    ) as running:
        files = {"file": (example / "photo.jpg").read_bytes()}
        answer = httpx.post(f"{running.url}/detect", files=files).json()
        queued = python("-c", code.replace("http://127.0.0.1:8000", running.url))
        running.stop()
    assert f"```python\n{code}```\n```\n{queued.stdout}```" in README
    for timed in ("inference_time_ms", "fps", "timing"):
        shown.pop(timed)
        answer.pop(timed)
    assert [found["label"] for found in answer["detections"]] == [
        found["label"] for found in shown["detections"]
    ]
    for found, said in zip(answer["detections"], shown["detections"], strict=True):
        assert found["bbox"] == pytest.approx(said["bbox"], abs=0.5)
        assert found["confidence"] == pytest.approx(said["confidence"], abs=0.005)
    assert answer["image"] == shown["image"]
    assert answer["digest"] == shown["digest"]


def test_the_snippets_of_the_client_print_what_they_say(
    example: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All run one after the other, as somebody who tries them in a notebook does."""
    page = (ROOT / "docs" / "how-to" / "client.md").read_text("utf-8")
    (example / "photos").mkdir()
    for photo in photos:
        (example / "photos" / photo.name).symlink_to(photo)
    known: dict[str, object] = {}
    with serve(
        ["--model", "yolox-nano.onnx", "--engine", "openvino"], environment=ONE_A_CALL
    ) as running:
        monkeypatch.setenv("SIGHTLINE_URL", running.url)
        for code, said in re.findall(r"```python\n(.*?)```\n(?:```\n(.*?)```)?", page, re.DOTALL):
            printed = StringIO()
            with redirect_stdout(printed):
                exec(code.replace("http://127.0.0.1:8000", running.url), known)  # noqa: S102
            assert not said or printed.getvalue() == said
        for name in ("client", "service"):
            known[name].close()  # type: ignore[attr-defined]


def test_the_command_line_example_works(example: Path) -> None:
    (example / "photos").mkdir()
    (example / "photo.jpg").rename(example / "photos" / "photo.jpg")
    found = re.search(r"\.venv/bin/(sightline detect .*?) > boxes\.csv", README)
    assert found
    arguments = found[1].split()[1:]
    done = sightline(*arguments)
    assert len(done.stdout.splitlines()) == 4
    assert (example / "annotated" / "photo.jpg").is_file()
