"""For those who bring their own server: `uvicorn sightline.asgi:app`.

Options come from the environment (SIGHTLINE_*) and sightline.toml; the model is loaded when the
server starts, not when this module is imported.
"""

from __future__ import annotations

from sightline.api.app import create_app
from sightline.settings import load_settings
from sightline.wiring import check_source, open_canary, open_fetcher, open_repository

_settings = load_settings()
app = create_app(
    _settings,
    lambda: open_repository(_settings),
    lambda repository: open_canary(_settings, repository),
    lambda source: check_source(_settings, source),
    open_fetcher(_settings).fetch,
)
