"""An HTTP/1.1 connection: uvicorn's protocol, with timeouts and limits.

uvicorn itself waits for ever for a request head, reads a head of any length, waits for ever for a
client to read its answer, and closes while a client still sends (docs/decisions/0010).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sightline.api.headers import declared
from sightline.api.server.early_errors import (
    HEAD_STALLED,
    HEAD_TOO_LARGE,
    MALFORMED,
    TOO_MANY_CONNECTIONS,
    EarlyError,
)
from sightline.api.server.handshake import ordinary
from sightline.api.server.shutdown import SHUTDOWN
from sightline.api.server.timers import Timer, WriteTimeout

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


_MAX_FRAMING = 64 * 1024  # bytes of a request outside its body
_HEADER_COST = 256  # bytes of memory for a header beside its text, about: counted as framing
# Bytes parsed at a time. They bound how many pipelined requests a client can queue.
_HEAD_SLICE, _BODY_SLICE = 1024, 16 * 1024
_LINGER = 5.0  # seconds for a client to notice the answer and stop sending
_SHUTDOWN_GRACE = 0.5  # seconds for a request in transit at shutdown to arrive
_log = logging.getLogger("sightline.request")


class TimeoutHttpProtocol(HttpToolsProtocol):
    """A connection on which every step has a timeout."""

    # Set by `upgrade.protocol_for`.
    head_timeout: float
    idle_timeout: float
    body_timeout: float
    max_connections: int

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._unparsed = b""
        self._framing = 0
        self._in_head = False
        self._body_left = 0  # bytes, if the head declares a length
        self._running: RequestResponseCycle | None = None
        self._early_error: EarlyError | None = None
        self._lingering = False
        self._shutting_down = asyncio.Event()
        self._timer = Timer(self.loop)  # for a head, a lingering close, or the shutdown grace
        self._write_timeout = WriteTimeout(
            transport, self.loop, self.idle_timeout, self.body_timeout
        )
        if len(self.connections) > self.max_connections:
            seconds = max(1, int(self.head_timeout))
            detail = f"The service has no more connections to give. Try again in {seconds} s."
            self._refuse(EarlyError(TOO_MANY_CONNECTIONS, detail, seconds))
        else:
            self._timer.start(self.head_timeout, self._on_no_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.stop()
        self._write_timeout.stop()
        self._unset_keepalive_if_required()  # uvicorn does not, after a reset
        super().connection_lost(exc)
        self._unparsed = b""
        self.pipeline.clear()
        if self._running is not None:  # of pipelined requests, uvicorn tells only the last
            self._disconnect(self._running)

    # From the client

    def data_received(self, data: bytes) -> None:
        if self._lingering or self._early_error is not None:
            return
        if not self._timer.runs and self._is_between_requests():
            self._timer.start(self.head_timeout, self._on_no_head)
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        """Parse the received bytes, up to the first request that has to wait for another."""
        rest, self._unparsed = memoryview(self._unparsed), b""
        while rest and not (self.pipeline or self._lingering or self._early_error):
            self._unset_keepalive_if_required()
            size = max(_BODY_SLICE, self._body_left) if self._is_in_body() else _HEAD_SLICE
            self._feed(rest[:size])
            rest = rest[size:]
        self._unparsed = bytes(rest)
        if self.pipeline:
            self.flow.pause_reading()
        last: RequestResponseCycle | None = self.cycle
        if self._shutting_down.is_set() and last is not None and not self._unparsed:
            last.keep_alive = False

    def _feed(self, data: memoryview) -> None:
        self._framing += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._on_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            self._refuse(EarlyError(MALFORMED, "Its target is no path on this service."))
        except httptools.HttpParserError as error:
            self._refuse(EarlyError(MALFORMED, f"It breaks HTTP/1.1: {error}. Check the client."))
        else:
            if self._framing > _MAX_FRAMING:
                limit = _MAX_FRAMING // 1024
                detail = f"Send less than {limit} KB of headers, in fewer lines."
                self._refuse(EarlyError(HEAD_TOO_LARGE, detail))

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are ignored
            self._framing += _HEADER_COST
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.parser.should_upgrade():
            return
        self._timer.stop()
        self._body_left = declared(self.headers) or 0
        super().on_headers_complete()
        # The cycle closes the connection; `_Closer` makes that a lingering close.
        self.cycle.transport = _Closer(self)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        # Twice, because small chunks may cost a byte of framing for each byte of the body.
        self._framing = max(0, self._framing - 2 * len(body))
        self._body_left = max(0, self._body_left - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._framing = 0
        super().on_message_complete()

    def _on_upgrade(self, rest: memoryview) -> None:
        """Handle an upgrade to a protocol that is not supported (h2c, for example)."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(EarlyError(MALFORMED, "It asks for a tunnel, and this is no proxy."))
            return
        # The parser takes the rest for the other protocol. The answer is HTTP/1.1, so the rest is
        # the body: the request is parsed again without its Upgrade header.
        self.parser = httptools.HttpRequestParser(self)
        self._feed(memoryview(ordinary(method, self.url, self.headers) + rest))

    def _on_no_head(self) -> None:
        if not self._in_head:
            self._close()  # not a byte came
        else:
            detail = f"The request's head was not there within {self.head_timeout:g} s."
            self._refuse(EarlyError(HEAD_STALLED, detail))

    def _is_in_body(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.more_body and not self._in_head

    def _is_between_requests(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    # To the client

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.scope[SHUTDOWN] = self._shutting_down  # type: ignore[literal-required]
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        if self._lingering:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self._parse()
        if self._early_error is not None:
            self._refuse(self._early_error)
        elif self._running is None or not self._running.response_complete:
            return  # the next of several pipelined requests
        elif self._shutting_down.is_set():
            self.hang_up(client_sending=False)
        elif self._in_head:
            self._unset_keepalive_if_required()
            self._timer.start(self.head_timeout, self._on_no_head)

    def _refuse(self, error: EarlyError) -> None:
        """Send an error and close the connection: what follows cannot be parsed."""
        running = self._running
        if running is not None and not running.response_complete:
            if not running.more_body:
                self._early_error = error  # sent after the running answer
                return
            self._disconnect(running)
            if running.response_started:  # no second answer fits into a started one
                self.transport.abort()
        if self.transport.is_closing():
            return
        line: dict[str, Any] = {
            "request_id": uuid.uuid4().hex,
            "status": error.kind.status,
            "problem": error.kind.slug,
            "client": self.client[0] if self.client else "",
        }
        _log.info("request", extra=line)
        self.transport.write(error.to_bytes(line["request_id"]))
        self.hang_up(client_sending=True)

    def _disconnect(self, cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True
        cycle.message_event.set()

    def is_client_sending(self) -> bool:
        """Whether a part of the client's request is still missing or unread."""
        return self.cycle.more_body or bool(self._unparsed)

    def hang_up(self, *, client_sending: bool) -> None:
        """Close the connection, with a lingering close if the client is still sending.

        TCP resets a connection that is closed with unread bytes, and the client may then never see
        its answer. So only this side is closed at first, and further input is dropped for a while.
        """
        if self.transport.is_closing() or self._lingering:
            return
        self._unset_keepalive_if_required()
        if client_sending and self.transport.can_write_eof():
            self._lingering = True
            self.flow.resume_reading()
            self.transport.write_eof()
            self._timer.start(_LINGER, self.transport.abort)
        else:
            self._timer.stop()
            self._close()

    def _close(self) -> None:
        """Close once all is written, or the client has not read it for too long."""
        self.transport.close()
        self._write_timeout.start()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timeout.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._write_timeout.stop()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def shutdown(self) -> None:
        """Answer requests under way, and those that arrive within a short grace; then close."""
        self._shutting_down.set()
        self._parse()
        if self._is_between_requests() and not self._lingering:
            self._timer.start(_SHUTDOWN_GRACE, self._close)


class _Closer:
    """The transport as a request's cycle sees it: `close` is the protocol's `hang_up`."""

    def __init__(self, protocol: TimeoutHttpProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        self._protocol.hang_up(client_sending=self._protocol.is_client_sending())
