"""HTTP client of a running service, for commands: errors are one line that says what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import typer

from sightline.backoff import Backoff
from sightline.errors import SightlineError

Answer: TypeAlias = tuple[dict[str, Any], dict[str, str]]
"""A response: JSON, and headers with names in lower case."""

_TIMEOUT = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts, without Retry-After
_TEMPORARY = frozenset({429, 502, 503, 504})


class Unavailable(SightlineError):
    """The service does not answer, or answers with a temporary problem.

    Attributes:
        answered: whether it answered.
        retry_after: seconds of Retry-After; None without it.
    """

    def __init__(self, message: str, *, answered: bool, retry_after: float | None = None) -> None:
        self.answered = answered
        self.retry_after = retry_after
        super().__init__(message)


def retry_until(request: Callable[[], Answer], seconds: float, *, known: bool) -> Answer:
    """The answer to `request`, retried for up to `seconds` while the service is unavailable.

    Where nothing answers, it is retried only if the address is `known` to be right.
    """
    backoff, end = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE), None
    while True:
        try:
            return request()
        except Unavailable as error:
            now = time.monotonic()
            if end is None:
                end = now + seconds
                typer.echo(f"waiting: {error}", err=True)
            if now >= end or not (known or error.answered):
                raise
            pause = backoff.fail()
            time.sleep(min(error.retry_after or pause, end - now))


class ServiceClient:
    """HTTP client of a service; call it with method and path."""

    def __init__(self, url: str, key: str | None) -> None:
        import httpx

        if not url.startswith(("http://", "https://")):
            raise SightlineError(f"'{url}' is no address of a service: write http://host:port")
        self._url = url.rstrip("/")
        headers = {"Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        # Proxies of the environment are for the internet; a service is mostly on the local network.
        self.client = httpx.Client(
            headers=headers,
            timeout=_TIMEOUT,
            trust_env=False,
            verify=httpx.create_ssl_context(),
        )

    def __call__(
        self, method: str, path: str, headers: dict[str, str] | None = None, **query: str
    ) -> Answer:
        """The response's JSON ({} without a body, and for 304) and its headers.

        Raises:
            SightlineError: there is no answer, or it is a problem; Unavailable if temporary.
        """
        import httpx

        try:
            answer = self.client.request(
                method, f"{self._url}{path}", headers=headers, params=query or None
            )
        except httpx.TimeoutException:
            message = f"{self._url} did not answer within {_TIMEOUT:g} s"
            raise Unavailable(message, answered=False) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = (
                f"nothing answers at {self._url} ({error}). Is the service up, and is this its "
                "port? --url names another"
            )
            raise Unavailable(message, answered=False) from None
        try:
            body = answer.json() if answer.content else {}
        except ValueError:
            body = None
        if not isinstance(body, dict) or not (answer.is_success or answer.status_code == 304):
            message = self._message(answer.status_code, body)
            if answer.status_code in _TEMPORARY:
                retry_after = answer.headers.get("retry-after", "")
                seconds = float(retry_after) if retry_after.isdecimal() else None
                raise Unavailable(message, answered=True, retry_after=seconds)
            raise SightlineError(message)
        return body, dict(answer.headers)

    def _message(self, status: int, body: object) -> str:
        if not isinstance(body, dict) or "detail" not in body:
            return f"{self._url} answered {status}, and not as Sightline does. Is it this service?"
        if status == 401:
            return f"{body['detail']} Give one with --key or SIGHTLINE_KEY."
        return str(body["detail"])


@contextmanager
def open_service(url: str, key: str | None) -> Iterator[ServiceClient]:
    service = ServiceClient(url, key)
    with service.client:
        yield service
