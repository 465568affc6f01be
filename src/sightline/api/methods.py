"""Which methods a path takes, all routes taken together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.routing import iter_route_contexts
from starlette.routing import Match

if TYPE_CHECKING:
    from starlette.types import Scope


def allowed(scope: Scope) -> dict[str, str]:
    """The header `Allow` (RFC 9110, 10.2.1) of an answer to a method that the path does not take.

    The framework's own names the methods of the first route alone that has the path.
    """
    taken: set[str] = set()
    for context in iter_route_contexts(scope["app"].routes):
        if context.original_route.matches(scope)[0] is not Match.NONE:
            taken |= context.methods or set()
    return {"Allow": ", ".join(sorted(taken))}
