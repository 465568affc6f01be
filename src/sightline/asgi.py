"""For those who bring their own server: `uvicorn sightline.asgi:app`.

Options come from the environment (SIGHTLINE_*) and sightline.toml; the model is loaded when the
server starts, not when this module is imported.
"""

from __future__ import annotations

from functools import partial

from sightline.api.app import create_app
from sightline.settings import load_settings
from sightline.wiring.runtime import open_runtime

_settings = load_settings()
app = create_app(_settings, partial(open_runtime, _settings))
