"""Downloads a large file to disk: resumable, bounded, with errors that say what to do.

The bytes so far are in a `Partial`. It survives a cut connection, a stall, an interrupt and a
crash, and the next attempt resumes it. Any other failure removes it. It is also removed if the
server sent no strong ETag, since nothing can tell then whether the rest still fits.
"""

from __future__ import annotations

import queue
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import httpx

from sightline.errors import ModelError, ModelUnreachable
from sightline.threads import DOWNLOADS

if TYPE_CHECKING:
    from sightline.net.partial import Partial

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the number of bytes so far, and of the whole file (None: not known)."""

MAX_BYTES = 2 * 10**9
_PAUSES = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth attempt
_CONNECT_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class DownloadTimeouts:
    """Timeouts for a server.

    Attributes:
        first_byte: seconds to the first byte of the body, name look-up and redirects included.
        idle: seconds without a byte after that.
    """

    first_byte: float
    idle: float


class _Cut(Exception):
    """An interrupted download that can be resumed.

    Attributes:
        again: whether to retry at once.
    """

    def __init__(self, what: str, again: bool) -> None:
        self.again = again
        super().__init__(what)


def download(
    url: str,
    part: Partial,
    *,
    timeouts: DownloadTimeouts,
    progress: Progress,
    etag: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Download the whole of `url` to `part`, resuming it if possible.

    Args:
        url: http(s).
        part: the file; complete and flushed to disk on return.
        timeouts: for the server.
        progress: called after every chunk.
        etag: of the caller's copy; if the server still has the same, nothing is fetched.
        sleep: waits between attempts.

    Returns:
        Whether a file was fetched; False only if `etag` is still current.

    Raises:
        ModelUnreachable: the server did not answer, or the rest did not come.
        ModelError: the file cannot be fetched; one line that says why and what to do.
    """
    timeout = httpx.Timeout(timeouts.idle, connect=_CONNECT_TIMEOUT)
    with httpx.Client(timeout=timeout, follow_redirects=True) as client, _tidy(part):
        for pause in (*_PAUSES, None):
            before = part.size()
            try:
                return _attempt(client, url, part, timeouts, progress, etag)
            except _Cut as cut:
                # After an attempt without a new byte, another one is pointless.
                if pause is None or not cut.again or part.size() <= before:
                    raise ModelUnreachable(f"{display(url)} {cut}; {_rest(part)}") from cut
            sleep(pause)
    raise AssertionError  # the last round returns or raises


@contextmanager
def _tidy(part: Partial) -> Iterator[None]:
    """Remove the partial file on an error after which it cannot be resumed."""
    try:
        yield
    except ModelUnreachable:
        raise
    except ModelError:
        part.discard()
        raise
    except OSError as error:
        part.discard()
        raise ModelError(
            f"{part.path.stem} cannot be kept in {part.path.parent}: {error.strerror or error}. "
            "Make room there, or name another folder with --data-dir"
        ) from error


def _rest(part: Partial) -> str:
    """The advice after an interruption; removes the partial file if it cannot be resumed."""
    if part.etag() is None:
        part.discard()
        return "try again"
    return f"{_mb(part.size())} are there, and the same command goes on with them"


def display(url: str) -> str:
    """`url` for messages and metadata: without user, password and query.

    Raises:
        ModelError: it is no valid URL.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ModelError(f"{url} is no address: {error}") from error
    return str(parsed.copy_with(username=None, password=None, query=None, fragment=None))


def _attempt(
    client: httpx.Client,
    url: str,
    part: Partial,
    timeouts: DownloadTimeouts,
    progress: Progress,
    etag: str | None,
) -> bool:
    shown = display(url)
    headers = {"Accept-Encoding": "identity"}
    offset, validator = part.resumable(shown)
    if validator is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    elif etag is not None:
        headers["If-None-Match"] = etag
    with _named_errors(shown, timeouts), _opened(client, url, headers, timeouts) as opened:
        response, chunks = opened
        if response.status_code == httpx.codes.NOT_MODIFIED and "If-None-Match" in headers:
            return False
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.discard()
            return _attempt(client, url, part, timeouts, progress, etag)
        _require_file(response, shown)
        now = _strong_etag(response)
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            now = now or validator
        else:
            offset = 0
        total = _total(response, shown, offset)
        with part.open(shown, now, offset) as file:
            for chunk in chunks:
                offset += len(chunk)
                _require_small(shown, offset)
                file.write(chunk)
                progress(offset, total)
    if total is not None and offset != total:
        raise ModelError(f"{shown} gave {offset} bytes where it had announced {total}")
    return True


@contextmanager
def _named_errors(shown: str, timeouts: DownloadTimeouts) -> Iterator[None]:
    """Turn errors of httpx into errors that say what to do."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise _unreachable(shown, str(error) or "no answer") from error
    except httpx.TimeoutException as error:
        raise _Cut(f"sent nothing for {timeouts.idle:g} s", again=False) from error
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise _Cut(f"was cut off ({str(error) or 'connection lost'})", again=True) from error
    except httpx.HTTPError as error:
        raise ModelError(f"{shown} cannot be fetched: {error}") from error


