"""A client on a raw socket that forgives nothing: see `fuzz.requests` for what is owed."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fuzz.requests import Framing

if TYPE_CHECKING:
    from fuzz.requests import Request

HUNG_SECONDS = 60
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\x20-\x7e]*")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t\x80-\xff]*)")
_MAX_HEAD = 64 * 1024


class Wrong(Exception):
    """The service did what it must not."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    def problem(self) -> tuple[str, str]:
        """`type` and `title` of a problem document."""
        body = json.loads(self.body)
        return body["type"], body["title"]


class Client:
    """One connection at a time, kept for as long as the requests allow it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: Request) -> list[Answer]:
        """Every answer to `request`, checked.

        Raises:
            Wrong: one is missing, late, or not as it has to be.
        """
        try:
            async with asyncio.timeout(HUNG_SECONDS):
                return await self._ask(request)
        except TimeoutError:
            await self.close()
            raise Wrong(f"hung: no end within {HUNG_SECONDS} s") from None
        except Wrong:
            await self.close()
            raise

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _ask(self, request: Request) -> list[Answer]:
        kept = self._writer is not None and not self._writer.transport.is_closing()
        if not (kept and request.reuse):
            await self.close()
            self._reader, self._writer = await asyncio.open_connection(*self._address)
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(request.data)
        if request.framing is Framing.BROKEN_OFF:
            return await self._until_closed(request)
        answers: list[Answer] = []
        for method in request.methods:
            answer = await self._answer(method)
            answers.append(check(answer, request, method))
            if answer.closes:
                break
        await self._leave(request, answers[-1], method)
        return answers

    async def _leave(self, request: Request, last: Answer, method: str) -> None:
        assert self._reader is not None
        if last.closes:
            # Of a head that it cannot parse a server does not know that it says HEAD.
            unknown = method == "HEAD" and last.status == 400
            if await self._read_to_end() and not unknown:
                raise Wrong("bytes after an answer that closes the connection")
            await self.close()
        elif not request.reuse:
            await self.close()

    async def _until_closed(self, request: Request) -> list[Answer]:
        assert self._reader is not None
        assert self._writer is not None
        answers = []
        try:
            self._writer.write_eof()
            while not self._reader.at_eof():
                answers.append(check(await self._answer("POST"), request, "POST"))
        except (ConnectionError, _Ended):
            pass  # there was no request to answer
        await self.close()
        return answers

    async def _read_to_end(self) -> bytes:
        assert self._reader is not None
        try:
            return await self._reader.read(-1)
        except ConnectionError:  # it had not read all we sent
            return b""

    async def _answer(self, method: str) -> Answer:
        """The next final answer; interim ones are read past."""
        assert self._reader is not None
        while True:
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise Wrong(f"the connection ended inside a head: {error.partial!r}") from None
                raise _Ended from None
            except asyncio.LimitOverrunError:
                raise Wrong("no end of a head in 64 kB") from None
            except ConnectionError as error:
                raise _Ended(f"no answer: {error!r}") from None
            status, headers = parse_head(head)
            if status < 200:
                continue
            return Answer(status, headers, await self._body(status, headers, method))

    async def _body(self, status: int, headers: dict[str, str], method: str) -> bytes:
        assert self._reader is not None
        length = headers.get("content-length")
        if status in {204, 304}:
            if length not in {None, "0"} or "transfer-encoding" in headers:
                raise Wrong(f"a {status} with a body")
            return b""
        if length is None or not length.isdecimal() or "transfer-encoding" in headers:
            raise Wrong(f"no Content-Length, or not that alone: {headers}")
        if method == "HEAD":
            return b""
        try:
            return await self._reader.readexactly(int(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Wrong(f"the body is shorter than Content-Length: {length}") from error


class _Ended(Wrong):
    """The connection ended where an answer could have begun."""

    def __init__(self, words: str = "the connection was closed without an answer") -> None:
        super().__init__(words)


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers, names in lower case.

    Raises:
        Wrong: a line breaks RFC 9112, or a header is there twice.
    """
    first, *lines = head[:-4].split(b"\r\n")
    found = _STATUS.fullmatch(first)
    if found is None:
        raise Wrong(f"not a status line: {first!r}")
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise Wrong(f"not a header: {line!r}")
        name = header[1].decode().lower()
        if name in headers:
            raise Wrong(f"twice in one head: {name}")
        headers[name] = header[2].decode("latin-1")
    return int(found[1]), headers


def check(answer: Answer, request: Request, method: str) -> Answer:
    """An answer that may be given to `request`.

    Raises:
        Wrong: another status than allowed, or a failure that is no RFC 9457 problem.
    """
    status, text = answer.status, answer.body.decode("utf-8", "replace")
    if status >= 500 and status != 503:
        raise Wrong(f"status {status}: {text[:300]}")
    if request.statuses and status not in request.statuses and status != 503:
        raise Wrong(f"status {status} instead of {sorted(request.statuses)}: {text[:300]}")
    if status == 200 and request.framing is Framing.BROKEN_OFF:
        raise Wrong("a picture that never ended was answered with 200")
    if status >= 400 and method != "HEAD":
        _check_problem(answer, text)
    return answer


def _check_problem(answer: Answer, text: str) -> None:
    if answer.headers.get("content-type") != "application/problem+json":
        raise Wrong(f"{answer.status} is no problem document: {answer.headers} {text[:300]}")
    try:
        body = json.loads(answer.body)
    except ValueError:
        raise Wrong(f"not JSON: {text[:300]}") from None
    kind, title, detail = (body.get(name) for name in ("type", "title", "detail"))
    if not (isinstance(kind, str) and re.fullmatch(r"urn:sightline:problem:[a-z0-9-]+", kind)):
        raise Wrong(f"its type: {text[:300]}")
    if not all(isinstance(words, str) and len(words) > 3 for words in (title, detail)):
        raise Wrong(f"its title or detail: {text[:300]}")
    if body.get("status") != answer.status:
        raise Wrong(f"its status is not the answer's {answer.status}: {text[:300]}")
    if "Traceback" in text or 'File "/' in text:
        raise Wrong(f"it tells of our inside: {text[:300]}")
