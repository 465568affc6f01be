"""Signatures, secrets, and which addresses may be called."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from sightline.errors import CallbackRefused, ConfigError
from sightline.net.connect import Resolver
from sightline.net.guard import Guard, parse_allowed
from sightline.net.webhooks import check_callback, open_secret, read_secret, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_reference_vector() -> None:
    """The one that the libraries of Standard Webhooks are tested with."""
    signature = sign(
        read_secret(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not-a-secret",
        SECRET.removeprefix("whsec_"),
        "whsec_c2hvcnQ=",
        "whsec_!" * 9,
        "whsec_" + "AAAA" * 22,
    ],
)
def test_what_is_no_secret_is_told_without_telling_it(text: str) -> None:
    with pytest.raises(ConfigError, match="webhook_secret") as caught:
        read_secret(text)
    assert not text or text not in str(caught.value)


def test_a_secret_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "webhook-secret"
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_secret(None, path))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert set(found) == {open_secret(None, path)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [left.name for left in path.parent.iterdir()] == ["webhook-secret"]
    assert path.read_text().startswith("whsec_")
    assert open_secret(SECRET, path) == read_secret(SECRET) != found[0]


def test_a_secret_in_memory_is_a_new_one_each_time() -> None:
    assert open_secret(None, None) != open_secret(None, None)


def test_a_damaged_secret_is_refused_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "webhook-secret"
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match="remove it"):
        open_secret(None, path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="SIGHTLINE_WEBHOOK_SECRET"):
        open_secret(None, tmp_path / "file" / "webhook-secret")


def names(*addresses: str) -> Resolver:
    return Resolver(lambda *_, **__: [(2, 1, 6, "", (address, 443)) for address in addresses])


def nobody(*_: object, **__: object) -> list[object]:
    raise OSError("no such host")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/hook",
        "http://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://10.0.0.8/hook",
        "https://hooks.example:8443/hook",
        "https://metadata.internal/hook",
    ],
)
def test_what_is_inside_is_refused_in_the_same_words(url: str) -> None:
    resolved = names("10.1.2.3" if "internal" in url else "93.184.216.34")
    with pytest.raises(CallbackRefused) as inside:
        check_callback(url, Guard(), resolved)
    with pytest.raises(CallbackRefused) as nowhere:
        check_callback("https://no.such.example/", Guard(), Resolver(nobody))
    assert str(inside.value) == str(nowhere.value)
    assert "SIGHTLINE_URL_ALLOW" in str(inside.value)
    assert "10.1.2.3" not in str(inside.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://hooks.example/", "http:// or https://"),
        ("hooks.example", "http:// or https://"),
        ("https://me:secret@hooks.example/", "user name"),
        ("https://0x7f.1/", "number"),
        ("https://hooks.example/a\nb", "cannot be seen"),
    ],
)
def test_an_address_of_another_form_is_refused_with_what_is_wrong(url: str, why: str) -> None:
    with pytest.raises(CallbackRefused, match=why) as caught:
        check_callback(url, Guard(), names("93.184.216.34"))
    assert str(caught.value).startswith("The callback_url cannot be used: ")


def test_one_address_inside_among_others_is_enough() -> None:
    with pytest.raises(CallbackRefused):
        check_callback("https://hooks.example/", Guard(), names("93.184.216.34", "127.0.0.1"))


def test_what_is_public_or_listed_may_be_called() -> None:
    check_callback("https://hooks.example/x?y", Guard(), names("93.184.216.34"), seconds=60)
    allowed = Guard(parse_allowed("127.0.0.1:9000,inside.lan"))
    check_callback("http://127.0.0.1:9000/hook", allowed, Resolver(nobody))
    check_callback("http://inside.lan:1234/", allowed, names("10.1.2.3"), seconds=60)


def test_a_name_server_that_never_answers_is_a_refusal_in_time() -> None:
    ended = threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        ended.wait(30)
        return []

    try:
        with pytest.raises(CallbackRefused):
            check_callback("https://hooks.example/", Guard(), Resolver(silent), seconds=0.05)
    finally:
        ended.set()
