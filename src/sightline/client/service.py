"""HTTP requests of the client: addresses, keys, retries."""

from __future__ import annotations

import ipaddress
import logging
import math
import os
import random
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx

import sightline
from sightline.client.answers import problem_in, shown
from sightline.client.errors import (
    ClientError,
    Problem,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
)
from sightline.client.options import is_printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sightline.client.transport import Transport
    from sightline.client.upload import FormUpload

_log = logging.getLogger("sightline.client")

_HERE = "http://127.0.0.1:8000"

_RETRIED = {
    HTTPStatus.REQUEST_TIMEOUT,  # this machine slept, or lost its network
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
}
_GATEWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}  # of a proxy, if no Problem
_CLIENT_MISTAKES = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)  # seconds between attempts; the last one repeats
_LOGGED_FROM = 3  # attempts: an outage of less than half a second is not logged
_JITTER = 0.25  # of Retry-After, added so that clients refused together do not return together


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the service.

    Attributes:
        method: HTTP method.
        path: below the service's address.
        params: of the query; those that are None are left out.
        headers: in addition to those of all requests.
        upload: the body, if it is a form.
        json: the body, if it is JSON.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    upload: FormUpload | None = None
    json: object = None


class HttpService:
    """Sends requests to the service at one address, and retries them.

    Attributes:
        io: the transport.
        patience: seconds for which a request is retried.
        shown: the address, without anything secret in it.
    """

    def __init__(
        self, io: Transport, address: str, api_key: str | None, timeout: float, patience: float
    ) -> None:
        """Raises ValueError if the key is not printable ASCII."""
        self.io = io
        self.patience = patience
        self._address = address
        self.shown = shown(httpx.URL(address))
        self._timeout = timeout
        self._logged = False
        self._headers = {
            "Accept": "application/json",
            "User-Agent": f"sightline-python/{sightline.__version__}",
        }
        if key := _key_of(api_key):
            self._headers["Authorization"] = f"Bearer {key}"

    async def send(self, wanted: Request, until: float = math.inf) -> httpx.Response:
        """Send a request; returns the response, a success or a 304.

        While the service cannot be reached or answers with a temporary problem, the request is
        retried, for `patience` seconds and not beyond `until` on `time.monotonic`.

        Raises:
            Problem: the service answered with a problem.
            Unreachable: nothing answers.
            UnexpectedAnswer: something else answers.
            TimedOut: `until` comes before `patience` ends.
        """
        retry_until = math.inf
        for attempt in count():
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)] * random.uniform(0.5, 1)  # noqa: S311
            failure: ClientError
            try:
                answer = await self.io.send(self._request(wanted, until))
            except httpx.RequestError as error:
                failure = self._unreachable(error)
                if _is_final(error):
                    raise failure  # noqa: B904  its cause is set
            else:
                if answer.is_success or answer.status_code == HTTPStatus.NOT_MODIFIED:
                    self._logged = False
                    return answer
                failure = _refusal(answer, wanted.path)
                if not _is_temporary(answer.status_code, failure):
                    raise failure
                if (after := _retry_after(answer)) is not None:
                    pause = max(after * random.uniform(1, 1 + _JITTER), _PAUSES[0])  # noqa: S311
            now = time.monotonic()
            retry_until = min(retry_until, now + self.patience)
            if now + pause > retry_until:
                raise failure
            if now + pause > until:
                raise TimedOut(str(failure)) from failure
            self._log_outage(failure, attempt, retry_until - now)
            await self.io.sleep(pause)
        raise AssertionError("count() has no end")

    def _request(self, wanted: Request, until: float) -> httpx.Request:
        held = float(wanted.params.get("wait", 0))  # seconds that the service may hold the answer
        left = max(0.0, until - time.monotonic()) + 1
        timeout = httpx.Timeout(
            min(self._timeout, left), read=min(self._timeout + held, left), pool=None
        )
        upload = wanted.upload
        request = httpx.Request(
            wanted.method,
            self._address + wanted.path,
            params={name: one for name, one in wanted.params.items() if one is not None},
            headers={**self._headers, **wanted.headers, **(upload.headers if upload else {})},
            json=wanted.json,
            stream=upload,
            extensions={"timeout": timeout.as_dict()},
        )
        request.headers.setdefault("Host", request.url.netloc.decode("ascii"))  # not with a stream
        return request

    def _log_outage(self, failure: ClientError, attempt: int, left: float) -> None:
        """Log once per outage that the service cannot be reached."""
        if attempt >= _LOGGED_FROM and not self._logged and not isinstance(failure, Problem):
            self._logged = True
            _log.warning("%s It is asked again for %.0f s more.", failure, left)

    def _unreachable(self, error: httpx.RequestError) -> Unreachable:
        why = str(error) or type(error).__name__
        if _is_of_tls(error):
            what = f"What answers at {self.shown} does not prove to be it ({why}). Is that"
        else:
            what = f"Nothing answers at {self.shown} ({why}). Is the service up, and is this"
        failure = Unreachable(f"{what} its address? base_url= or SIGHTLINE_URL names another.")
        failure.__cause__ = error
        return failure


def address_of(base_url: str | None) -> tuple[str, bool]:
    """The service's address without a trailing slash, and whether it is on this machine.

    Args:
        base_url: the address; if None, SIGHTLINE_URL, else http://127.0.0.1:8000.

    Raises:
        ValueError: it is not an http(s) address.
    """
    text = base_url or os.environ.get("SIGHTLINE_URL") or _HERE
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"'{text}' is no address of a service: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"'{text}' is no address of a service: write http://host:port")
    return text.rstrip("/"), _is_here(url.host)


def _key_of(api_key: str | None) -> str:
    """The API key, empty if there is none; stripped, because files of keys end in a newline.

    Raises:
        ValueError: it is not printable ASCII. The message does not contain it: it may be logged.
    """
    given = api_key or os.environ.get("SIGHTLINE_API_KEY") or os.environ.get("SIGHTLINE_KEY") or ""
    key = given.strip()
    if not is_printable(key):
        raise ValueError("The API key has characters that are not printable ASCII.")
    return key


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_final(error: httpx.RequestError) -> bool:
    """Whether a retry is pointless: a wrong address, or a wrong certificate."""
    return isinstance(error, _CLIENT_MISTAKES) or _is_of_tls(error)


def _is_of_tls(error: BaseException | None) -> bool:
    """Whether the certificate is invalid, or the server does not speak TLS."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return isinstance(error, ssl.SSLCertVerificationError) or (
        isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER"
    )


def _refusal(answer: httpx.Response, path: str) -> ClientError:
    """The error for a failed response to a request for `path`.

    Redirects are not followed: the key may only be sent to the address that it was given for.
    """
    if answer.has_redirect_location:
        with suppress(httpx.InvalidURL):
            there = shown(answer.url.join(answer.headers["location"])).removesuffix(path)
            return UnexpectedAnswer(
                f"{shown(answer.url)} answered {answer.status_code}, and sends on to {there}. If "
                "the service is there, say so: base_url= or SIGHTLINE_URL."
            )
    return problem_in(answer)


def _is_temporary(status: int, failure: ClientError) -> bool:
    """Whether a retry may succeed. A gateway's own answer is an UnexpectedAnswer."""
    return status in _RETRIED or (status in _GATEWAY and isinstance(failure, UnexpectedAnswer))


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds of Retry-After, which may be a date too (RFC 9110, 10.2.3); None without one."""
    text = answer.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # asctime's form, or -0000: HTTP dates are UTC (RFC 9110, 5.6.7)
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
