"""Tasks over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from support.servers import Live


def files(*data: bytes, field: str = "files") -> list[tuple[str, tuple[str, bytes, str]]]:
    """A form with these pictures, called 0.png, 1.png, …"""
    return [(field, (f"{number}.png", one, "image/png")) for number, one in enumerate(data)]


def ended(client: httpx.Client, accepted: httpx.Response) -> dict[str, Any]:
    """What a task that was just accepted comes to."""
    assert accepted.status_code == 201, accepted.text
    answer = client.get(accepted.headers["location"], params={"wait": 30})
    assert answer.status_code == 200, answer.text
    state: dict[str, Any] = answer.json()
    assert state["completed_at"], state
    return state


@contextmanager
def stuck(server: Live) -> Iterator[threading.Event]:
    """No picture is answered before the event is set, or this is left."""
    go_on = threading.Event()
    engine: Any = server.detector._engine
    engine.before_infer = lambda _images: go_on.wait(30)
    try:
        yield go_on
    finally:
        go_on.set()
        engine.before_infer = lambda _images: None
