"""What clients get wrong: each a clear answer, none a crash."""

from __future__ import annotations

import json

import pytest

NOW_MS = 1_700_000_000_000


def _reason(response):
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code and document["detail"]
    return response.status_code, document["reason"]


@pytest.mark.parametrize("route", ["/recommend", "/rank", "/search", "/similar", "/models/rollback", "/events"])
async def test_malformed_json_is_400(client, route):
    assert _reason(await client.post(route, content=b'{"')) == (400, "malformed_json")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": ""},
        {"user_id": 7},
        {"user_id": None},
        {"user_id": "u" * 257},
        {"user_id": "u", "count": "ten"},
        {"user_id": "u", "count": 0},
        {"user_id": "u", "count": 1.5},
        {"user_id": "u", "deny": "m1"},
        {"user_id": "u", "deny": [1]},
        {"user_id": "u", "deadline_ms": 0},
        {"user_id": "u", "event_time_ms": -1},
        {"user_id": "u", "unheard_of": 1},
        {"user_id": "u", "query": "q" * 257},
        [],
        "u",
    ],
)
async def test_wrong_types_and_missing_ids_are_422(client, body):
    assert _reason(await client.post("/recommend", json=body)) == (422, "wrong_type")


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999"])
async def test_nan_is_refused(client, literal):
    response = await client.post("/recommend", content=f'{{"user_id": "u", "deadline_ms": {literal}}}')
    assert response.status_code in (400, 422) and _reason(response)


@pytest.mark.parametrize("time_ms", [0, 86_400_000, NOW_MS + 86_400_000])
async def test_times_of_1970_and_of_the_future_are_422(client, time_ms):
    response = await client.post("/recommend", json={"user_id": "u", "event_time_ms": time_ms})
    assert _reason(response) == (422, "time_out_of_range")


@pytest.mark.parametrize("route", ["/recommend", "/events"])
async def test_a_body_of_10_mb_is_413(client, route):
    assert _reason(await client.post(route, content=b"[" + b" " * 10_000_000)) == (413, "too_large")


async def test_a_body_without_length_is_cut_off_at_the_limit(client):
    async def chunks():
        for _ in range(100):
            yield b" " * 100_000

    assert _reason(await client.post("/recommend", content=chunks())) == (413, "too_large")


async def test_a_slate_of_10_000_items_is_422(client):
    body = {"user_id": "u", "candidates": [f"m{place}" for place in range(10_000)]}
    assert _reason(await client.post("/rank", json=body)) == (422, "slate_too_long")
    assert _reason(await client.post("/recommend", json={"user_id": "u", "count": 10_000})) == (422, "slate_too_long")
    body = {"user_id": "u", "allow": [f"m{place}" for place in range(10_000)]}
    assert _reason(await client.post("/recommend", json=body)) == (422, "filter_too_long")


async def test_a_malformed_array_of_events_is_400_and_publishes_nothing(client, services):
    response = await client.post("/events", content=b'[{"event_id": "a"}, {"event_id": ')
    assert _reason(response) == (400, "malformed_json")
    assert services.door.events == []


async def test_one_bad_event_among_good_ones_is_named_and_the_others_are_kept(client, services, event):
    lines = [
        json.dumps(event("m1", event_id="a")),
        "oops",
        json.dumps({"type": "interaction"}),
        json.dumps(event("m2")),
    ]
    response = await client.post("/events", content="\n".join(lines))
    document = response.json()
    assert response.status_code == 202
    assert (document["accepted"], document["rejected"]) == (2, 2)
    assert document["reasons"] == {"malformed_json": 1, "missing_field": 1}
    assert [error["index"] for error in document["errors"]] == [1, 2]
    assert [kept["event_id"] for kept in services.door.events] == ["a", "e1"]


async def test_only_bad_events_is_an_error_that_says_so(client):
    response = await client.post("/events", json=[{"type": "interaction"}])
    assert _reason(response) == (422, "missing_field")
    assert response.json()["rejected"] == 1


async def test_routes_that_do_not_exist_answer_in_the_same_form(client):
    assert _reason(await client.get("/nowhere")) == (404, "not_found")
    assert _reason(await client.get("/recommend"))[0] == 405
    assert _reason(await client.get("/items/never-heard-of")) == (404, "unknown_item")
    assert _reason(await client.get("/web/../server.py"))[0] == 404
    response = await client.get("/users/u/session", params={"timeout_ms": "soon"})
    assert _reason(response) == (422, "wrong_type")
