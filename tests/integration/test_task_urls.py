"""Pictures that a task names by address: fetched apart from what was uploaded, and kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.errors import ConfigError
from sightline.settings import load_settings
from sightline.tasks.image_loader import FETCHING
from sightline.tasks.task import Image
from sightline.wiring.tasks import open_processing, open_tasks
from support.hosts import Answer, Host, host, ok
from support.tasks import Place, is_of, picture, place, require_right

MODIFIED = "Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT"


def serve(answer: Answer, path: str) -> None:
    name = path.rpartition("/")[2]
    if name == "silence":
        answer.silence()
    elif name == "broken":
        answer.send(b"HTTP/1.1 500 Broken\r\n\r\n")
    elif name == "none":
        answer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    elif name == "large":
        answer.send(ok(bytes(2**20), 'ETag: "1"', MODIFIED))
    else:
        answer.send(ok(picture(int(name)), 'ETag: "1"', MODIFIED))


@pytest.fixture
def there() -> Iterator[Host]:
    with host(serve) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a b.png").write_bytes(picture(0))
    (tmp_path / "secret.png").write_bytes(picture(1))
    return folder


@pytest.fixture
def here(tmp_path: Path, there: Host, folder: Path) -> Iterator[Place]:
    with place(
        tmp_path / "data",
        url_allow=f"127.0.0.1:{there.port}",
        url_prefixes=folder.as_uri(),
        url_timeout=30,
    ) as opened:
        yield opened


def why(image: Image) -> tuple[str, str]:
    assert image.failure is not None
    return image.failure.error, image.failure.detail


def test_each_address_is_fetched_and_kept(here: Place, there: Host) -> None:
    task = here.ended(here.submit_urls(*(f"{there.url}/{n}" for n in range(30))))
    require_right(task)
    for number in range(30):
        assert here.desk.blobs.read(f"{task.id}/{number}") == picture(number)


def test_silent_hosts_hold_up_nobody_else(here: Place, there: Host) -> None:
    silent = here.submit_urls(*[f"{there.url}/silence"] * 40)
    uploaded = here.submit([picture(n) for n in range(20)])
    require_right(here.ended(uploaded))
    assert here.desk.store.get(silent).done == 0
    assert len(there.heads) <= FETCHING


def test_a_host_that_fails_is_asked_five_times(
    here: Place, there: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.tasks.retry_policy._FIRST_PAUSE", 0.01)
    task = here.ended(here.submit_urls(f"{there.url}/broken", f"{there.url}/1"))
    assert why(task.images[0])[0] == "UrlFailed"
    assert len(there.heads) == 5 + 1
    assert task.images[1].result is not None
    assert is_of(task.images[1].result, 1)


def test_an_address_inside_is_refused_when_its_turn_comes(here: Place) -> None:
    task = here.ended(here.submit_urls("http://127.0.0.1:1/x"))
    assert why(task.images[0])[0] == "UrlRefused"
    assert task.images[0].attempts == 1


def test_folders_that_are_open(here: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.tasks.retry_policy._FIRST_PAUSE", 0.01)
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(bytes(here.settings.max_upload_bytes + 1))
    wanted = {
        "a%20b.png": "",
        "none.png": "UrlFailed",
        "folder": "UrlFailed",
        "pipe": "UrlFailed",
        "large": "BodyTooLarge",
        "link.png": "UrlRefused",
        "../secret.png": "UrlRefused",
        "%2e%2e/secret.png": "UrlRefused",
    }
    urls = {f"{folder.as_uri()}/{name}": error for name, error in wanted.items()} | {
        f"{folder.as_uri()}-other/x.png": "UrlRefused",
        (folder.parent / "secret.png").as_uri(): "UrlRefused",
        "s3://bucket/x.png": "UrlRefused",
    }
    first, *others = here.ended(here.submit_urls(*urls)).images
    assert first.result is not None
    assert is_of(first.result, 0)
    assert [why(image)[0] for image in others] == list(urls.values())[1:]
    assert not [image for image in others if "secret" in why(image)[1]]


@pytest.mark.parametrize("prefix", ["ftp://host/folder", "file://host/folder", "/folder", "s4://x"])
def test_a_prefix_that_is_not_understood_is_said_at_start(tmp_path: Path, prefix: str) -> None:
    settings = load_settings(engine="fake", data_dir=tmp_path, url_prefixes=prefix)
    desk = open_tasks(settings)
    with pytest.raises(ConfigError, match="url_prefixes"):
        open_processing(settings, None, desk)  # type: ignore[arg-type]  # it is not needed so far
    desk.close()


def test_a_bucket_that_is_open(
    tmp_path: Path, there: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.tasks.retry_policy._FIRST_PAUSE", 0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", there.url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_REGION", "test")
    with place(tmp_path / "data", url_prefixes="s3://bucket/folder", max_upload_mb=0.1) as here:
        names = ["folder/3", "folder/large", "folder/none", "other/3"]
        task = here.ended(here.submit_urls(*(f"s3://bucket/{name}" for name in names)))
    assert task.images[0].result is not None
    assert is_of(task.images[0].result, 3)
    found = [why(image)[0] for image in task.images[1:]]
    assert found == ["BodyTooLarge", "UrlFailed", "UrlRefused"]
    assert b"/bucket/folder/3" in b"".join(there.heads)


def test_a_cloud_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with (
        pytest.raises(ConfigError, match=r"sightline\[cloud\]"),
        place(tmp_path, url_prefixes="s3://bucket/folder"),
    ):
        pass
