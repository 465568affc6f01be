"""Tasks over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from support.servers import Live
    from support.tasks import Place


def files(*data: bytes, field: str = "files") -> list[tuple[str, tuple[str, bytes, str]]]:
    """A form with these pictures, called 0.png, 1.png, …"""
    return [(field, (f"{number}.png", one, "image/png")) for number, one in enumerate(data)]


def ended(client: httpx.Client, accepted: httpx.Response) -> dict[str, Any]:
    """What a task that was just accepted comes to."""
    assert accepted.status_code == 201, accepted.text
    answer = client.get(accepted.headers["location"], params={"wait": 60})
    assert answer.status_code == 200, answer.text
    state: dict[str, Any] = answer.json()
    assert state["completed_at"], state
    return state


@contextmanager
def stuck(server: Live | Place, after: int = 0) -> Iterator[threading.Event]:
    """But for the first `after` or a few more, none is answered until the event is set."""
    go_on = threading.Event()
    engine: Any = server.detector._engine
    answered = 0

    def hold(images: Sequence[Any]) -> None:
        nonlocal answered
        if answered >= after:
            go_on.wait(60)
        answered += len(images)

    engine.before_infer = hold
    try:
        yield go_on
    finally:
        go_on.set()
        engine.before_infer = lambda _images: None
