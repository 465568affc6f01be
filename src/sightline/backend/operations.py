"""The table of operations: each has a name, a request, a reply, and a handler.

The local backend, the remote backend and the RPC server read it. A new operation is an entry here,
its messages, and the method that handles it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from pydantic import TypeAdapter

from sightline.backend.messages import (
    BackendStatus,
    ClientRequest,
    DetectReply,
    DetectRequest,
    Done,
    Empty,
    LoadRequest,
    ModelInfo,
    RemoveRequest,
    RoomRequest,
)

if TYPE_CHECKING:
    from sightline.backend.protocols import Inference, Limits, Models, Status

Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers of operations, in the process that holds the models."""

    inference: Inference
    models: Models
    limits: Limits
    status: Status


Handle: TypeAlias = Callable[[Handlers, Q, Any], Awaitable[R]]
"""Takes the handlers, the request and its image (or None); returns the reply."""

HandleStream: TypeAlias = Callable[[Handlers, Q], AsyncGenerator[R]]
"""Takes the handlers and the request; yields the replies."""


class Codec(Generic[R]):
    """Encodes messages as JSON. A field `body` stays outside the JSON, as bytes."""

    def __init__(self, kind: type[R]) -> None:
        """A codec for messages of the dataclass `kind`."""
        self._adapter = TypeAdapter(kind)
        self._has_body = any(one.name == "body" for one in fields(kind))  # type: ignore[arg-type]

    def encode(self, message: R) -> tuple[bytes, bytes]:
        """The fields of `message` as JSON, and its body (b"" if it has none)."""
        if not self._has_body:
            return self._adapter.dump_json(message), b""
        body: bytes = message.body  # type: ignore[attr-defined]
        return self._adapter.dump_json(message, exclude={"body"}), body

    def decode(self, text: bytes, body: bytes) -> R:
        """The encoded message. Raises ValueError if it was of another kind."""
        if not self._has_body:
            return self._adapter.validate_json(text)
        return self._adapter.validate_python(json.loads(text) | {"body": body})


class _Operation(Generic[Q, R]):
    """The base of operations.

    Attributes:
        name: on the wire.
        requests, replies: codecs of its messages.
        timeout: seconds until the (first) reply of another process; None for no timeout.
        queues: whether the longest wait of a picture is added to the timeout.
    """

    def __init__(
        self,
        name: str,
        request: type[Q],
        reply: type[R],
        *,
        timeout: float | None = None,
        queues: bool = False,
    ) -> None:
        self.name = name
        self.requests = Codec(request)
        self.replies = Codec(reply)
        self.timeout = timeout
        self.queues = queues


class Unary(_Operation[Q, R]):
    """An operation with one reply."""

    def __init__(
        self, name: str, request: type[Q], reply: type[R], handle: Handle[Q, R], **limits: Any
    ) -> None:
        super().__init__(name, request, reply, **limits)
        self.handle = handle


class Streaming(_Operation[Q, R]):
    """An operation with any number of replies; it lasts until its handler ends or is closed.

    A lease is an example: its handler replies once, and releases the lease when it is closed.
    """

    def __init__(
        self, name: str, request: type[Q], reply: type[R], handle: HandleStream[Q, R], **limits: Any
    ) -> None:
        super().__init__(name, request, reply, **limits)
        self.handle = handle


_PROMPT = 5.0  # seconds for a reply that takes no work

DETECT = Unary(
    "detect",
    DetectRequest,
    DetectReply,
    lambda on, request, image: on.inference.detect(request, image),
)
REQUIRE_ROOM = Unary(
    "require_room",
    RoomRequest,
    Done,
    lambda on, request, _: on.inference.require_room(request),
    timeout=_PROMPT,
    queues=True,  # a refusal may be held back that long
)
LOAD_MODEL = Unary(
    "load_model", LoadRequest, ModelInfo, lambda on, request, _: on.models.load(request)
)
REMOVE_MODEL = Unary(
    "remove_model", RemoveRequest, Done, lambda on, request, _: on.models.remove(request)
)
COUNT = Unary(
    "count", ClientRequest, Done, lambda on, request, _: on.limits.count(request), timeout=_PROMPT
)
ADMIT = Streaming(
    "admit", ClientRequest, Done, lambda on, request: on.limits.admit(request), timeout=_PROMPT
)
STATUS = Unary(
    "status",
    Empty,
    BackendStatus,
    lambda on, request, _: on.status.status(request),
    timeout=_PROMPT,
)
WAKE_DEFAULT = Unary(
    "wake_default", Empty, Done, lambda on, request, _: on.status.wake_default(request)
)
WAKE_TASKS = Unary(
    "wake_tasks", Empty, Done, lambda on, request, _: on.status.wake_tasks(request), timeout=_PROMPT
)

OPERATIONS: dict[str, Unary[Any, Any] | Streaming[Any, Any]] = {
    operation.name: operation
    for operation in (
        *(DETECT, REQUIRE_ROOM, LOAD_MODEL, REMOVE_MODEL),
        *(COUNT, ADMIT, STATUS, WAKE_DEFAULT, WAKE_TASKS),
    )
}
"""All operations by name."""
