"""Fetch a picture that the person at the keyboard named, within bounds.

For the command line only: addresses that arrive over HTTP need a guard against requests to
internal hosts, and the service does not take any yet.
"""

from __future__ import annotations

import httpx

from sightline.errors import BodyTooLarge, BrokenImage


def is_url(text: str) -> bool:
    """Whether `text` is an address that `fetch` takes."""
    return text.startswith(("http://", "https://"))


def fetch(url: str, max_bytes: int, timeout: float = 30) -> bytes:
    """The body at an http(s) address.

    Args:
        url: where.
        max_bytes: refuse more, while reading.
        timeout: seconds without a byte.

    Raises:
        BodyTooLarge: more than `max_bytes`.
        BrokenImage: it cannot be had; the message says why.
    """
    body = bytearray()
    try:
        with httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise BodyTooLarge(max_bytes)
    except httpx.HTTPStatusError as error:
        raise BrokenImage(f"{url} answered {error.response.status_code}.") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BrokenImage(f"{url} cannot be fetched: {error}.") from error
    return bytes(body)
