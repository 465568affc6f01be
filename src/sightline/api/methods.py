"""The methods that a path allows, over all routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.routing import iter_route_contexts
from starlette.routing import Match

if TYPE_CHECKING:
    from starlette.types import Scope


def allowed(scope: Scope) -> dict[str, str]:
    """The header `Allow` (RFC 9110, 10.2.1) of a 405.

    The framework's own names only the methods of the first route with that path.
    """
    methods: set[str] = set()
    for context in iter_route_contexts(scope["app"].routes):
        if context.original_route.matches(scope)[0] is not Match.NONE:
            methods |= context.methods or set()
    return {"Allow": ", ".join(sorted(methods))}