def _unreachable(shown: str, reason: str) -> ModelUnreachable:
    return ModelUnreachable(
        f"{shown} cannot be reached ({reason}). Without a connection, fetch the file on another "
        "machine, copy it here and name it: --model path/to/model.onnx"
    )


@contextmanager
def _opened(
    client: httpx.Client, url: str, headers: dict[str, str], timeouts: DownloadTimeouts
) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
    """The response, once its first byte is there, and its chunks.

    A thread waits for it, because httpx has no timeout for name look-ups, nor for several redirects
    or addresses together.
    """
    answers: queue.SimpleQueue[tuple[httpx.Response, bytes, Iterator[bytes]] | Exception]
    answers = queue.SimpleQueue()

    def send() -> None:
        try:
            response = client.send(client.build_request("GET", url, headers=headers), stream=True)
            chunks = response.iter_raw()
            answers.put((response, next(chunks, b""), chunks))
        except Exception as error:  # noqa: BLE001  raised again by the caller
            answers.put(error)

    DOWNLOADS.start(send)
    try:
        answer = answers.get(timeout=timeouts.first_byte)
    except queue.Empty:
        reason = f"nothing came within {timeouts.first_byte:g} s"
        raise _unreachable(display(url), reason) from None
    if isinstance(answer, Exception):
        raise answer
    response, first, rest = answer
    try:
        yield response, _chain(first, rest)
    finally:
        response.close()


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _require_file(response: httpx.Response, shown: str) -> None:
    """Raises ModelError if the response is no file: an error, a web page, a compressed stream."""
    code = response.status_code
    if code in {401, 403}:
        raise ModelError(f"{shown} answers {code}: it is not public. Fetch it with your own login")
    if code in {404, 410}:
        raise ModelError(f"{shown} answers {code}: there is no such file. Check the address")
    if code not in {200, 206}:
        raise ModelUnreachable(f"{shown} answers {code} instead of the file; try again later")
    first = next(iter(response.history), response)
    if first.url.scheme == "https" and response.url.scheme != "https":
        raise ModelError(f"{shown} leads from https to http: it is not followed there")
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/html"):
        raise ModelError(f"{shown} is a web page, not a model. Check the address")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ModelError(f"{shown} is sent as {encoding}, which was not asked for")


def _total(response: httpx.Response, shown: str, offset: int) -> int | None:
    """The size of the whole file in bytes; None if the response is chunked."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        given = response.headers.get("content-range", "")
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", given)
        if found is None or int(found[1]) != offset or int(found[2]) + 1 != int(found[3]):
            raise ModelError(f"{shown} was asked for the rest from {offset} and sends '{given}'")
        total = int(found[3])
    elif "content-length" in response.headers:
        total = int(response.headers["content-length"])
    elif response.headers.get("transfer-encoding") == "chunked":
        return None
    else:
        raise ModelError(f"{shown} does not say how long it is, so it cannot be checked")
    _require_small(shown, total)
    return total


def _require_small(shown: str, size: int) -> None:
    if size > MAX_BYTES:
        raise ModelError(f"{shown} is larger than {_mb(MAX_BYTES)}, the most that is fetched")


def _strong_etag(response: httpx.Response) -> str | None:
    """The response's ETag if it is a strong one, which is required to resume a download."""
    etag: str | None = response.headers.get("etag")
    return None if etag is None or etag.startswith("W/") else etag


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
