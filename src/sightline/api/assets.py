"""The page's files, and its Content-Security-Policy."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import sightline

WEB = Path(sightline.__file__).parent / "web"
INDEX = "/"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
_PACKED = {".html", ".js", ".css", ".svg"}
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-:_")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page; `packed` is its gzip form, None for formats that are compressed."""

    path: str
    media_type: str
    body: bytes
    packed: bytes | None
    digest: str

    def etag(self, *, packed: bool) -> str:
        return f'"{self.digest}{"-gz" if packed else ""}"'


def read_assets() -> dict[str, Asset]:
    """The page's files by the path that each is served at; index.html at /."""
    files = (file for file in sorted(WEB.rglob("*")) if file.suffix in _TYPES)
    return {asset.path: asset for asset in map(_read, files)}


def policy(service: str, ancestors: tuple[str, ...]) -> str:
    """The Content-Security-Policy of the page.

    Args:
        service: the address in `?api=`; the page may then connect to that origin too.
        ancestors: origins of pages that may show this one in a frame.
    """
    connect = " ".join(["'self'", *_origins(service)])
    frames = " ".join("'self'" if one == "self" else one for one in ancestors) or "'none'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        f"connect-src {connect}; frame-ancestors {frames}; base-uri 'none'; form-action 'none'"
    )


def _origins(service: str) -> list[str]:
    """The origin of an http(s) address, and its WebSocket form; empty if it is no address."""
    try:
        parts = urlsplit(service)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return []
    if parts.scheme not in {"http", "https"} or not host or not _HOST_CHARACTERS.issuperset(host):
        return []
    authority = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return [f"{parts.scheme}://{authority}", f"{parts.scheme.replace('http', 'ws')}://{authority}"]


def _read(file: Path) -> Asset:
    body = file.read_bytes()
    path = "/" + file.relative_to(WEB).as_posix()
    return Asset(
        path=INDEX if path == "/index.html" else path,
        media_type=_TYPES[file.suffix],
        body=body,
        packed=gzip.compress(body, mtime=0) if file.suffix in _PACKED else None,
        digest=hashlib.sha256(body).hexdigest()[:20],
    )


PAGE = read_assets()
"""The page's files by path. They are public."""
