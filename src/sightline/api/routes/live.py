"""`WS /detect/ws`: frames in, JSON out (docs/how-to/live.md)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, WebSocket

from sightline.api.context import Context
from sightline.api.live import LiveSession
from sightline.api.schemas.detect import DetectQuery

PATH = "/detect/ws"

router = APIRouter()


@router.websocket(PATH)
async def live(
    websocket: WebSocket, query: Annotated[DetectQuery, Query()], context: Context
) -> None:
    await LiveSession(websocket, query, context).run()


@router.get(PATH, include_in_schema=False)
async def not_live() -> None:
    headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    raise HTTPException(426, "This is a WebSocket (RFC 6455, version 13): open it as one.", headers)
