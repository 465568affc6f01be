"""Receivers of webhooks, and how the docs say that they verify what they get."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.local_server import QuietHandler, local_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "webhooks.md"


def verifier() -> Callable[[str, dict[str, str], bytes], bool]:
    """The lines in the docs, as somebody would copy them."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert found
    assert len([line for line in found[1].split("def ")[1].splitlines()[1:] if line]) == 5
    names: dict[str, Any] = {}
    exec(found[1], names)  # noqa: S102  our own docs
    verify: Callable[[str, dict[str, str], bytes], bool] = names["verify"]
    return verify


@dataclass
class Receiver:
    """Who is called.

    Attributes:
        status: what it answers; `answer` may do anything else.
        calls: headers, names in lower case, and bodies, in their order.
        came: released with each call.
    """

    port: int = 0
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    holds: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?to=me"


@contextmanager
def receiver(port: int = 0, status: int = 204, *, held: bool = False) -> Iterator[Receiver]:
    """A receiver that answers `status`; `held`: only once its `holds` is set."""
    it = Receiver(status=status)

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            it.calls.append(({name.lower(): text for name, text in self.headers.items()}, body))
            it.came.release()
            if held:
                it.holds.wait(60)
            self.send_response(it.status)
            for name, text in it.headers.items():
                self.send_header(name, text)
            self.end_headers()

    with local_server(Handler, port) as it.port:
        try:
            yield it
        finally:
            it.holds.set()
