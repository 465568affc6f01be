"""What every failing answer must look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem in `answer`, checked: RFC 9457, complete, and without our insides."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:sightline:problem:{kind}"
    assert body["status"] == status
    assert body["title"]
    assert len(body["detail"]) > 15
    assert "Traceback" not in answer.text
    if status in {429, 503}:
        assert int(answer.headers["retry-after"]) == body["retry_after"] >= 1
    return body
