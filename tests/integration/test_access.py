"""Who is let in, and what every answer carries."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from limits.storage import memory
from PIL import Image

from sightline.api.assets import PAGE
from sightline.api.middleware.access import OPEN_PATHS
from sightline.api.middleware.keys import ADMIN, Keys, new_key
from sightline.backend import limits
from sightline.errors import ConfigError
from sightline.settings import load_settings
from support import pictures
from support.eventually import eventually
from support.problems import problem
from support.servers import Live, live

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")
ALICE, ALICE_ENTRY = new_key("alice")
BOB = "bobs-own-secret"
BOSS = "the-admin-key"


@pytest.fixture(scope="module")
def locked() -> Iterator[Live]:
    with live(api_keys=f"{ALICE_ENTRY}, bob:{BOB}, nameless", admin_key=BOSS) as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live() as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def every_route(server: Live) -> list[tuple[str, str]]:
    """Method and path of whatever the application answers, mounts and hidden pages included."""
    found = []
    for context in iter_route_contexts(server.app.routes):
        assert context.path
        path = context.path.replace("{name}", "x").replace("{task_id}", "x").replace("{index}", "0")
        assert "{" not in path, "a new parameter: give it a value here"
        found += [(method, path) for method in sorted(context.methods or {"GET"})]
    return found


# Keys


def test_every_route_wants_a_key(locked: Live) -> None:
    routes = every_route(locked)
    assert {
        "/detect",
        "/predict",
        "/result/x",
        "/tasks",
        "/models/x",
        "/docs",
        "/openapi.json",
        "/health",
        "/docs/assets",
    } <= {path for _, path in routes}
    routes += [("GET", "/nothing-here"), ("GET", "/docs/assets/swagger-ui.css")]
    routes += [("GET", "/health/live/"), ("GET", "//health/live"), ("OPTIONS", "/detect")]
    open_paths = []
    with httpx.Client(base_url=locked.url) as client:
        for method, path in routes:
            answer = client.request(method, path)
            if answer.status_code == 401:
                if method != "HEAD":
                    problem(answer, 401, "key-wrong")
            else:
                open_paths.append(path)
    assert (
        set(open_paths) == set(OPEN_PATHS) == {"/health/live", *PAGE}
    )  # the page asks for it itself


@pytest.mark.parametrize(
    "key", [ALICE, BOB, "nameless", BOSS], ids=["hashed", "plain", "nameless", "admin"]
)
def test_a_key_opens(locked: Live, key: str) -> None:
    basic = base64.b64encode(f"anybody:{key}".encode()).decode()
    for headers in (bearer(key), {"X-API-Key": key}, {"Authorization": f"Basic {basic}"}):
        answer = httpx.post(f"{locked.url}/detect", files={"file": GOOD}, headers=headers)
        assert answer.json()["count"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        bearer("wrong"),
        bearer(ALICE[:-1]),
        bearer(ALICE_ENTRY),
        bearer(ALICE_ENTRY.partition(":")[2]),
        {"Authorization": BOB},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic !!!"},
        {"Authorization": f"Basic {BOB}"},
        {"X-API-Key": f"bob:{BOB}"},
        {"X-API-Key": "bob"},
    ],
)
def test_another_key_does_not(locked: Live, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{locked.url}/detect", files={"file": GOOD}, headers=headers)
    problem(answer, 401, "key-wrong")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_refused_upload_is_not_read(locked: Live) -> None:
    """The answer is there before the body is, and the rest of it is not waited for."""
    import socket

    with socket.create_connection(("127.0.0.1", locked.port), timeout=60) as connection:
        connection.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_only_the_admin_changes_models(locked: Live) -> None:
    url = f"{locked.url}/models/x"
    problem(httpx.delete(url, headers=bearer(ALICE)), 403, "not-allowed")
    problem(httpx.delete(url, headers=bearer(BOSS)), 422, "bad-option")


def test_every_key_is_compared_whatever_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a right nor a wrong key, nor which right one, costs a comparison more or less."""
    import hmac

    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = Keys(load_settings(api_keys=f"{ALICE_ENTRY},bob:{BOB}", admin_key=BOSS))
    costs = set()
    for given in (ALICE, BOB, BOSS, "wrong", ""):
        compared.clear()
        keys.caller([(b"x-api-key", given.encode())])
        costs.add(len(compared))
    assert costs == {3}


def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{ALICE_ENTRY}\n\n")
    with live(api_keys_file=file) as running:
        assert httpx.get(f"{running.url}/health").status_code == 401
        assert httpx.get(f"{running.url}/health", headers=bearer(ALICE)).status_code == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_keys": "a b:key"}, "name:key"),
        ({"api_keys": "a:"}, "name:key"),
        ({"api_keys": "a:one,a:two"}, "two API keys of the name 'a'"),
        ({"api_keys": f"{ADMIN}:one"}, ADMIN),
        ({"api_keys_file": "missing"}, "cannot be read"),
        ({"rate_limit": "often"}, "rate_limit"),
        ({"rate_limit": "0"}, "rate_limit"),
        ({"rate_limit": "-1/second"}, "rate_limit"),
    ],
)
def test_what_an_operator_can_get_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words), live(**options):
        pass


