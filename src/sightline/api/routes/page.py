"""/: the page for people, without a byte from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from sightline.api.assets import INDEX, PAGE, Asset, policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI, Request

    from sightline.settings import Settings


def install(app: FastAPI, settings: Settings) -> None:
    """Serve the page and what it needs."""
    for path, asset in PAGE.items():
        app.add_route(path, _serving(asset, settings.frame_ancestors), include_in_schema=False)
    if root := settings.root_path:
        # The page's addresses are relative: they need the slash.
        app.add_route(root, _to_the_slash, include_in_schema=False)


def _serving(asset: Asset, ancestors: tuple[str, ...]) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        packed = asset.packed is not None and "gzip" in request.headers.get("accept-encoding", "")
        etag = asset.etag(packed=packed)
        headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if asset.path == INDEX:
            service = request.query_params.get("api", "")
            headers["Content-Security-Policy"] = policy(service, ancestors)
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if packed:
            headers["Content-Encoding"] = "gzip"
        body = asset.packed if packed else asset.body
        return Response(body, 200, headers, asset.media_type)

    return serve


async def _to_the_slash(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.scope['root_path']}/{query}")
