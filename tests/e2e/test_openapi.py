"""The API keeps to its own description: schemathesis asks a live service for every operation.

https://schemathesis.readthedocs.io. What it makes up follows from /openapi.json: parameters and
bodies that fit it, and such as do not. What comes back must be among the answers that are
described, with the headers and of the schema that are described, and never a 500.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from sightline.api.app import create_app
from sightline.api.openapi.operations import UNGENERATED
from sightline.settings import load_settings
from support import pictures
from support.predict import ended, files
from support.servers import Live, live
from support.tasks import picture

KEY, ADMIN = "a-key-of-somebody", "the-key-of-the-admin"
EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "400"))

# Refusals of what fits the description, for reasons that no description can hold: which classes
# and models there are, which addresses may be fetched, which tasks there are and how far they are.
BEYOND_A_SCHEMA = {
    "url-refused",
    "url-failed",
    "callback-refused",
    "unknown-task",
    "expired-task",
    "not-found",
    "not-yet",
    "unsupported-image",
    "model-unusable",
}
KNOWN_TO_THE_SERVICE = ("There is no model", "class")

CONFIG = {
    # Keys are the test's own to send: what is made up in their place would only be replaced.
    "generation": {"deterministic": True, "with-security-parameters": False},
    "checks": {
        # A deadline that the client names passes, and a service that has to refuse work says so.
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503", "504"]},
        # Where a request asks for what is gone, and is wrong besides, it is told that it is gone.
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "403", "404", "405", "409", "410", "415", "422"]
        },
    },
}

schemathesis.openapi.format("binary", st.sampled_from([picture(1), pictures.jpeg()]))
schemathesis.openapi.media_type("image/*", st.sampled_from([picture(2), pictures.jpeg()]))


@pytest.fixture(scope="module", autouse=True)
def _no_other_hosts() -> Iterator[None]:
    """No name leads anywhere: nothing that is made up is fetched or called."""
    look_up = socket.getaddrinfo

    def local(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in {"127.0.0.1", "localhost"}:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", local)
        patched.setattr("sightline.tasks.retry_policy._FIRST_PAUSE", 0.01)
        yield


def whole(told: Any) -> Any:
    """The description with what generators stumble over, in the words of OpenAPI 3.2."""
    told = copy.deepcopy(told)
    for path, method in (("/detect", "post"), ("/predict", "post")):
        body = told["paths"][path][method]["requestBody"]
        body["content"] |= body.pop(UNGENERATED)
    answer = told["paths"]["/result/{task_id}/events"]["get"]["responses"]["200"]
    stream = answer["content"]["text/event-stream"]
    del stream["schema"]
    stream["itemSchema"] = stream.pop("x-itemSchema")
    return told


def described(**options: Any) -> Any:
    """The description of a service with these options, to make up requests from."""
    settings = load_settings(engine="fake", data_dir=":memory:", **options)
    nothing: Any = None  # the server is not started
    app = create_app(settings, nothing)
    config = schemathesis.Config.from_dict(CONFIG)
    schema = schemathesis.openapi.from_dict(whole(app.openapi()), config=config)
    numbers = itertools.count()

    @schema.hook
    def map_path_parameters(_context: Any, path_parameters: Any) -> Any:
        """Half of the tasks that are asked for exist."""
        asked = str((path_parameters or {}).get("task_id"))
        if re.fullmatch("[0-9a-f]{32}", asked) and TASKS and next(numbers) % 2:
            return path_parameters | {"task_id": TASKS[-1]}
        return path_parameters

    return schema


TASKS: list[str] = []
_ASKED = itertools.count()
OPEN = described()
LOCKED = described(api_keys=f"me:{KEY}", admin_key=ADMIN)
AS_ADMIN = {"Authorization": f"Bearer {ADMIN}"}


def keep_a_task(client: httpx.Client) -> None:
    """Have a task that has ended; one of its two pictures failed."""
    sent = client.post("/predict", files=files(picture(1), b"no picture"))
    TASKS.append(ended(client, sent)["task_id"])


@contextmanager
def served(headers: dict[str, str], **options: Any) -> Iterator[Live]:
    with (
        live(**options) as running,
        httpx.Client(base_url=running.url, timeout=30, headers=headers) as client,
    ):
        told = client.get("/openapi.json").json()
        assert whole(told) == (LOCKED if headers else OPEN).raw_schema
        keep_a_task(client)
        yield running


@pytest.fixture(scope="module")
def open_service() -> Iterator[Live]:
    with served({}) as running:
        yield running


@pytest.fixture(scope="module")
def locked_service() -> Iterator[Live]:
    with served(AS_ADMIN, api_keys=f"me:{KEY}", admin_key=ADMIN) as running:
        yield running


def require_conformance(case: Any, server: Live, headers: dict[str, str] | None = None) -> None:
    sent = dict(headers or {})
    if case.path == "/detect" and next(_ASKED) % 2:
        sent["Accept"] = "image/jpeg"  # the other of its two answers
    answer = case.call(base_url=server.url, headers=sent, timeout=60)
    beyond = [positive_data_acceptance] if _is_beyond_a_schema(answer) else []
    case.validate_response(answer, headers=sent, excluded_checks=beyond)
    if case.method == "DELETE" and case.path.startswith("/result") and answer.status_code < 300:
        with httpx.Client(base_url=server.url, timeout=30, headers=headers) as client:
            keep_a_task(client)


def _is_beyond_a_schema(answer: Any) -> bool:
    if answer.headers.get("content-type") != ["application/problem+json"]:
        return False
    problem = answer.json()
    kind = problem["type"].rpartition(":")[2]
    of_options = any(words in problem["detail"] for words in KNOWN_TO_THE_SERVICE)
    return kind in BEYOND_A_SCHEMA or (kind == "bad-option" and of_options)


@OPEN.parametrize()  # type: ignore[untyped-decorator]
@settings(max_examples=5)
def test_what_is_answered_is_described(case: Any, open_service: Live) -> None:
    require_conformance(case, open_service)


@LOCKED.parametrize()  # type: ignore[untyped-decorator]
@settings(max_examples=2)
def test_with_the_admin_key(case: Any, locked_service: Live) -> None:
    require_conformance(case, locked_service, AS_ADMIN)


@pytest.mark.soak
@LOCKED.parametrize()  # type: ignore[untyped-decorator]
@settings(max_examples=EXAMPLES)
def test_many_times(case: Any, locked_service: Live) -> None:
    require_conformance(case, locked_service, AS_ADMIN)
