"""Tasks as `sightline serve` runs them: front ends, and one process that works."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.hosts import host
from support.predict import ended, files
from support.servers import Process, serve
from support.tasks import is_of, picture

# Who never answers is waited for until the service ends.
SETTINGS = {"SIGHTLINE_URL_ALLOW": "localhost", "SIGHTLINE_URL_TIMEOUT": "600"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("data")
    flags = ["--workers", "2", "--engine", "fake", "--data-dir", str(folder)]
    with serve(flags, environment=SETTINGS) as running:
        yield running


def test_photographs_and_small_pictures_at_once(service: Process, shared: Path) -> None:
    """Whichever process is asked, it knows every task; answers are those of /detect."""
    photographs = [path.read_bytes() for path in sorted((shared / "photos").glob("*.jpg"))[:3]]
    assert len(photographs) == 3

    def hand_in(number: int) -> None:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            if number:
                small = [picture(index, number) for index in range(25)]
                state = ended(client, client.post("/predict", files=files(*small)))
                assert all(is_of(entry, entry["index"], number) for entry in state["results"])
                return
            state = ended(client, client.post("/predict", files=files(*photographs)))
            for entry, data in zip(state["results"], photographs, strict=True):
                now = client.post("/detect", files={"file": data}).json()
                for member in ("model", "digest", "image", "count", "detections"):
                    assert entry[member] == now[member], member
            drawn = client.get(f"/result/{state['task_id']}?annotated=inline").json()
            assert all(entry["annotated"].startswith("data:") for entry in drawn["results"])

    with ThreadPoolExecutor(5) as clients:
        list(clients.map(hand_in, range(5)))


def test_a_stop_ends_streams_at_once(service: Process) -> None:
    """A service waits 20 s for answers under way; a stream is none that will ever be ready."""
    with (
        host(lambda answer, _path: answer.silence()) as silent,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        url = silent.url.replace("127.0.0.1", "localhost")
        task = client.post("/predict", json={"urls": [url]}).headers["location"]
        with client.stream("GET", f"{task}/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 2000"
            code, said = service.stop()
            assert "event: end" not in list(lines)
    assert code == 0, said
    assert "Traceback" not in said
