"""Models from the network: a real server that cuts, stalls, lies and changes its mind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import onnx
import pytest

from sightline import ConfigError, ModelError
from sightline.errors import ModelUnreachable
from sightline.models import resolve as resolving
from sightline.models.catalogue import CATALOGUE, DEFAULT
from sightline.models.pull import pull
from sightline.models.resolve import resolve
from sightline.models.sources import locate
from sightline.net.download import DownloadTimeouts
from sightline.settings import load_settings
from sightline.wiring.models import open_detector
from support import graphs
from support.file_server import Fault, FileServer, network, open_file_server
from support.hosts import nobody

LONG = DownloadTimeouts(first_byte=20, idle=20)


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with open_file_server() as file_server:
        yield file_server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return network(tmp_path)


def fetch(address: str, cache: Path, timeouts: DownloadTimeouts = LONG) -> Path:
    return pull(address, cache, timeouts=timeouts, sleep=lambda _: None)


def fails(address: str, cache: Path, timeouts: DownloadTimeouts = LONG) -> str:
    with pytest.raises(ModelError) as caught:
        fetch(address, cache, timeouts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def models_in(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.onnx"))


def partials_in(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.part"))


@pytest.fixture
def refused_port() -> Iterator[int]:
    with nobody() as port:
        yield port


def test_a_model_is_fetched_recorded_and_not_fetched_twice(
    file_server: FileServer, cache: Path, data: bytes
) -> None:
    address = file_server.put("/m/best.onnx", data)
    told: list[tuple[int, int | None]] = []
    path = pull(address, cache, lambda done, total: told.append((done, total)))
    assert path.name == "best.onnx"
    assert path.read_bytes() == data
    assert told[-1] == (len(data), len(data))
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sha256"] == sha256(data).hexdigest()
    assert (record["address"], record["size"]) == (address, len(data))
    assert not partials_in(cache)
    assert fetch(address, cache) == path
    assert [asked.status for asked in file_server.asked] == [200, 304]


def test_cut_off_half_way_it_goes_on_from_there(
    file_server: FileServer, cache: Path, data: bytes
) -> None:
    address = file_server.put("/best.onnx", data)
    file_server.faults = ["cut", "cut"]
    path = fetch(address, cache)
    assert sha256(path.read_bytes()).digest() == sha256(data).digest()
    half = len(data) // 2
    assert file_server.asked[1].headers["range"] == f"bytes={half}-"
    assert file_server.asked[1].headers["if-range"] == f'"{sha256(data).hexdigest()[:16]}"'
    assert [asked.status for asked in file_server.asked] == [200, 206, 206]
    assert sum(asked.sent for asked in file_server.asked) == len(data)


def test_the_next_pull_goes_on_where_the_last_gave_up(
    file_server: FileServer, cache: Path, data: bytes
) -> None:
    address = file_server.put("/best.onnx", data)
    file_server.faults = ["cut"] * 4
    line = fails(address, cache)
    assert "was cut off" in line
    assert "the same command goes on with them" in line
    assert not models_in(cache)
    (left,) = partials_in(cache)
    there = left.stat().st_size
    assert fetch(address, cache).read_bytes() == data
    assert file_server.asked[-1].headers["range"] == f"bytes={there}-"


def test_what_changed_between_two_attempts_is_fetched_anew(
    file_server: FileServer, cache: Path, data: bytes, tmp_path: Path
) -> None:
    address = file_server.put("/best.onnx", data)
    file_server.faults = ["cut"] * 4
    fails(address, cache)
    changed = network(tmp_path, seed=1)
    file_server.put("/best.onnx", changed)
    assert fetch(address, cache).read_bytes() == changed


def test_without_an_etag_it_starts_anew(file_server: FileServer, cache: Path, data: bytes) -> None:
    address = file_server.put("/best.onnx", data)
    file_server.etags = False
    file_server.faults = ["cut"]
    assert fetch(address, cache).read_bytes() == data
    assert "range" not in file_server.asked[-1].headers


def test_without_an_etag_nothing_is_left_of_a_failure(
    file_server: FileServer, cache: Path, data: bytes
) -> None:
    file_server.etags = False
    file_server.faults = ["stall"]
    address = file_server.put("/best.onnx", data)
    assert fails(address, cache, DownloadTimeouts(20, 1)).endswith("; try again")
    assert not partials_in(cache)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (["long"] * 3, r"was cut off .*received \d+ bytes, expected \d+"),
        (["unmeasured"], "does not say how long it is"),
        (["cut", "misplaced"], "was asked for the rest"),
    ],
)
def test_a_wrong_length_is_refused(
    file_server: FileServer, cache: Path, data: bytes, faults: list[Fault], message: str
) -> None:
    address = file_server.put("/best.onnx", data)
    file_server.faults = faults
    assert re.search(message, fails(address, cache))
    assert not models_in(cache)


def test_too_large_is_refused_before_it_is_fetched(
    file_server: FileServer, cache: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.net.download.MAX_BYTES", len(data) - 1)
    assert "is larger than" in fails(file_server.put("/best.onnx", data), cache)
    assert not partials_in(cache)


def test_changed_content_is_refused_and_the_old_file_stays(
    file_server: FileServer, cache: Path, data: bytes, tmp_path: Path
) -> None:
    address = file_server.put("/best.onnx", data)
    path = fetch(address, cache)
    file_server.put("/best.onnx", network(tmp_path, seed=1))
    line = fails(address, cache)
    assert "has changed since it was first pulled" in line
    assert str(path.with_suffix(".json")) in line
    assert path.read_bytes() == data
    assert not partials_in(cache)
    path.unlink()  # the record still knows what it was
    assert "has changed since" in fails(address, cache)
    path.with_suffix(".json").unlink()
    assert fetch(address, cache).read_bytes() == file_server.files["/best.onnx"]


def test_a_damaged_copy_is_refused(file_server: FileServer, cache: Path, data: bytes) -> None:
    address = file_server.put("/best.onnx", data)
    path = fetch(address, cache)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    line = fails(address, cache)
    assert f"{path} is damaged" in line
    assert f"sightline pull {address}" in line
    with pytest.raises(ModelError, match="is damaged"):
        resolve(address, cache)


@pytest.mark.parametrize("junk", ["{", '{"sha256": 1}'])
def test_an_unreadable_record_is_refused(
    file_server: FileServer, cache: Path, data: bytes, junk: str
) -> None:
    address = file_server.put("/best.onnx", data)
    fetch(address, cache).with_suffix(".json").write_text(junk)
    assert "remove it and pull again" in fails(address, cache)


def test_404_is_one_clear_line(file_server: FileServer, cache: Path) -> None:
    line = fails(f"{file_server.url}/none.onnx", cache)
    assert f"{file_server.url}/none.onnx answers 404" in line
    assert not models_in(cache)
    assert not partials_in(cache)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "is not public"), (403, "is not public"), (410, "no such file"), (503, "try again")],
)
def test_other_refusals_say_what_to_do(
    file_server: FileServer, cache: Path, data: bytes, status: int, message: str
) -> None:
    file_server.status = status
    line = fails(file_server.put("/best.onnx", data), cache)
    assert f"answers {status}" in line
    assert message in line


def test_what_is_compressed_unasked_is_refused(
    file_server: FileServer, cache: Path, data: bytes
) -> None:
    file_server.encoding = "gzip"
    assert "is sent as gzip" in fails(file_server.put("/best.onnx", data), cache)


@pytest.mark.parametrize(
    ("fault", "timeouts", "message"),
    [
        ("stall", DownloadTimeouts(20, 1), "sent nothing for 1 s"),
        ("deaf", DownloadTimeouts(0.5, 20), "nothing came within 0.5 s"),
    ],
)
def test_a_server_that_stalls_is_given_up(
    file_server: FileServer,
    cache: Path,
    data: bytes,
    fault: Fault,
    timeouts: DownloadTimeouts,
    message: str,
) -> None:
    address = file_server.put("/best.onnx", data)
    file_server.faults = [fault]
    assert message in fails(address, cache, timeouts)
    assert not models_in(cache)
    assert fetch(address, cache).read_bytes() == data
    assert ("range" in file_server.asked[-1].headers) == (fault == "stall")


def test_offline_is_one_clear_line_and_the_copy_is_good(
    refused_port: int, cache: Path, data: bytes
) -> None:
    address = f"http://127.0.0.1:{refused_port}/best.onnx"
    line = fails(address, cache)
    assert f"{address} cannot be reached" in line
    assert "--model path/to/model.onnx" in line
    source = locate(address, cache)
    source.path.parent.mkdir(exist_ok=True)
    source.path.write_bytes(data)  # copied there by hand
    assert fetch(address, cache) == source.path
    assert resolve(address, cache).path == source.path


def test_what_is_no_model_is_not_kept(file_server: FileServer, cache: Path, tmp_path: Path) -> None:
    assert "not a readable ONNX file" in fails(file_server.put("/junk.onnx", b"\x08junk"), cache)
    assert "has no outputs" in fails(file_server.put("/empty.onnx", b"\x08\x08"), cache)
    split = onnx.load_from_string(network(tmp_path))
    onnx.save(split, tmp_path / "split.onnx", save_as_external_data=True, size_threshold=0)
    address = file_server.put("/split.onnx", (tmp_path / "split.onnx").read_bytes())
    assert "in a second file" in fails(address, cache)
    file_server.content_type = "text/html; charset=utf-8"
    assert "is a web page" in fails(file_server.put("/login.onnx", b"<html>"), cache)
    assert not models_in(cache)
    assert not partials_in(cache)


def test_a_hub_address_and_its_mirror(
    file_server: FileServer, cache: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", file_server.url + "/")
    file_server.put("/owner/repo/resolve/main/onnx/model.onnx", data)
    path = fetch("hf://owner/repo/onnx/model.onnx", cache)
    assert path.name == "repo.onnx"
    monkeypatch.delenv("HF_ENDPOINT")
    source = locate("hf://owner/repo/onnx/model.onnx", cache)
    assert source.address == "https://huggingface.co/owner/repo/resolve/main/onnx/model.onnx"


def test_credentials_are_sent_but_neither_kept_nor_told(
    file_server: FileServer, cache: Path, data: bytes
) -> None:
    address = (
        file_server.put("/best.onnx", data).replace("http://", "http://me:hush@") + "?key=hush"
    )
    path = fetch(address, cache)
    assert file_server.asked[0].headers["authorization"].startswith("Basic ")
    assert not any("hush" in file.read_text("latin-1") for file in path.parent.iterdir())
    del file_server.files["/best.onnx"]
    assert "hush" not in fails(address, cache)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("https://host/best.pt", "yolo export model=best.pt format=onnx"),
        ("best.pt", "yolo export model=best.pt format=onnx"),
        ("https://host/best.xml", "names no .onnx file"),
        ("https://host/", "names no .onnx file"),
        ("https://host:port/best.onnx", "is no address"),
        ("hf://owner/repo", "hf://owner/repository/path/to/file.onnx"),
        ("yolox_tny", "did you mean yolox-tiny"),
        ("quite-another", "`sightline models` lists"),
        ("yolov8n", "AGPL-3.0.*pip install ultralytics && yolo export model=yolov8n.pt"),
    ],
)
def test_what_cannot_be_fetched_says_what_to_do(cache: Path, model: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pull(model, cache)
    assert not cache.exists()


def test_names_of_files_stay_inside_the_cache(cache: Path) -> None:
    path = locate("https://host/a/..%2F..%2Fb c.onnx", cache).path
    assert path.parent.parent == cache
    assert path.name == "b_c.onnx"
    other = locate("https://host/other/b c.onnx", cache).path
    assert path != other


def test_every_catalogue_entry_is_consistent() -> None:
    for name, entry in CATALOGUE.items():
        assert name == entry.name == name.lower()
        if entry.address is None:
            assert entry.licence == "AGPL-3.0"
        else:
            assert entry.licence == "Apache-2.0"
            assert locate(name, Path("x")).address.startswith("https://")


# --- at start -------------------------------------------------------------------------------


def offer(
    file_server: FileServer, monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    monkeypatch.setitem(CATALOGUE, name, replace(CATALOGUE[name], address=address))


def test_a_name_is_pulled_once_with_what_its_file_does_not_say(
    file_server: FileServer, cache: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(file_server, monkeypatch, "rfdetr-nano", file_server.put("/model.onnx", data))
    for _ in range(2):
        assert resolve("rfdetr-nano", cache).path == cache / "rfdetr-nano.onnx"
    assert len(file_server.asked) == 1
    assert "input_size = [384, 384]" in (cache / "rfdetr-nano.toml").read_text()


def test_paths_are_paths(cache: Path, tmp_path: Path) -> None:
    for path in ("best.onnx", "folder/best", "~/best.onnx", "best.pt"):
        assert resolve(path, cache).path == Path(path).expanduser()
    (tmp_path / "folder-here").mkdir()
    assert resolve("folder-here", cache).path == Path("folder-here")


def test_unnamed_takes_the_default_if_it_can_be_had(
    file_server: FileServer, cache: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(file_server, monkeypatch, DEFAULT, file_server.put("/model.onnx", data))
    assert resolve(None, cache) == resolving.Resolved(cache / f"{DEFAULT}.onnx")
    file_server.files.clear()
    assert resolve(None, cache) == resolving.Resolved(cache / f"{DEFAULT}.onnx")


def test_unnamed_falls_back_to_the_demo_model_loudly(
    file_server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(file_server, monkeypatch, DEFAULT, f"{file_server.url}/none.onnx")
    monkeypatch.setattr(resolving, "BUNDLED", tmp_path / "demo.onnx")
    with pytest.raises(ConfigError, match=r"no model is named.*answers 404"):
        resolve(None, cache)
    graphs.seeing_network(tmp_path / "demo.onnx")
    model = onnx.load(tmp_path / "demo.onnx")
    onnx.helper.set_model_props(model, graphs.names("duck", "ball"))
    onnx.save(model, tmp_path / "demo.onnx")
    found = resolve(None, cache)
    assert found.path == tmp_path / "demo.onnx"
    for word in ("DEMO MODEL", "duck, ball", "answers 404", f"sightline pull {DEFAULT}"):
        assert word in found.notice


def test_whoever_starts_it_in_python_finds_the_notice_in_the_log(
    file_server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    offer(file_server, monkeypatch, DEFAULT, f"{file_server.url}/none.onnx")
    demo = graphs.seeing_network(tmp_path / "demo.onnx", image=("batch", 3, 64, 64))
    demo.with_suffix(".toml").write_text('labels = ["duck", "ball"]\n')
    monkeypatch.setattr(resolving, "BUNDLED", demo)
    with open_detector(load_settings()) as detector:
        assert detector.spec.name == "demo"
    assert "DEMO MODEL" in caplog.text


def test_named_is_never_replaced(
    refused_port: int, file_server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(file_server, monkeypatch, DEFAULT, f"http://127.0.0.1:{refused_port}/m.onnx")
    with pytest.raises(ModelUnreachable, match="cannot be reached"):
        resolve(DEFAULT, cache)


# --- other processes ------------------------------------------------------------------------


def start_pull(address: str, data_dir: Path, before: str = "") -> subprocess.Popen[str]:
    code = (
        f"{before}; import sys; sys.argv[0] = 'sightline'; from sightline.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, "pull", address, "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def one_error(process: subprocess.Popen[str]) -> str:
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2, told
    assert "Traceback" not in told
    (line,) = [line for line in told.splitlines() if not line.startswith("pulling: ")]
    return line


def test_two_processes_at_once_fetch_once(
    file_server: FileServer, tmp_path: Path, data: bytes
) -> None:
    address = file_server.put("/best.onnx", data)
    both = [start_pull(address, tmp_path / "data", "pass") for _ in range(2)]
    told = {process.communicate(timeout=120)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    (path,) = told
    assert Path(path.strip()).read_bytes() == data
    assert file_server.full_downloads() == 1


def test_a_process_that_dies_leaves_its_part_to_the_next(
    file_server: FileServer, tmp_path: Path, data: bytes
) -> None:
    address = file_server.put("/best.onnx", data)
    file_server.faults = ["stall"]
    first = start_pull(address, tmp_path / "data", "pass")
    assert first.stderr is not None
    assert first.stderr.readline().startswith("pulling: ")
    first.kill()
    first.communicate()
    assert fetch(address, tmp_path / "data" / "models").read_bytes() == data


def test_interrupted_it_ends_quietly_and_goes_on_the_next_time(
    file_server: FileServer, tmp_path: Path, data: bytes
) -> None:
    address = file_server.put("/best.onnx", data)
    file_server.faults = ["stall"]
    # What starts the tests may have switched interrupts off.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    first = start_pull(address, tmp_path / "data", heed)
    assert first.stderr is not None
    assert first.stderr.readline().startswith("pulling: ")
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=120)
    assert first.returncode != 0
    assert "Traceback" not in told
    assert fetch(address, tmp_path / "data" / "models").read_bytes() == data
    assert "range" in file_server.asked[-1].headers


def test_no_room_by_quota_leaves_nothing(
    file_server: FileServer, tmp_path: Path, data: bytes
) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    address = file_server.put("/best.onnx", data)
    line = one_error(start_pull(address, tmp_path / "data", limit))
    assert "File too large" in line
    assert "--data-dir" in line
    assert not models_in(tmp_path / "data")
    assert not partials_in(tmp_path / "data")


def test_no_space_left_leaves_nothing(file_server: FileServer, tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        line = one_error(start_pull(file_server.put("/best.onnx", data), folder, "pass"))
        assert "No space left on device" in line
        assert not models_in(folder)
        assert not partials_in(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_is_a_file_is_one_clear_line(
    file_server: FileServer, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "data").write_text("")
    line = one_error(start_pull(file_server.put("/best.onnx", data), tmp_path / "data", "pass"))
    assert "cannot be kept in" in line
