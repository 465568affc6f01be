"""Who may do what."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from sightline.errors import KeyWrong, NotAllowed

if TYPE_CHECKING:
    from starlette.requests import Request

    from sightline.settings import Settings


def require_admin(request: Request) -> None:
    """Let the request through if it carries the admin key, as a bearer token or `X-API-Key`.

    Raises:
        NotAllowed: the service has no admin key: nobody may.
        KeyWrong: the key is missing or another.
    """
    settings: Settings = request.app.state.settings
    if settings.admin_key is None:
        raise NotAllowed("Changing models is switched off: start with SIGHTLINE_ADMIN_KEY set.")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    expected = settings.admin_key.get_secret_value()
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise KeyWrong("The admin key is missing or wrong: send Authorization: Bearer KEY.")
