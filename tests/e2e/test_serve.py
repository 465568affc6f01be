"""`sightline serve` as an operator meets it: a process, a real model, a signal."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx
import pytest

from sightline.models.resolve import BUNDLED
from support import graphs
from support.commands import Done, one_line, refused, sightline
from support.servers import serve


def fails(done: Done[str]) -> str:
    assert done.returncode > 0, "it crashed" if done.returncode else "it ended well"
    return one_line(done.stderr)


@pytest.mark.parametrize(
    "engine", ["openvino", pytest.param("onnxruntime", marks=pytest.mark.soak)]
)
def test_a_photograph_to_boxes_and_a_clean_end(shared: Path, engine: str) -> None:
    model = shared / "models" / "yolox-nano.onnx"
    arguments = ["--model", str(model), "--engine", engine, "--device", "cpu"]
    with serve(arguments, cold=True) as running:
        photo = (shared / "photos" / "dog.jpg").read_bytes()
        answer = httpx.post(f"{running.url}/detect", files={"file": photo})
        labels = [found["label"] for found in answer.json()["detections"]]
        assert labels == ["dog", "bicycle", "car"]
        assert answer.headers["x-sightline-device"] == f"cpu; engine={engine}; precision=fp32"
        health = httpx.get(f"{running.url}/health").json()
        assert (health["model"], health["engine"], health["classes"]) == ("yolox-nano", engine, 80)
        code, said = running.stop()
    assert code == 0, said
    assert "Traceback" not in said


def test_options_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_ENGINE", "fake")
    monkeypatch.setenv("SIGHTLINE_MAX_UPLOAD_MB", "0.001")
    with serve() as running:
        answer = httpx.post(f"{running.url}/detect", content=b"\xff\xd8\xff" + bytes(5000))
        assert answer.status_code == 413
        assert running.stop()[0] == 0


def test_other_peoples_servers_can_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_ENGINE", "fake")
    with serve(module="uvicorn", arguments=["sightline.asgi:app", "--port", "0"]) as running:
        assert httpx.get(f"{running.url}/health").json()["model"] == "fake"
        running.stop()


def test_a_port_in_use_is_told_before_the_model_loads() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails(sightline("serve", "--model", "x.onnx", "--port", str(port)))
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


def bad_models(folder: Path) -> dict[str, tuple[list[str], str]]:
    import numpy as np

    (folder / "junk.onnx").write_bytes(b"\x08junk")
    graphs.constant_network(folder / "classifier.onnx", {"p": np.zeros(1000, np.float32)})
    return {
        "missing": (["--model", "missing.onnx"], "missing.onnx does not exist"),
        "unreadable": (["--model", "junk.onnx"], "junk.onnx is not a readable ONNX file"),
        "no detector": (["--model", "classifier.onnx"], r"p\[\?,1000\] fit no detection family"),
        "pytorch": (["--model", "best.pt"], "yolo export"),
        "unknown engine": (["--engine", "torch"], "engine"),
    }


@pytest.mark.parametrize(
    "case", ["missing", "unreadable", "no detector", "pytorch", "unknown engine"]
)
def test_what_an_operator_can_get_wrong_is_one_clear_line(tmp_path: Path, case: str) -> None:
    arguments, message = bad_models(tmp_path)[case]
    (tmp_path / "photo.jpg").write_bytes(b"")
    line = refused("detect", "photo.jpg", *arguments)
    assert re.search(message, line), line


@pytest.mark.parametrize("case", ["no detector", "unknown engine"])
def test_a_service_says_it_likewise(tmp_path: Path, case: str) -> None:
    arguments, message = bad_models(tmp_path)[case]
    line = fails(sightline("serve", "--port", "0", *arguments))
    assert re.search(message, line), line


DEVICES = [
    ("banana", "unknown device 'banana'"),
    ("cuda", "onnxruntime-gpu"),
    ("tensorrt:0", "onnxruntime-gpu"),
    ("gpu", "does not see device GPU.0"),
]


@pytest.mark.parametrize(("device", "message"), DEVICES)
def test_a_device_that_is_not_there_is_never_replaced(
    tmp_path: Path, device: str, message: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert message in refused("detect", "photo.jpg", "--model", BUNDLED, "--device", device)


def test_nor_by_a_service() -> None:
    device, message = DEVICES[1]
    done = sightline("serve", "--port", "0", "--model", BUNDLED, "--device", device)
    assert message in fails(done)


def test_version_and_help() -> None:
    assert sightline("--version", cold=True).stdout.startswith("sightline 0.")
    told = sightline("serve", "--help", COLUMNS="200").stdout
    for flag in (
        "--host",
        "--port",
        "--model",
        "--engine",
        "--device",
        "--confidence",
        "--data-dir",
        "--workers",
    ):
        assert flag in told


def test_a_host_that_is_not_ours() -> None:
    done = sightline("serve", "--host", "203.0.113.7", "--model", BUNDLED)
    assert "cannot listen on 203.0.113.7" in fails(done)


def test_a_key_from_the_command_opens_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    told = sightline("key", "alice").stdout
    key = told.splitlines()[0]
    name, _, value = next(line for line in told.split() if "SIGHTLINE_API_KEYS=" in line).partition(
        "="
    )
    monkeypatch.setenv(name, value)
    with serve(["--engine", "fake"]) as running:
        assert httpx.get(f"{running.url}/health").status_code == 401
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{running.url}/health", headers=headers).status_code == 200
        _, said = running.stop()
    assert '"key": "alice"' in said
    assert key not in said
    assert "a key's name" in refused("key", "two words")
