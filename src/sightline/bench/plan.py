"""Parameters of a load test: target, pictures, concurrency, duration; and their parsers."""

from __future__ import annotations

import math
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from sightline.errors import ConfigError

MOST_BYTES = 2**30
"""Most bytes of all pictures, which are kept in memory so that the disk is not measured."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


@dataclass(frozen=True, slots=True)
class BenchImage:
    """A compressed picture and its file name."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a service, and the path to request."""

    host: str
    port: int
    tls: bool
    path: str
    authority: str

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"

    @property
    def health(self) -> str:
        """The path of `/health`, beside that of detection."""
        return f"{self.path.partition('?')[0].rpartition('/')[0]}/health"


@dataclass(frozen=True, slots=True)
class Plan:
    """Parameters of a load test.

    Attributes:
        target: the service.
        pictures: posted in turn; at least one.
        concurrency: number of clients, each with one keep-alive connection.
        duration: seconds in which requests start; None where `requests` ends the test.
        requests: most requests; None where `duration` ends the test.
        rate: requests per second, sent whether or not the service answers (open loop); None for a
            closed loop, in which a client sends its next request after an answer.
        warm_up: seconds of the same load before, not counted.
        timeout: seconds for one request, its connection included.
        silence_timeout: seconds without any answer after which a test whose requests fail is given
            up.
        key: sent as `Authorization: Bearer`.
        wait: heed Retry-After (in a closed loop).
        save: folder for annotated answers, the first of each picture; requests `image/jpeg`.
        batch: pictures per submitted task; None for `POST /detect`. `requests`, `rate` and
            `concurrency` then count tasks.
    """

    target: Target
    pictures: tuple[BenchImage, ...]
    concurrency: int = 8
    duration: float | None = 10.0
    requests: int | None = None
    rate: float | None = None
    warm_up: float = 1.0
    timeout: float = 30.0
    silence_timeout: float = 10.0
    key: str | None = None
    wait: bool = True
    save: Path | None = None
    batch: int | None = None

    def encode(self, picture: BenchImage) -> bytes:
        """The complete request that posts `picture` as multipart/form-data (RFC 7578)."""
        return self._post([("file", picture.name, picture.data)])

    def encode_task(self, files: list[tuple[str, bytes]]) -> bytes:
        """The complete request that submits `files` (name, bytes) as one task."""
        return self._post([("files", name, data) for name, data in files])

    def _post(self, files: list[tuple[str, str, bytes]]) -> bytes:
        boundary = secrets.token_hex(16)
        parts = []
        for field, name, data in files:
            shown = quote(name, safe=" ()+,;=@[]{}~!'#&")  # no quote, no line end, ASCII
            form = (
                f"--{boundary}\r\n"
                f'Content-Disposition: form-data; name="{field}"; filename="{shown}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            )
            parts += [form.encode(), data, b"\r\n"]
        body = b"".join((*parts, f"--{boundary}--\r\n".encode()))
        head = self.head("POST", self.target.path) + (
            f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def result_request(self, path: str) -> bytes:
        """The complete request for a task's result."""
        return f"{self.head('GET', path)}\r\n".encode()

    def health_request(self) -> bytes:
        """The complete request for `/health`."""
        return f"{self.head('GET', self.target.health)}\r\n".encode()

    def head(self, method: str, path: str) -> str:
        accept = "image/jpeg" if self.save and method == "POST" else "application/json"
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self.target.authority}\r\n"
            f"Accept: {accept}\r\nUser-Agent: sightline-bench\r\n{key}"
        )


def parse_duration(text: str) -> float:
    """Seconds of `10s`, `2m`, `500ms`, `1h`, `1m30s`, or of a bare number.

    Raises:
        ConfigError: it is not a duration.
    """
    try:
        seconds = float(text)
    except ValueError:
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            seconds = math.nan
        else:
            seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"'{text}' is no duration: write 10s, 2m, 500ms or 1m30s")
    return seconds


def parse_target(url: str, default: str = "/detect") -> Target:
    """Parse `url`; without a path, `default` is used.

    Raises:
        ConfigError: it is not an http:// or https:// address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"'{url}' is no address: {error}") from None
    host = parts.hostname
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable() or " " in url:
        raise ConfigError(f"'{url}' is no address of a service: write http://host:port")
    if parts.username is not None:
        raise ConfigError("a name or key in the address is not sent: give it with --key")
    tls = parts.scheme == "https"
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~") if parts.path.strip("/") else default
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~?[]')}" if parts.query else ""
    try:
        authority = parts.netloc.encode("idna").decode()
    except UnicodeError:
        raise ConfigError(f"'{host}' is no name of a host") from None
    return Target(host, port or (443 if tls else 80), tls, path + query, authority)


def check_key(key: str | None) -> str | None:
    """`key`, checked to be valid in a header; None for none.

    Raises:
        ConfigError: it has invalid characters.
    """
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError("the key has characters that no key has (a space, a line end?)")
    return key or None


def read_pictures(paths: list[Path]) -> tuple[BenchImage, ...]:
    """Read the files at `paths` into memory.

    Raises:
        ConfigError: one cannot be read, or together they are too large.
    """
    pictures = []
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
            if total > MOST_BYTES:
                raise ConfigError(
                    f"the pictures take more than {MOST_BYTES // 2**20} MB: name fewer"
                )
            pictures.append(BenchImage(path.name, path.read_bytes()))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    return tuple(pictures)
