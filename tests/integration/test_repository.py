"""Several models, swapped and unloaded while they serve."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from sightline import ConfigError, Detections, Detector, ModelError
from sightline.demo.scenes import make_scene
from sightline.errors import BadOption, DetectorClosed, NotAllowed
from sightline.models.digest import digest
from sightline.serving.canary import Canary, difference, missing
from sightline.serving.repository import Repository
from sightline.vision.draw import encode_jpeg
from support import graphs, pictures
from support.eventually import eventually
from support.file_server import open_file_server
from support.servers import Live, live

KEY = "a key for tests"
PICTURE = pictures.png(64, 64)
SCENE = encode_jpeg(make_scene(seed=0).image)


def constant_model(path: Path, class_id: int) -> Path:
    """Sees one object of `class_id` in every picture."""
    row = np.array([[8, 8, 40, 40, 0.9, class_id]], np.float32)
    labels = graphs.names("zero", "one", "two")
    return graphs.constant_network(path, {"out": row}, metadata=labels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    constant_model(folder / "zero.onnx", 0)
    constant_model(folder / "one.onnx", 1)
    return folder


def opened(name: str, source: str | None) -> Detector:
    return Detector(source, name=name)


@pytest.fixture
def server(folder: Path) -> Iterator[Live]:
    model = str(folder / "zero.onnx")
    options = {"engine": "openvino", "admin_key": KEY, "models_folder": folder}
    with live(model=model, **options) as running:
        yield running


@pytest.fixture
def admin(server: Live) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=90) as client:
        yield client


def ask(client: httpx.Client, **query: str) -> dict[str, Any]:
    answer = client.post("/detect", content=PICTURE, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["x-sightline-model"] == f"{body['model']}; digest={body['digest']}"
    return body


def test_answers_name_the_model_and_its_digest(admin: httpx.Client, folder: Path) -> None:
    body = ask(admin)
    assert (body["model"], body["digest"]) == ("zero", digest(folder / "zero.onnx"))
    assert body["detections"][0]["label"] == "zero"
    assert admin.get("/health").json()["digest"] == body["digest"]


def test_load_pick_swap_and_unload(admin: httpx.Client, folder: Path) -> None:
    loaded = admin.put("/models/other", json={"source": str(folder / "one.onnx")})
    assert loaded.status_code == 200, loaded.text
    assert loaded.json()["digest"] == digest(folder / "one.onnx")
    assert ask(admin, model="other")["detections"][0]["label"] == "one"
    assert ask(admin)["detections"][0]["label"] == "zero"
    listed = admin.get("/models").json()["models"]
    assert [(model["name"], model["default"]) for model in listed] == [
        ("zero", True), ("other", False),
    ]  # fmt: skip
    assert admin.get("/health").json()["models"] == ["zero", "other"]
    assert admin.put("/models/zero", json={"source": str(folder / "one.onnx")}).status_code == 200
    body = ask(admin)
    assert (body["model"], body["detections"][0]["label"]) == ("zero", "one")
    assert admin.delete("/models/other").status_code == 204
    answer = admin.post("/detect", content=PICTURE, params={"model": "other"})
    assert (answer.status_code, "there is: zero" in answer.json()["detail"]) == (422, True)
    assert admin.delete("/models/zero").status_code == 403
    assert admin.delete("/models/none").status_code == 422


@pytest.mark.parametrize("key", [None, "Bearer wrong", f"Basic {KEY}", "Bearer", f"Bearer {KEY}ö"])
def test_without_the_key_nothing_changes(server: Live, folder: Path, key: str | None) -> None:
    headers = {} if key is None else {b"authorization": key.encode()}
    for method in ("PUT", "DELETE"):
        answer = httpx.request(method, f"{server.url}/models/x", headers=headers, json={})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = httpx.put(
        f"{server.url}/models/x",
        headers={"x-api-key": KEY},
        json={"source": str(folder / "one.onnx")},
    )
    assert answer.status_code == 200


def test_without_a_key_set_nobody_may() -> None:
    with live() as server:
        answer = httpx.put(f"{server.url}/models/x", json={"source": "x"})
        assert (answer.status_code, "SIGHTLINE_ADMIN_KEY" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        ("{folder}/../outside.onnx", 403, "outside"),
        ("/etc/passwd", 403, "outside"),
        ("{folder}/link.onnx", 403, "outside"),
        ("{folder}/missing.onnx", 422, "does not exist"),
        ("{folder}/best.pt", 422, "yolo export"),
        ("{folder}/junk.onnx", 422, "not a readable ONNX"),
    ],
)
def test_a_failed_load_leaves_the_old_one_serving(
    admin: httpx.Client, folder: Path, source: str, status: int, words: str
) -> None:
    constant_model(folder.parent / "outside.onnx", 2)
    (folder / "link.onnx").symlink_to(folder.parent / "outside.onnx")
    (folder / "junk.onnx").write_bytes(b"junk")
    answer = admin.put("/models/zero", json={"source": source.format(folder=folder)})
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert ask(admin)["detections"][0]["label"] == "zero"


def test_a_model_is_loaded_from_an_address(admin: httpx.Client, folder: Path) -> None:
    with open_file_server() as file_server:
        address = file_server.put("/one.onnx", (folder / "one.onnx").read_bytes())
        loaded = admin.put("/models/far", json={"source": address})
        assert loaded.status_code == 200, loaded.text
        assert ask(admin, model="far")["detections"][0]["label"] == "one"
        gone = admin.put("/models/far", json={"source": address.replace("one", "none")})
        assert (gone.status_code, "404" in gone.json()["detail"]) == (422, True)
        assert ask(admin, model="far")["detections"][0]["label"] == "one"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"source": 1}', b'{"source": "x", "y": 1}'])
def test_bad_bodies(admin: httpx.Client, body: bytes) -> None:
    assert admin.put("/models/zero", content=body).status_code == 422
    assert admin.put("/models/a%20b", json={"source": "x"}).status_code == 422
    assert admin.put("/models/zero", content=bytes(100_000)).status_code == 413


@pytest.mark.parametrize("swaps", [6, pytest.param(200, marks=pytest.mark.soak)])
def test_swaps_under_16_clients(
    server: Live, admin: httpx.Client, folder: Path, swaps: int
) -> None:
    """No request fails, each answer agrees with the digest it names, and memory stays."""
    label_of = {digest(folder / f"{name}.onnx"): name for name in ("zero", "one")}
    stop = threading.Event()
    seen: list[str] = []

    def client() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as session:
            while not stop.is_set():
                body = ask(session)
                assert body["detections"][0]["label"] == label_of[body["digest"]]
                seen.append(body["digest"])

    def swap(times: int) -> None:
        for number in range(times):
            source = str(folder / ("one.onnx", "zero.onnx")[number % 2])
            loaded = admin.put("/models/zero", json={"source": source})
            assert loaded.status_code == 200
            first = len(seen)
            eventually(lambda: loaded.json()["digest"] in seen[first:], "it answers")  # noqa: B023

    with ThreadPoolExecutor(16) as threads:
        clients = [threads.submit(client) for _ in range(16)]
        swap(swaps // 3)  # allocators and caches have their size after some swaps
        before = resident_bytes()
        swap(swaps - swaps // 3)
        stop.set()
        for done in clients:
            done.result(60)
    assert set(seen) == set(label_of)
    assert len(seen) > swaps
    assert resident_bytes() < 1.1 * before


def resident_bytes() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_the_choice_survives_a_restart(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state" / "models.json"
    zero, one = str(folder / "zero.onnx"), str(folder / "one.onnx")
    first = Repository(opened, "zero", zero, state_file=state)
    first.load("zero", one)
    first.load("other", zero)
    first.close()
    again = Repository(opened, "zero", zero, state_file=state)
    assert label(again) == "one"
    assert [entry.loaded is None for entry in again.slots()] == [False, True]
    assert label(again, "other") == "zero"
    again.remove("other")
    again.close()
    other_default = Repository(opened, "zero", one, state_file=state)
    assert [entry.source for entry in other_default.slots()] == [one]
    other_default.close()


def label(repository: Repository, name: str | None = None) -> str:
    with repository.lease(name) as detector:
        return next(iter(detector.detect(PICTURE))).label


def test_a_chosen_model_that_is_gone_gives_way_to_the_named_one(
    folder: Path, tmp_path: Path
) -> None:
    state = tmp_path / "models.json"
    zero = str(folder / "zero.onnx")
    first = Repository(opened, "zero", zero, state_file=state)
    first.load("zero", str(folder / "one.onnx"))
    first.close()
    (folder / "one.onnx").unlink()
    again = Repository(opened, "zero", zero, state_file=state)
    assert label(again) == "zero"
    again.close()
    (folder / "zero.onnx").unlink()
    with pytest.raises(ModelError, match="does not exist"):
        Repository(opened, "zero", zero, state_file=state)
    state.write_text(json.dumps({"models": 5}))
    with pytest.raises(ConfigError, match="damaged"):
        Repository(opened, "zero", zero, state_file=state)


def test_the_least_recently_used_gives_way_and_comes_back(folder: Path) -> None:
    size = (folder / "zero.onnx").stat().st_size
    repository = Repository(opened, "zero", str(folder / "zero.onnx"), max_bytes=2 * size + 100)
    for name in ("a", "b", "c"):
        repository.load(name, str(folder / "one.onnx"))
    loaded = {entry.name for entry in repository.slots() if entry.loaded is not None}
    assert loaded == {"b", "c"}
    assert label(repository) == "zero"
    assert label(repository, "a") == "one"
    loaded = {entry.name for entry in repository.slots() if entry.loaded is not None}
    assert loaded == {"zero", "a"}
    repository.close()


def test_a_request_under_way_finishes_on_the_old_one() -> None:
    repository = Repository(lambda name, _source: Detector(name=name, engine="fake"), "m", None)
    with repository.lease() as old:
        repository.load("m", "again")
        with repository.lease() as new:
            assert new is not old
        assert len(old.detect(PICTURE, confidence=0)) == 1
    assert old is not None
    eventually(lambda: not old.alive, "it is closed")
    with pytest.raises(DetectorClosed):
        old.detect(PICTURE)
    with pytest.raises(NotAllowed):
        repository.remove("m")
    with pytest.raises(BadOption):
        repository.remove("n")
    repository.close()
    with pytest.raises(DetectorClosed), repository.lease():
        pass


class TestCanary:
    @pytest.fixture
    def repository(self) -> Iterator[Repository]:
        repository = Repository(lambda name, _: Detector(name=name, engine="fake"), "m", None)
        yield repository
        repository.close()

    @staticmethod
    def infer_instead(repository: Repository, change: Any) -> None:
        served = repository.slots()[0].loaded
        assert served is not None
        engine: Any = served.detector._engine
        infer = engine.infer
        engine.infer = lambda images, **_: [change(infer(images)[0])]

    def test_a_model_that_answers_as_ever_is_well(self, repository: Repository) -> None:
        canary = Canary(repository, SCENE, {}, 1000)
        canary.start()
        canary.check()
        canary.close()
        assert repository.unhealthy_reasons() == []

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda rows: rows * 0, "sees nothing"),
            (
                lambda rows: rows * np.array([0.5, 0.5, 0.5, 0.5, 1, 1], np.float32),
                "no longer sees",
            ),
            (lambda rows: rows * np.array([1, 1, 1, 1, 0.5, 1], np.float32), "no longer sees"),
            (lambda rows: 1 - rows * np.array([1, 1, 1, 1, 1, 1], np.float32), "sees nothing"),
        ],
    )
    def test_one_that_goes_blind_or_changes_its_mind_is_not(
        self, repository: Repository, change: Any, words: str
    ) -> None:
        canary = Canary(repository, SCENE, {}, 1000)
        canary.start()
        self.infer_instead(repository, change)
        canary.check()
        assert words in repository.unhealthy_reasons()[0]
        canary.close()

    def test_one_that_fails_is_not_and_is_again_when_it_recovers(
        self, repository: Repository
    ) -> None:
        canary = Canary(repository, SCENE, {}, 1000)
        canary.start()
        served = repository.slots()[0].loaded
        assert served is not None
        engine: Any = served.detector._engine

        def fail(_images: np.ndarray) -> None:
            raise RuntimeError("no driver")

        before, engine.before_infer = engine.before_infer, fail
        canary.check()
        assert "no driver" in repository.unhealthy_reasons()[0]
        engine.before_infer = before
        canary.check()
        assert repository.unhealthy_reasons() == []
        canary.close()

    def test_it_turns_ready_red_over_http_by_itself(self) -> None:
        with live(canary_interval=0.05) as server:
            assert httpx.get(f"{server.url}/health/ready").status_code == 200
            self.infer_instead(server.repository, lambda rows: rows * 0)
            ready = f"{server.url}/health/ready"
            eventually(lambda: httpx.get(ready).status_code == 503, "it is red")
            answer = httpx.get(ready)
            assert "sees nothing where it saw" in answer.json()["detail"]
            assert httpx.get(f"{server.url}/health/live").status_code == 200

    def test_a_box_without_area_agrees_with_itself(self) -> None:
        thin = Detections(
            boxes=np.array([[0, 5, 80, 5]], np.float32),
            confidence=np.array([0.9], np.float32),
            class_id=np.zeros(1, np.int64),
            labels=("x",),
            width=100,
            height=100,
        )
        assert difference(thin, thin) is None

    def test_what_is_known_to_be_there_must_be_seen(self) -> None:
        truth = Detections(
            boxes=np.array([[10, 10, 50, 50]], np.float32),
            confidence=np.ones(1, np.float32),
            class_id=np.zeros(1, np.int64),
            labels=("duck",),
            width=100,
            height=100,
        )
        assert missing(truth, truth) is None
        unsure = replace(truth, confidence=np.array([0.2], np.float32))
        assert missing(truth, unsure) == "it does not see the duck of the known scene"

    def test_real_models_agree_with_themselves(self, shared: Path) -> None:
        """And see something of the known picture, so that blindness would show."""
        for name in ("yolov8n", "yolox-nano"):
            with Detector(shared / "models" / f"{name}.onnx", max_batch=1) as detector:
                answers = [
                    detector.detect(SCENE, confidence=0.05, max_detections=20) for _ in range(3)
                ]
            assert len(answers[0]) > 0, name
            assert [difference(answers[0], answer) for answer in answers] == [None] * 3
