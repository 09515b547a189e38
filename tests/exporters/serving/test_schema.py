"""The OpenAPI is exact: generated requests never crash or hang the real app, and answers have the members it names."""

from __future__ import annotations

from dataclasses import replace

import httpx
import msgspec
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from exporters import answers
from exporters.keys import Keys
from exporters.openapi import operation
from exporters.server import build_app

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.fixture
def app(services) -> FastAPI:
    services.limits = replace(services.limits, wait_ms=20.0, deadline_ms=2_000.0)
    return build_app(services)


BOUNDED = settings(
    max_examples=8,
    derandomize=True,  # the same requests in every run
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_generated_request_crashes_or_is_answered_otherwise_than_described(app, mode):
    """Requests that fit the description and requests that break it, for every operation."""
    asked = set()
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        described = found.ok()
        try:
            cases = described.as_strategy(generation_mode=mode)
            _ask(cases, asked)
        except Unsatisfiable:  # nothing can be wrong with a request without parameters
            assert mode is GenerationMode.NEGATIVE
    assert {"POST /recommend", "POST /rank", "POST /search", "POST /similar", "POST /events"} <= asked


def _ask(cases, asked):
    @BOUNDED
    @given(cases)
    def one(case):
        asked.add(f"{case.method.upper()} {case.path}")
        case.validate_response(case.call(timeout=10), checks=CHECKS)

    one()


def _refs(document):
    if isinstance(document, dict):
        yield from ([document["$ref"]] if "$ref" in document else [])
        for value in document.values():
            yield from _refs(value)
    elif isinstance(document, list):
        for value in document:
            yield from _refs(value)


def test_every_reference_leads_somewhere_and_no_two_operations_share_a_name(app):
    document = app.openapi()
    for ref in _refs(document):
        assert ref.rpartition("/")[2] in document["components"]["schemas"], ref
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
    assert "HTTPValidationError" not in str(document)


def test_keyed_routes_say_what_is_refused(app):
    paths = app.openapi()["paths"]
    assert {"401", "429", "503"} <= paths["/recommend"]["post"]["responses"].keys()
    assert "403" in paths["/models/rollback"]["post"]["responses"]
    assert "401" not in paths["/health/live"]["get"]["responses"]
    assert paths["/recommend"]["post"]["security"] and "security" not in paths["/health/ready"]["get"]


def test_an_operation_without_body_has_no_errors_of_a_body():
    assert operation(answers.Live)["responses"].keys() == {"200"}


async def _answers(services):
    transport = httpx.ASGITransport(build_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        event = {"event_id": "e", "type": "interaction", "user_id": "u", "item_id": "m4", "action": "click"}
        yield answers.Accepted, await client.post("/events", json=[{**event, "event_time_ms": 1_600_000_000_000}, {}])
        for route, more in (
            ("recommend", {"explain": True}),
            ("recommend", {}),
            ("rank", {"candidates": ["m1"]}),
            ("search", {"query": "toy", "explain": True}),
            ("similar", {"source_item_id": "m4", "explain": True}),
            ("recommend", {"deadline_ms": 0.001}),
        ):
            yield answers.Ranking, await client.post(f"/{route}", json={"user_id": "u", **more})
        yield answers.ItemFacts, await client.get("/items/m4")
        yield answers.UserSession, await client.get("/users/u/session")
        yield answers.Models, await client.get("/models")
        yield answers.Live, await client.get("/health/live")
        yield answers.Ready, await client.get("/health/ready")
        yield answers.ProblemDocument, await client.get("/items/nothing")


def _unknown_members(document, answer):
    """Names in a document that the struct does not have, at any depth."""
    whole = msgspec.to_builtins(msgspec.convert(document, answer))
    return _left_out(document, whole)


def _left_out(given, kept, path=""):
    if isinstance(given, dict):
        for name, value in given.items():
            yield from _left_out(value, kept[name], f"{path}.{name}") if name in kept else [f"{path}.{name}"]
    elif isinstance(given, list):
        for one, other in zip(given, kept, strict=True):
            yield from _left_out(one, other, f"{path}[]")


async def test_answers_have_the_members_that_are_described_and_no_others(services):
    async for answer, response in _answers(services):
        assert not set(_unknown_members(response.json(), answer)), f"add them to exporters.answers.{answer.__name__}"


async def test_with_keys_the_description_stays_open(services, client_of):
    services.keys = Keys(use={"shop": "shop-key"})
    async with client_of(services) as client:
        assert (await client.get("/openapi.json")).status_code == 200