def test_a_key_lies_open_in_no_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("carol:in-the-open\n")
    with pytest.raises(ConfigError, match="sightline key"):
        Keys(load_settings(api_keys_file=tmp_path / "keys"))
    toml = tmp_path / "sightline.toml"
    for line in ('api_keys = "carol:in-the-open"', 'admin_key = "in-the-open"'):
        toml.write_text(line)
        with pytest.raises(ConfigError, match="sightline key"):
            load_settings()
    toml.write_text(f'api_keys = "{ALICE_ENTRY}"\nadmin_key = "{ALICE_ENTRY.partition(":")[2]}"')
    keys = Keys(load_settings())
    caller = keys.caller([(b"x-api-key", ALICE.encode())])
    assert caller is not None
    assert caller.admin


# Hosts and origins


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("[::1]:8000", True),
        ("app.localhost", True),
        ("sightline", True),  # as in a compose network: no name of the public DNS
        ("rebound.attacker.example", False),
        ("127.0.0.1.nip.io", False),
        ("localhost.attacker.example:8000", False),
    ],
)
def test_hosts_on_loopback(server: Live, host: str, allowed: bool) -> None:
    answer = httpx.get(f"{server.url}/health", headers={"Host": host})
    if allowed:
        assert answer.status_code == 200
    else:
        problem(answer, 400, "host-unknown")


