"""Error responses to input that never became a request: malformed, too long, too slow."""

from __future__ import annotations

import json
from typing import NamedTuple

from sightline.api.problems import MEDIA_TYPE, Kind, problem_body

MALFORMED = Kind(400, "malformed-request", "The request is not valid HTTP")
HEAD_TOO_LARGE = Kind(431, "head-too-large", "The request's head is too long")
HEAD_STALLED = Kind(408, "head-stalled", "The request's head did not come in time")
TOO_MANY_CONNECTIONS = Kind(503, "too-many-connections", "Too many connections")
EARLY_ERRORS = {
    MALFORMED: "What was sent is not HTTP/1.1.",
    HEAD_TOO_LARGE: "Request line, headers, trailers and chunk sizes of more than 64 KB.",
    HEAD_STALLED: "The head of a request was begun, and not ended in time.",
    TOO_MANY_CONNECTIONS: "More connections than the service may open.",
}

_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class EarlyError(NamedTuple):
    """An error response sent by the protocol, before any request reaches the application."""

    kind: Kind
    detail: str
    retry_after: int | None = None

    def to_bytes(self, request_id: str) -> bytes:
        """The whole response; the connection is closed after it."""
        problem = problem_body(self.kind, self.detail)
        lines = [
            f"HTTP/1.1 {self.kind.status} {_PHRASES[self.kind.status]}",
            f"content-type: {MEDIA_TYPE}",
            f"x-request-id: {request_id}",
            "connection: close",
        ]
        if self.retry_after is not None:
            problem["retry_after"] = self.retry_after
            lines.append(f"retry-after: {self.retry_after}")
        body = json.dumps(problem).encode()
        lines.append(f"content-length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body
