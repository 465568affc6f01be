"""The API's description is complete, and true as far as that shows without asking a service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from fastapi import APIRouter
from openapi_spec_validator import validate

from sightline.api.app import create_app
from sightline.api.middleware.access import OPEN_PATHS
from sightline.api.openapi.operations import UNGENERATED
from sightline.api.problems import KINDS
from sightline.api.server.early_errors import EARLY_ERRORS
from sightline.settings import load_settings

PROBLEM = "application/problem+json"


def description(**options: Any) -> dict[str, Any]:
    settings = load_settings(engine="fake", data_dir=":memory:", **options)
    nothing: Any = None  # the server is not started
    return create_app(settings, nothing).openapi()


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return description()


def operations(told: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, dict | list):
            yield from inside(one)


def test_it_is_open_api(told: dict[str, Any]) -> None:
    assert told["openapi"].startswith("3.1.")
    validate(told)
    assert set(told["paths"]) == {
        "/detect",
        "/predict",
        "/result/{task_id}",
        "/result/{task_id}/events",
        "/result/{task_id}/images/{index}",
        "/result/{task_id}/retry",
        "/tasks",
        "/models",
        "/models/{name}",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    for one in inside(told):
        if (target := one.get("$ref")) is not None:
            found = told
            for step in target.removeprefix("#/").split("/"):
                found = found[step]
    assert "HTTPValidationError" not in json.dumps(told)


def test_every_operation_reads_well(told: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(told)]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in told["tags"]}
    for method, path, operation in operations(told):
        assert re.fullmatch("[a-z]+(_[a-z]+)*", operation["operationId"])
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= tags
        for parameter in operation.get("parameters", ()):
            assert {"type": "null"} not in list(inside(parameter)), "a query cannot say it"
            assert parameter.get("description"), (method, path, parameter["name"])


def test_every_answer_is_described(told: dict[str, Any]) -> None:
    for _, path, operation in operations(told):
        for status, answer in operation["responses"].items():
            assert answer["description"] not in {"Successful Response", "Validation Error", ""}
            assert "X-Request-Id" in answer["headers"]
            if int(status) >= 400:
                assert list(answer["content"]) == [PROBLEM]
                assert answer["content"][PROBLEM]["examples"]
            if status in {"429", "503"}:
                assert "Retry-After" in answer["headers"], path


def test_bodies_with_files_have_no_form_that_generators_would_take_instead(
    told: dict[str, Any],
) -> None:
    for operation in (told["paths"]["/detect"]["post"], told["paths"]["/predict"]["post"]):
        body = operation["requestBody"]
        assert "multipart/form-data" in body["content"]
        assert "application/json" not in body["content"]
        assert "application/json" in body[UNGENERATED]
        assert "application/json" in body["description"]


def test_there_is_an_example_of_everything(told: dict[str, Any]) -> None:
    """Of all that is JSON or a parameter; Swagger UI and generators make up the rest."""

    def has_example(one: dict[str, Any]) -> bool:
        schema = one.get("schema", {})
        schema = told["components"]["schemas"][name_of(schema)] if "$ref" in schema else schema
        return bool({"example", "examples"} & (one.keys() | schema.keys()))

    def name_of(schema: dict[str, Any]) -> str:
        return str(schema["$ref"].rpartition("/")[2])

    for _, path, operation in operations(told):
        for parameter in operation.get("parameters", ()):
            assert has_example(parameter), (path, parameter["name"])
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            for kind, content in body.get("content", {}).items():
                assert has_example(content) or not kind.endswith("json"), (path, kind)


def test_every_kind_of_problem_is_told_of(told: dict[str, Any]) -> None:
    seen = set()
    for _, path, operation in operations(told):
        for status, answer in operation["responses"].items():
            problem = answer.get("content", {}).get(PROBLEM, {"examples": {}})
            for slug, example in problem["examples"].items():
                assert example["value"]["type"] == f"urn:sightline:problem:{slug}"
                assert example["value"]["status"] == int(status), path
                seen.add(slug)
    assert {kind.slug for kind in (*KINDS.values(), *EARLY_ERRORS)} <= seen


def test_every_example_is_what_its_schema_says(told: dict[str, Any]) -> None:
    def check(value: Any, schema: dict[str, Any]) -> None:
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | told | schema
        jsonschema_rs.validate(whole, value)

    checked = 0
    for schema in told["components"]["schemas"].values():
        for value in schema.get("examples", ()):
            check(value, schema)
            checked += 1
    for one in inside(told["paths"]):
        for example in one.get("examples", {}).values() if "schema" in one else ():
            check(example["value"], one["schema"])
            checked += 1
        if "example" in one and "schema" in one:
            check(one["example"], one["schema"])
            checked += 1
        if "type" in one and isinstance(one.get("examples"), list):
            for value in one["examples"]:
                check(value, one)
                checked += 1
    assert checked > 100


@pytest.mark.parametrize("options", [{}, {"admin_key": "a"}, {"api_keys": "me:b"}])
def test_keys_are_described_as_access_control_wants_them(options: dict[str, str]) -> None:
    told = description(**options)
    schemes = set(told["components"]["securitySchemes"])
    assert schemes == {"bearer", "apiKey", "basic"}
    assert {name for choice in told["security"] for name in choice} == schemes
    assert ({} in told["security"]) == ("api_keys" not in options)
    for method, path, operation in operations(told):
        if path in OPEN_PATHS:
            assert operation["security"] == []
        elif path == "/models/{name}":
            assert {} not in operation["security"], method
        else:
            assert "security" not in operation


def test_a_route_that_is_added_needs_nothing_special() -> None:
    """What it shares with all others is told of it too; pages are no part of the description."""
    settings = load_settings(engine="fake", data_dir=":memory:")
    nothing: Any = None
    app = create_app(settings, nothing)
    before = app.openapi()
    router = APIRouter(tags=["health"])

    @router.get("/numbers", summary="Numbers")
    async def get_numbers(form: str = "text") -> dict[str, int]:
        """How many."""
        return {form: 1}

    @router.get("/", include_in_schema=False)
    async def page() -> str:
        return "hello"

    app.include_router(router)
    told = app.openapi()
    assert set(told["paths"]) - set(before["paths"]) == {"/numbers"}
    operation = told["paths"]["/numbers"]["get"]
    assert operation["operationId"] == "get_numbers"
    assert {"401", "422", "429", "503"} <= set(operation["responses"])
    assert list(operation["responses"]["422"]["content"]) == [PROBLEM]