def test_hosts_that_are_named() -> None:
    with live(allowed_hosts="vision.example.org, *.shop.example") as running:

        def status(host: str) -> int:
            return httpx.get(f"{running.url}/health", headers={"Host": host}).status_code

        assert status("vision.example.org") == status("Vision.Example.ORG:443") == 200
        assert status("a.shop.example") == status("a.b.shop.example") == 200
        assert status("shop.example") == status("example.org") == status("localhost") == 400


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("{url}", True),
        ("https://attacker.example", False),
        ("null", False),
        ("http://127.0.0.1:1", False),
        ("http://[", False),
        ("nonsense", False),
    ],
)
def test_pages_of_other_origins_change_nothing(
    server: Live, origin: str | None, allowed: bool
) -> None:
    headers = {"Origin": origin.replace("{url}", server.url)} if origin else {}
    answer = httpx.post(f"{server.url}/detect", files={"file": GOOD}, headers=headers)
    if allowed:
        assert answer.status_code == 200
    else:
        problem(answer, 403, "not-allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert httpx.get(f"{server.url}/health", headers=headers).status_code == 200


def test_origins_that_are_named() -> None:
    page = "https://app.example.org"
    with live(cors_origins=page, api_keys=f"bob:{BOB}") as running:
        url = f"{running.url}/detect"
        headers = {"Origin": page, "Access-Control-Request-Method": "POST"}
        headers["Access-Control-Request-Headers"] = "authorization,content-type,x-timeout-ms"
        answer = httpx.options(url, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page
        answer = httpx.post(url, files={"file": GOOD}, headers=bearer(BOB) | {"Origin": page})
        assert answer.headers["access-control-allow-origin"] == page
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        # A page can read why it was refused.
        answer = httpx.post(url, files={"file": GOOD}, headers={"Origin": page})
        problem(answer, 401, "key-wrong")
        assert answer.headers["access-control-allow-origin"] == page
        other = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}
        answer = httpx.options(url, headers=other)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


# Limits


def test_a_rate_and_a_retry_after_that_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    now, clock = [time.time()], Mock(wraps=time)
    clock.time = lambda: now[0]
    for module in (limits, memory):
        monkeypatch.setattr(module, "time", clock)
    with live(rate_limit="3/4 second", api_keys=f"alice:{ALICE},bob:{BOB}") as running:
        url = f"{running.url}/health"
        for _ in range(3):
            assert httpx.get(url, headers=bearer(ALICE)).status_code == 200
        refused = httpx.get(url, headers=bearer(ALICE))
        problem(refused, 429, "rate-limited")
        assert httpx.get(url, headers=bearer(BOB)).status_code == 200  # others have their own
        assert httpx.get(f"{running.url}/health/live").status_code == 200
        now[0] += int(refused.headers["retry-after"])
        assert httpx.get(url, headers=bearer(ALICE)).status_code == 200


def test_guessing_keys_is_limited() -> None:
    with live(rate_limit="5/minute", api_keys=f"bob:{BOB}") as running:
        url = f"{running.url}/health"
        codes = [httpx.get(url, headers=bearer(f"guess {i}")).status_code for i in range(8)]
        assert codes == [401] * 5 + [429] * 3
        assert httpx.get(url, headers=bearer(BOB)).status_code == 200


def test_so_many_at_once_and_a_retry_after_that_is_true() -> None:
    with live(max_concurrent=2, max_wait=2) as running:
        engine, go_on = running.detector._engine, threading.Event()
        infer = engine.infer

        def slow(images: Any, **how: Any) -> Any:
            assert go_on.wait(60)
            return infer(images, **how)

        engine.infer = slow  # type: ignore[method-assign]

        def detect(_: int = 0) -> httpx.Response:
            return httpx.post(f"{running.url}/detect", files={"file": GOOD}, timeout=60)

        with ThreadPoolExecutor(2) as pool:
            under_way = [pool.submit(detect) for _ in range(2)]
            limits: Any = running.context.backend._handlers.limits  # type: ignore[attr-defined]
            taken = limits._running
            eventually(lambda: taken.total() == 2, "both are under way")
            answer = httpx.get(f"{running.url}/models")
            problem(answer, 429, "too-many-at-once")
            assert int(answer.headers["retry-after"]) == 2, "the longest that is known of"
            go_on.set()
            assert [future.result().status_code for future in under_way] == [200, 200]
            assert detect().status_code == 200


def test_limits_by_address_behind_a_proxy() -> None:
    with live(rate_limit="1/minute", trusted_proxies="127.0.0.1") as running:
        url = f"{running.url}/health"

        def status(forwarded: str) -> int:
            return httpx.get(url, headers={"X-Forwarded-For": forwarded}).status_code

        assert status("203.0.113.1") == 200
        assert status("203.0.113.1") == 429
        assert status("203.0.113.2") == 200
        # What a client writes before its proxy does counts for nothing.
        assert status("198.51.100.9, 203.0.113.2") == 429
        # One home, many IPv6 addresses.
        assert status("2001:db8:1:2::a") == 200
        assert status("2001:db8:1:2::b") == 429
        assert status("2001:db8:1:3::a") == 200


def test_nobody_else_says_who_he_is() -> None:
    with live(rate_limit="1/minute") as running:
        headers = [{"X-Forwarded-For": f"203.0.113.{i}"} for i in range(2)]
        codes = [httpx.get(f"{running.url}/health", headers=h).status_code for h in headers]
        assert codes == [200, 429]


# What every answer carries


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("GET", "/nothing"), ("POST", "/detect")]
)
def test_security_headers(server: Live, method: str, path: str) -> None:
    headers = httpx.request(method, server.url + path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_docs_load_nothing_from_elsewhere(server: Live) -> None:
    page = httpx.get(f"{server.url}/docs")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self' 'sha256-" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert "https://" not in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/docs/assets/{asset}" in page.text
        assert httpx.get(f"{server.url}/docs/assets/{asset}").status_code == 200


def test_under_a_path_of_a_proxy() -> None:
    with live(root_path="/vision", api_keys=f"bob:{BOB}") as running:
        for prefix in ("", "/vision"):  # whether the proxy takes the prefix off or not
            page = httpx.get(f"{running.url}{prefix}/docs", headers=bearer(BOB))
            assert "'/vision/openapi.json'" in page.text
            assert "/vision/docs/assets/swagger-ui.css" in page.text
            url = f"{running.url}{prefix}/detect"
            answer = httpx.post(url, files={"file": GOOD}, headers=bearer(BOB))
            assert answer.json()["count"] == 1
            assert httpx.get(f"{running.url}{prefix}/health/live").status_code == 200


def lines_of(caplog: pytest.LogCaptureFixture, key: str) -> list[dict[str, Any]]:
    """Lines of other requests may still come."""
    lines = [vars(record) for record in caplog.records]
    return [line for line in lines if line.get("key") == key]


def test_a_request_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sightline.request"), live(api_keys=f"dora:{BOB}") as locked:
        headers = bearer(BOB) | {"X-Request-Id": "order-4711"}
        secret = "?classes=a-secret"
        answer = httpx.post(f"{locked.url}/detect{secret}", content=GOOD, headers=headers)
    assert answer.headers["x-request-id"] == "order-4711"
    eventually(lambda: lines_of(caplog, "dora"), "it is written when the answer is out")
    (line,) = lines_of(caplog, "dora")
    told = {name: line[name] for name in ("method", "path", "status", "key", "problem", "client")}
    assert told == {
        "method": "POST",
        "path": "/detect",
        "status": 422,
        "key": "dora",
        "problem": "bad-option",
        "client": "127.0.0.1",
    }
    assert line["bytes_in"] in {0, len(GOOD)}
    assert line["bytes_out"] == len(answer.content)
    assert line["ms"] > 0
    assert BOB not in str(line)
    assert "a-secret" not in str(line)


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "new%0aline<script>", "ö"])
def test_a_request_id_is_given_where_the_client_gives_none(server: Live, given: str) -> None:
    headers = {b"X-Request-Id": given.encode()}
    ids = {httpx.get(f"{server.url}/health", headers=headers).headers["x-request-id"] for _ in "ab"}
    assert len(ids) == 2
    assert all(len(id_) == 32 for id_ in ids)


def test_what_nobody_expected_is_told_to_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with live() as running:

        @running.app.get("/broken")
        def broken() -> None:
            raise RuntimeError("the database password is 1234")

        answer = httpx.get(f"{running.url}/broken")
        problem(answer, 500, "internal")
        assert "1234" not in answer.text
        eventually(lambda: any(r.exc_info for r in caplog.records), "it is logged")
        (record,) = (r for r in caplog.records if r.exc_info)
        assert record.exc_info is not None
        assert "1234" in str(record.exc_info[1])
