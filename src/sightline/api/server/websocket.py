"""A WebSocket (RFC 6455), in which a connection goes on that asked for one.

uvicorn's own queues as many messages as a read holds, keeps every fragment of one, answers pings
that nobody reads the answers to, and closes in the middle of work when it goes down
(docs/decisions/0022).
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

_SLICE = 4096  # bytes parsed at a time: as many messages as they hold are all that can wait
_CLOSE_TIMEOUT = 5.0  # seconds in which a client may answer that it was told goodbye
_log = logging.getLogger("sightline.request")
_frames_log = logging.getLogger("sightline.websocket")
_frames_log.setLevel(logging.WARNING)


class WebSocketConnection:
    """The ASGI side of a WebSocket. It reads no further than the application does."""

    def __init__(
        self,
        transport: asyncio.Transport,
        flow: FlowControl,
        scope: Scope,
        limits: MessageLimits,
        hang_up: Callable[[bool], None],
    ) -> None:
        """Not opened yet: that is the application's to decide.

        Args:
            transport: of the connection.
            flow: pauses reading, and tells whether what is written is read.
            scope: of the application.
            limits: on the client.
            hang_up: ends the connection; told whether the client may still be sending.
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
        self._opened = False
        self._closing = False  # we have said goodbye
        self._unparsed = b""
        self._message = bytearray()  # as far as it is there
        self._text = False
        self._begun: float | None = None  # when its first byte came
        self._held = 0  # of the room
        self._messages: deque[Message] = deque()
        self._begun_with = False  # the application knows that there is a client
        self._end: Message | None = None
        self._come = asyncio.Event()
        self._answer: Message | None = None  # the head of an HTTP answer, which is no WebSocket

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
                if self._opened:
                    self._send_close(code)
                else:
                    self._write([refused(500, [], b"")])
                    self._finish(code)

    # From the client

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        self.go_on()

    def go_on(self) -> None:
        """Parse what has come, as far as somebody is there to take it."""
        rest, self._unparsed = memoryview(self._unparsed), b""
        while rest and self._hungry():
            self._frames.receive_data(bytes(rest[:_SLICE]))
            rest = rest[_SLICE:]
            self._take()
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

    def _hungry(self) -> bool:
        if self._end is not None or self._flow.write_paused:
            return False
        return self._opened and (self._closing or not self._messages)

    def _take(self) -> None:
        """What has been parsed."""
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._take_frame(event)
        wrong = self._frames.parser_exc
        if isinstance(wrong, PayloadTooBig):
            self._fail(BodyTooLarge(self._limits.size))
        elif wrong is not None:
            self._write(self._frames.data_to_send())
            self._finish(CloseCode.PROTOCOL_ERROR, sending=True)
        else:
            self._write(self._frames.data_to_send())  # pongs, and the answer to a goodbye
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
        if self._text:  # whoever reads it is told of letters that are none
            self._put({"type": "websocket.receive", "text": whole.decode(errors="replace")})
        else:
            self._put({"type": "websocket.receive", "bytes": whole})

    def _put(self, message: Message) -> None:
        self._messages.append(message)
        self._come.set()

    def _watch(self) -> None:
        """Count what a message takes that is not whole, and do not wait for ever for the rest."""
        size = len(self._message) + len(self._frames.reader.buffer)
        if not self._hold(size):
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
            return  # it waits for the client's goodbye
        if seconds is None:
            self._timer.stop()
        else:
            self._timer.start(max(0.0, seconds), self._on_stall)

    def _on_stall(self) -> None:
        self._fail(BodyStalled("The rest of a message did not come in time. Connect again."))

    def _hold(self, size: int) -> bool:
        """Take room for so many bytes, instead of what was taken; False if there is none."""
        more = max(0, size - SMALL) - self._held
        if more > self._limits.upload_budget.memory:
            return False
        self._limits.upload_budget.memory -= more
        self._held += more
        return True

    # To the application

    async def receive(self) -> Message:
        """The next message; from the end on, that it has ended."""
        if not self._begun_with:
            self._begun_with = True
            return {"type": "websocket.connect"}
        while not self._messages and self._end is None:
            self._come.clear()
            await self._come.wait()
        if self._end is not None:
            return self._end
        message = self._messages.popleft()
        if not self._messages:
            self.go_on()
        return message

    async def send(self, message: Message) -> None:
        """Raises ClientDisconnected if nobody is there any more."""
        await self._flow.drain()
        if self._end is not None or self._transport.is_closing():
            raise ClientDisconnected
        match message["type"]:
            case "websocket.accept":
                self._opened = True
                self._write([accepted(self._scope, message)])
                self.go_on()
            case "websocket.send":
                text = message.get("text")
                data = message["bytes"] if text is None else text.encode()
                (self._frames.send_binary if text is None else self._frames.send_text)(data)
                self._write(self._frames.data_to_send())
            case "websocket.close" if self._opened:
                self._send_close(message.get("code", 1000), message.get("reason") or "")
            case "websocket.close":
                self._write([refused(403, [], b"")])
                self._finish(CloseCode.ABNORMAL_CLOSURE)
            case "websocket.http.response.start":
                self._answer = dict(message) | {"body": b""}
            case "websocket.http.response.body" if self._answer is not None:
                self._answer["body"] += message.get("body", b"")
                if not message.get("more_body", False):
                    head = self._answer
                    self._write([refused(head["status"], head["headers"], head["body"])])
                    self._finish(CloseCode.ABNORMAL_CLOSURE)
            case other:
                raise RuntimeError(f"{other!r} cannot be sent now")

    def _write(self, parts: list[bytes]) -> None:
        if data := b"".join(parts):
            self._transport.write(data)

    def _send_close(self, code: int, reason: str = "") -> None:
        """Close, and wait a while for the client to say so too."""
        self._frames.send_close(code, reason)
        self._write(self._frames.data_to_send())
        self._closing = True
        self._messages.clear()
        self._timer.start(_CLOSE_TIMEOUT, self._finish, code)
        self.go_on()

    def _fail(self, error: Exception) -> None:
        """Say what is wrong, close, and hear no more."""
        if self._closing:
            self._finish(CloseCode.PROTOCOL_ERROR, sending=True)
            return
        said = close_reason(error, self._scope)
        self._write([Frame(Opcode.TEXT, said.text.encode()).serialize(mask=False)])
        self._frames.fail(said.code)  # nothing, if the library has done so
        self._write(self._frames.data_to_send())
        self._finish(said.code, sending=True)

    def _finish(self, code: int, *, sending: bool = False, hang_up: bool = True) -> None:
        """It has ended: the application is told, and the client hung up on."""
        if self._end is not None:
            return
        self._end = {"type": "websocket.disconnect", "code": code, "reason": ""}
        self._timer.stop()
        self._hold(0)
        self._messages.clear()
        self._message, self._unparsed = bytearray(), b""
        self._come.set()
        self._flow.resume_writing()
        if hang_up:
            self._hang_up(sending)
