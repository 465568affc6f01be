from __future__ import annotations

import pytest

from sightline.api.negotiation import wants_jpeg


@pytest.mark.parametrize(
    ("accept", "jpeg"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("image/jpeg", True),
        ("image/*", True),
        ("IMAGE/JPEG", True),
        ("image/jpeg, */*;q=0.1", True),
        ("image/jpeg, */*", True),
        ("application/json, */*", False),
        ("application/json, text/plain, */*", False),
        ("image/jpeg, application/json", False),
        ("image/jpeg;q=0.5, application/json", False),
        ("image/jpeg;q=0, */*", False),
        ("image/png", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("image/jpeg;q=nonsense", False),
    ],
)
def test_what_a_client_prefers(accept: str, jpeg: bool) -> None:
    assert wants_jpeg(accept) is jpeg
