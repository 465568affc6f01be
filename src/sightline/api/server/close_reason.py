"""How a WebSocket is told what went wrong: a problem as text, and the code that it is closed with.

A browser shows a page neither the status nor the body of a refused handshake: what a client can
put right is told on an open connection.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.frames import CloseCode

from sightline.api.problems import answer_to
from sightline.api.server.handshake import SUBPROTOCOL

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

# By HTTP status; what else the client did is 1008, and what else we did is 1011.
_CODES = {
    413: CloseCode.MESSAGE_TOO_BIG,
    429: CloseCode.TRY_AGAIN_LATER,
    503: CloseCode.TRY_AGAIN_LATER,
}


class CloseReason(NamedTuple):
    """The last words to a client: a problem in JSON, and a close code."""

    text: str
    code: CloseCode


def close_reason(error: Exception, scope: Scope) -> CloseReason:
    """What a client is told whose connection ends with `error`."""
    answer = answer_to(error, scope)
    ours = answer.status_code >= 500
    other = CloseCode.INTERNAL_ERROR if ours else CloseCode.POLICY_VIOLATION
    return CloseReason(bytes(answer.body).decode(), _CODES.get(answer.status_code, other))


async def accept(websocket: WebSocket) -> None:
    """Open it, in our subprotocol if the client speaks one: browsers insist on an answer.

    Raises:
        WebSocketDisconnect: the client has gone.
    """
    spoken = SUBPROTOCOL in websocket.scope.get("subprotocols", ())
    try:
        await websocket.accept(SUBPROTOCOL if spoken else None)
    except OSError as error:
        raise WebSocketDisconnect(CloseCode.ABNORMAL_CLOSURE) from error


async def close_with(websocket: WebSocket, error: Exception) -> None:
    """Say what went wrong, and close."""
    said = close_reason(error, websocket.scope)
    with suppress(WebSocketDisconnect):  # the client has gone meanwhile
        if websocket.application_state is WebSocketState.CONNECTING:
            await accept(websocket)
        await websocket.send_text(said.text)
        await websocket.close(said.code)


async def refuse_handshake(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """`close_with` a connection that never came further than this."""
    await close_with(WebSocket(scope, receive, send), error)
