"""The Python client of the HTTP API.

    from sightline.client import Client

    with Client("http://127.0.0.1:8000") as client:
        answer = client.detect("photo.jpg", confidence=0.4)
        results = client.submit("photos/").wait()

`AsyncClient` has the same methods, to be awaited. Errors are in `sightline.client.errors`: a class
for each problem type of the service. Names are loaded on first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.client import errors
    from sightline.client.aio import AsyncClient
    from sightline.client.answers import Answer, Progress, Result
    from sightline.client.blocking import Client, TaskHandle
    from sightline.client.errors import ClientError, Problem
    from sightline.client.handle import AsyncTaskHandle

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncTaskHandle",
    "Client",
    "ClientError",
    "Problem",
    "Progress",
    "Result",
    "TaskHandle",
    "errors",
]

_HOME = {
    "Answer": "answers",
    "AsyncClient": "aio",
    "AsyncTaskHandle": "handle",
    "Client": "blocking",
    "ClientError": "errors",
    "Problem": "errors",
    "Progress": "answers",
    "Result": "answers",
    "TaskHandle": "blocking",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'sightline.client' has no attribute {name!r}")
    module = import_module(f"sightline.client.{_HOME.get(name, name)}")
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return sorted(__all__)
