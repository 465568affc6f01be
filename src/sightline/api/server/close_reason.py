"""Why a WebSocket is closed: a problem as a text message, and a close code.

A browser shows a page neither the status nor the body of a refused handshake. So a handshake that
fails for a reason the client can fix is accepted, told the reason, and closed.
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

# By HTTP status. Any other 4xx is 1008 (policy violation), any other 5xx 1011 (internal error).
_CODES = {
    413: CloseCode.MESSAGE_TOO_BIG,
    429: CloseCode.TRY_AGAIN_LATER,
    503: CloseCode.TRY_AGAIN_LATER,
}


class CloseReason(NamedTuple):
    """The last message to a client: a problem in JSON, and the close code after it."""

    text: str
    code: CloseCode


def close_reason(error: Exception, scope: Scope) -> CloseReason:
    """The close reason of a connection that fails with `error`."""
    answer = answer_to(error, scope)
    internal = answer.status_code >= 500
    other = CloseCode.INTERNAL_ERROR if internal else CloseCode.POLICY_VIOLATION
    return CloseReason(bytes(answer.body).decode(), _CODES.get(answer.status_code, other))


async def accept(websocket: WebSocket) -> None:
    """Accept the handshake, with our subprotocol if the client offers it.

    A browser that offers subprotocols requires the server to select one.

    Raises:
        WebSocketDisconnect: the client has gone.
    """
    offered = SUBPROTOCOL in websocket.scope.get("subprotocols", ())
    try:
        await websocket.accept(SUBPROTOCOL if offered else None)
    except OSError as error:
        raise WebSocketDisconnect(CloseCode.ABNORMAL_CLOSURE) from error


async def close_with(websocket: WebSocket, error: Exception) -> None:
    """Send the close reason of `error`, and close; accepts the handshake first if need be."""
    reason = close_reason(error, websocket.scope)
    with suppress(WebSocketDisconnect):  # the client has gone meanwhile
        if websocket.application_state is WebSocketState.CONNECTING:
            await accept(websocket)
        await websocket.send_text(reason.text)
        await websocket.close(reason.code)


async def refuse_handshake(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a handshake that has not reached the application, as `close_with` does."""
    await close_with(WebSocket(scope, receive, send), error)
