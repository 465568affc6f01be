"""What is answered to bytes that are not HTTP: a problem too."""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sightline.api.problems import MEDIA_TYPE, Kind, problem_body

_KIND = Kind(400, "malformed-request", "The request is not valid HTTP")


class ProblemProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, but for the form of its one own answer."""

    def send_400_response(self, msg: str) -> None:
        """Answer and hang up: nothing after a malformed request can be made sense of."""
        detail = f"{msg} It breaks HTTP/1.1, or is longer than is allowed; check the client."
        body = json.dumps(problem_body(_KIND, detail)).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
