"""A WebSocket connection (RFC 6455) with limits, after its handshake.

uvicorn's own queues every message of a read, keeps every fragment of a message, answers pings
whose pongs are not read, and closes in the middle of work at shutdown (docs/decisions/0022).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from uvicorn.protocols.utils import ClientDisconnected
from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from sightline.api.server.close_reason import close_reason
from sightline.api.server.handshake import accepted, refused
from sightline.api.server.timers import Timer
from sightline.api.uploads.spool import SMALL
from sightline.errors import BodyStalled, BodyTooLarge, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Scope
    from uvicorn.protocols.http.flow_control import FlowControl

    from sightline.api.server.limits import MessageLimits

_SLICE = 4096  # bytes parsed at a time: they bound how many messages can wait
_CLOSE_TIMEOUT = 5.0  # seconds for the client to answer a close frame
_log = logging.getLogger("sightline.request")
_frames_log = logging.getLogger("sightline.websocket")
_frames_log.setLevel(logging.WARNING)


class WebSocketConnection:
    """The ASGI side of a WebSocket. It reads only as fast as the application does."""

    def __init__(
        self,
        transport: asyncio.Transport,
        flow: FlowControl,
        scope: Scope,
        limits: MessageLimits,
        hang_up: Callable[[bool], None],
    ) -> None:
        """A handshake that the application has not accepted yet.

        Args:
            transport: of the connection.
            flow: pauses reading, and tells whether the client reads what is written.
            scope: for the application.
            limits: on the client's messages.
            hang_up: closes the connection; gets whether the client may still be sending.
        """
        self._transport = transport
        self._flow = flow
        self._scope = scope
        self._limits = limits
        self._hang_up = hang_up
        self._loop = asyncio.get_running_loop()
        self._frames = Protocol(
            Side.SERVER, state=State.OPEN, max_size=limits.size, logger=_frames_log
        )
        self._timer = Timer(self._loop)
        self._accepted = False
        self._closing = False  # a close frame was sent
        self._unparsed = b""
        self._message = bytearray()  # the fragments so far
        self._text = False
        self._begun: float | None = None  # loop time of its first byte
        self._reserved = 0  # bytes of the upload budget
        self._messages: deque[Message] = deque()
        self._connect_sent = False  # to the application
        self._end: Message | None = None
        self._arrived = asyncio.Event()
        self._refusal: Message | None = None  # an HTTP response instead of a WebSocket

    async def run(self, app: ASGIApp) -> None:
        """Serve the connection to its end."""
        code = CloseCode.INTERNAL_ERROR
        try:
            await app(self._scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            code = CloseCode.SERVICE_RESTART
            raise
        except Exception:  # noqa: BLE001  one connection's failure is no other's
            _log.exception("a WebSocket failed")
        finally:
            if self._end is None and not self._closing:
                if self._accepted:
                    self._send_close(code)
                else:
                    self._write([refused(500, [], b"")])
                    self._finish(code)

    # From the client

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        self.resume_parsing()

    def resume_parsing(self) -> None:
        """Parse the received bytes, as far as the application takes messages."""
        rest, self._unparsed = memoryview(self._unparsed), b""
        while rest and self._can_take():
            self._frames.receive_data(bytes(rest[:_SLICE]))
            rest = rest[_SLICE:]
            self._take_events()
        if self._end is not None or self._transport.is_closing():
            return
        self._unparsed = bytes(rest)
        if self._unparsed:
            self._flow.pause_reading()
            self._timer_unless_closing(None)
        else:
            self._flow.resume_reading()
            self._watch()

    def lost(self) -> None:
        """The connection has ended."""
        self._finish(CloseCode.ABNORMAL_CLOSURE, hang_up=False)

    def _can_take(self) -> bool:
        if self._end is not None or self._flow.write_paused:
            return False
        return self._accepted and (self._closing or not self._messages)

    def _take_events(self) -> None:
        """Handle the parsed frames, and a parser error."""
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._take_frame(event)
        error = self._frames.parser_exc
        if isinstance(error, PayloadTooBig):
            self._fail(BodyTooLarge(self._limits.size))
        elif error is not None:
            self._write(self._frames.data_to_send())
            self._finish(CloseCode.PROTOCOL_ERROR, sending=True)
        else:
            self._write(self._frames.data_to_send())  # pongs, and the answer to a close frame
            if self._frames.close_rcvd is not None:
                self._finish(self._frames.close_rcvd.code)

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY}:
            self._text = frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return
        self._message += frame.data
        frame.data = b""  # the parser holds its last frame until the next one
        if not frame.fin:
            return
        whole, self._message, self._begun = bytes(self._message), bytearray(), None
        if self._closing:
            return
        if self._text:  # invalid UTF-8 becomes U+FFFD
            self._put({"type": "websocket.receive", "text": whole.decode(errors="replace")})
        else:
            self._put({"type": "websocket.receive", "bytes": whole})

    def _put(self, message: Message) -> None:
        self._messages.append(message)
        self._arrived.set()

    def _watch(self) -> None:
        """Reserve memory for an unfinished message, and start the timeout for the rest of it."""
        size = len(self._message) + len(self._frames.reader.buffer)
        if not self._reserve(size):
            self._fail(
                Overloaded(
                    "Too many uploads are under way.", self._limits.upload_budget.retry_after
                )
            )
        elif size or self._frames.current_size is not None:
            self._begun = self._begun or self._loop.time()
            left = self._begun + self._limits.whole - self._loop.time()
            self._timer_unless_closing(min(self._limits.idle, left))
        else:
            self._timer_unless_closing(None)

    def _timer_unless_closing(self, seconds: float | None) -> None:
        if self._closing:
            return  # the timer waits for the client's close frame
        if seconds is None:
            self._timer.stop()
        else:
            self._timer.start(max(0.0, seconds), self._on_stall)

    def _on_stall(self) -> None:
        self._fail(BodyStalled("The rest of a message did not come in time. Connect again."))

    def _reserve(self, size: int) -> bool:
        """Reserve `size` bytes of the upload budget, in place of the last; False if it is full."""
        more = max(0, size - SMALL) - self._reserved
        if more > self._limits.upload_budget.memory:
            return False
        self._limits.upload_budget.memory -= more
        self._reserved += more
        return True

    # To the application

    async def receive(self) -> Message:
        """The next message; after the end, always the disconnect message."""
        if not self._connect_sent:
            self._connect_sent = True
            return {"type": "websocket.connect"}
        while not self._messages and self._end is None:
            self._arrived.clear()
            await self._arrived.wait()
        if self._end is not None:
            return self._end
        message = self._messages.popleft()
        if not self._messages:
            self.resume_parsing()
        return message

    async def send(self, message: Message) -> None:
        """Raises ClientDisconnected if the client is gone."""
        await self._flow.drain()
        if self._end is not None or self._transport.is_closing():
            raise ClientDisconnected
        match message["type"]:
            case "websocket.accept":
                self._accepted = True
                self._write([accepted(self._scope, message)])
                self.resume_parsing()
            case "websocket.send":
                text = message.get("text")
                data = message["bytes"] if text is None else text.encode()
                (self._frames.send_binary if text is None else self._frames.send_text)(data)
                self._write(self._frames.data_to_send())
            case "websocket.close" if self._accepted:
                self._send_close(message.get("code", 1000), message.get("reason") or "")
            case "websocket.close":
                self._write([refused(403, [], b"")])
                self._finish(CloseCode.ABNORMAL_CLOSURE)
            case "websocket.http.response.start":
                self._refusal = dict(message) | {"body": b""}
            case "websocket.http.response.body" if self._refusal is not None:
                self._refusal["body"] += message.get("body", b"")
                if not message.get("more_body", False):
                    head = self._refusal
                    self._write([refused(head["status"], head["headers"], head["body"])])
                    self._finish(CloseCode.ABNORMAL_CLOSURE)
            case other:
                raise RuntimeError(f"{other!r} cannot be sent now")

    def _write(self, parts: list[bytes]) -> None:
        if data := b"".join(parts):
            self._transport.write(data)

    def _send_close(self, code: int, reason: str = "") -> None:
        """Send a close frame, and wait a while for the client's."""
        self._frames.send_close(code, reason)
        self._write(self._frames.data_to_send())
        self._closing = True
        self._messages.clear()
        self._timer.start(_CLOSE_TIMEOUT, self._finish, code)
        self.resume_parsing()

    def _fail(self, error: Exception) -> None:
        """Send the close reason of `error`, close, and read no further."""
        if self._closing:
            self._finish(CloseCode.PROTOCOL_ERROR, sending=True)
            return
        reason = close_reason(error, self._scope)
        self._write([Frame(Opcode.TEXT, reason.text.encode()).serialize(mask=False)])
        self._frames.fail(reason.code)  # no effect if the library has done so
        self._write(self._frames.data_to_send())
        self._finish(reason.code, sending=True)

    def _finish(self, code: int, *, sending: bool = False, hang_up: bool = True) -> None:
        """End the WebSocket: tell the application, and close the connection."""
        if self._end is not None:
            return
        self._end = {"type": "websocket.disconnect", "code": code, "reason": ""}
        self._timer.stop()
        self._reserve(0)
        self._messages.clear()
        self._message, self._unparsed = bytearray(), b""
        self._arrived.set()
        self._flow.resume_writing()
        if hang_up:
            self._hang_up(sending)
