"""For those who bring their own server: `uvicorn sightline.asgi:app`.

Options come from the environment (SIGHTLINE_*) and sightline.toml; the model is loaded when the
server starts, not when this module is imported.
"""

from __future__ import annotations

from functools import cache, partial

from sightline.api.app import create_app
from sightline.settings import load_settings
from sightline.wiring import local_backend, open_fetcher, open_repository, open_tasks

_settings = load_settings()
_desk = cache(partial(open_tasks, _settings))  # the application and its backend share one
app = create_app(
    _settings,
    local_backend(_settings, partial(open_repository, _settings), _desk),
    open_fetcher(_settings).fetch,
    _desk,
)
