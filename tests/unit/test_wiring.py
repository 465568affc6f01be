from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from sightline.errors import ConfigError, ImageTooLarge, Overloaded
from sightline.machine import Budget
from sightline.settings import Settings
from sightline.tasks.task import NewImage, NewTask
from sightline.wiring import models, tasks
from support import pictures


def with_memory(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    for module in (models, tasks):
        monkeypatch.setattr(module, "memory_limit", lambda: memory)
    monkeypatch.setattr(models, "budget", lambda: Budget.of(memory))


def test_pictures_that_memory_cannot_bear_are_refused_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_memory(monkeypatch, 600 * 2**20)
    repository = models.open_repository(Settings(engine="fake"))
    with repository.lease() as detector:
        assert len(detector.detect(pictures.bare_png(4100, 3000), confidence=0)) == 1
        with pytest.raises(ImageTooLarge, match=r"limit is 12\.3"):
            detector.detect(pictures.bare_png(4200, 3000))
    repository.close()
    # Threads that others have left may say something meanwhile.
    ours = threading.get_ident()
    said = [record.getMessage() for record in caplog.records if record.thread == ours]
    assert len(said) == 1
    assert "more than 12.3 million pixels are refused, not 50.0: there are 600 MB" in said[0]
    assert "SIGHTLINE_MAX_PIXELS=12336188" in said[0]


@pytest.mark.parametrize(("memory", "pixels"), [(600 * 2**20, 5_000_000), (2**33, 50_000_000)])
def test_nothing_is_said_where_memory_can_bear_what_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, memory: int, pixels: int
) -> None:
    with_memory(monkeypatch, memory)
    with (
        models.open_detector(Settings(engine="fake", max_pixels=pixels)) as detector,
        pytest.raises(ImageTooLarge, match=f"limit is {pixels / 1e6:g} million"),
    ):
        detector.detect(pictures.bare_png(8000, 8000))
    assert not [record for record in caplog.records if record.thread == threading.get_ident()]


def test_tasks_in_memory_take_no_more_than_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 800 * 2**20)
    settings = Settings(engine="fake", data_dir=Path(":memory:"), max_backlog_mb=300)
    services = tasks.open_tasks(settings)
    images = (NewImage("", url="https://example.org/", size=60 * 2**20),)
    services.store.submit(NewTask("0" * 32, "", images, {}))
    with pytest.raises(Overloaded, match="100 MB"):
        services.store.submit(NewTask("1" * 32, "", images, {}))
    services.close()
    with pytest.raises(ConfigError, match="'workers' needs a folder"):
        tasks.require_shared_tasks(settings)


def test_a_database_outlives_no_pictures_in_memory() -> None:
    address = SecretStr("postgresql+pg8000://localhost/tasks")
    settings = Settings(engine="fake", data_dir=Path(":memory:"), database_url=address)
    with pytest.raises(ConfigError, match="loses their pictures"):
        tasks.open_tasks(settings)
