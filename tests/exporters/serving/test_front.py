"""What every request passes before its route."""

from __future__ import annotations

import asyncio
import logging

import pytest

from exporters.access_log import AccessLog
from exporters.keys import Keys
from exporters.limits import Limits
from exporters.rate_limit import Rate

KEYS = Keys(use={"shop": "shop-key"}, admin={"operator": "operator-key"})
SHOP, OPERATOR = {"X-API-Key": "shop-key"}, {"X-API-Key": "operator-key"}


def _problem(response, status, reason):
    assert (response.status_code, response.json()["reason"]) == (status, reason), response.text
    assert response.headers["content-type"] == "application/problem+json" and response.headers["x-request-id"]
    return response.json()


async def test_the_clients_request_id_comes_back_and_a_bad_one_does_not(client):
    given = await client.get("/health/live", headers={"X-Request-ID": "order-7"})
    assert given.headers["x-request-id"] == "order-7"
    for bad in ("two words", "x" * 129, ""):
        made = (await client.get("/health/live", headers={"X-Request-ID": bad})).headers["x-request-id"]
        assert made != bad and len(made) == 32
    ids = {(await client.get("/nowhere")).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


async def test_reading_and_administering_have_keys_of_their_own(services, client_of):
    services.keys = KEYS
    async with client_of(services) as client:
        _problem(await client.get("/stats"), 401, "api_key")
        _problem(await client.get("/nowhere"), 401, "api_key")
        _problem(await client.get("/stats", headers={"X-API-Key": "shop-kez"}), 401, "api_key")
        assert (await client.get("/stats", headers=SHOP)).status_code == 200
        for path in ("/models/rollback", "/admin/reload"):
            _problem(await client.post(path, json={}, headers=SHOP), 403, "admin_key")
            assert (await client.post(path, json={}, headers=OPERATOR)).status_code == 409
        assert (await client.get("/models", headers=SHOP)).status_code == 200


async def test_without_an_admin_key_nobody_administers(services, client_of):
    services.keys = Keys(use={"shop": "shop-key"})
    async with client_of(services) as client:
        _problem(await client.post("/admin/reload", headers=SHOP), 403, "admin_key")


async def test_beyond_the_rate_is_429_with_the_wait_for_each_key_alone(services, client_of):
    services.keys = KEYS
    services.rate.rate = Rate(per_second=0.1, burst=3)
    async with client_of(services) as client:
        codes = [(await client.get("/stats", headers=SHOP)).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        refused = await client.get("/stats", headers=SHOP)
        _problem(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert (await client.get("/stats", headers=OPERATOR)).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200, "probes are never limited"
        _problem(await client.get("/stats"), 401, "api_key")


async def test_strangers_without_keys_are_limited_by_address(services, client_of):
    services.rate.rate = Rate(per_second=0.1, burst=1)
    async with client_of(services) as client:
        assert (await client.get("/stats")).status_code == 200
        _problem(await client.get("/stats"), 429, "rate_limited")


async def test_a_leaving_server_is_not_ready_then_refuses_but_stays_alive(client, services):
    services.lifecycle.leaving = True
    assert "about to end" in _problem(await client.get("/health/ready"), 503, "not_ready")["detail"]
    answered = await client.post("/recommend", json={"user_id": "u"})
    assert answered.status_code == 200 and answered.headers["connection"] == "close"
    services.lifecycle.refusing = True
    refused = await client.post("/recommend", json={"user_id": "u"})
    _problem(refused, 503, "shutting_down")
    assert refused.headers["retry-after"] == "1"
    for path in ("/health/live", "/metrics"):
        assert (await client.get(path)).status_code == 200


async def test_requests_under_way_are_counted_even_when_they_fail(client, services, monkeypatch):
    def broken(*_):
        assert services.lifecycle.under_way == 1
        raise RuntimeError("secret detail")

    monkeypatch.setattr(services, "list_models", broken)
    document = _problem(await client.get("/models"), 500, "internal")
    assert "secret" not in document["detail"]
    assert services.lifecycle.under_way == 0


async def test_the_access_line_has_route_and_stages_and_no_user_or_key(services, client_of, caplog):
    services.keys, services.access_log = KEYS, AccessLog(share=1.0)
    caplog.set_level(logging.INFO, "headwater.access")
    async with client_of(services) as client:
        await client.post("/recommend", json={"user_id": "ada-1"}, headers={**SHOP, "X-Request-ID": "r-1"})
        await client.get("/users/ada-1/session?timeout_ms=1", headers=SHOP)
    first, second = (record for record in caplog.records if record.name == "headwater.access")
    assert first.fields["request_id"] == "r-1" and first.fields["caller"] == "shop"
    assert first.fields["route"] == "/recommend" and {"session", "total"} <= first.fields["stages_ms"].keys()
    assert second.fields["route"] == "/users/{user_id:path}/session"
    assert not any(word in str(vars(record)) for record in (first, second) for word in ("ada-1", "shop-key"))


async def test_lines_are_sampled_but_slow_requests_always_get_one(services, client_of, caplog):
    caplog.set_level(logging.INFO, "headwater.access")
    async with client_of(services) as client:
        services.access_log = AccessLog(share=0.0, slow_ms=float("inf"))
        await client.get("/stats")
        assert not caplog.records
        services.access_log = AccessLog(share=0.0, slow_ms=0.0)
        await client.get("/stats")
        assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("over", [0, 1])
async def test_the_limit_of_a_body_is_exact(services, client_of, over):
    services.limits = Limits(body_bytes=2_048)
    body = b'{"user_id": "u"}'.ljust(2_048 + over)
    async with client_of(services) as client:
        response = await client.post("/recommend", content=body)
    assert response.status_code == (413 if over else 200)


@pytest.mark.parametrize(
    ("route", "body", "largest"),
    [
        ("recommend", lambda size: {"count": size}, 50),
        ("rank", lambda size: {"candidates": [f"m{place}" for place in range(size)]}, 100),
        ("recommend", lambda size: {"deny": [f"x{place}" for place in range(size)]}, 1_000),
        ("recommend", lambda size: {"allow": [f"x{place}" for place in range(size)]}, 1_000),
        ("recommend", lambda size: {"categories": [f"x{place}" for place in range(size)]}, 1_000),
        ("search", lambda size: {"query": "q" * size}, 256),
        ("recommend", lambda size: {"surface": "s" * size}, 256),
        ("similar", lambda size: {"source_item_id": "s" * size}, 256),
    ],
)
async def test_every_limit_holds_at_its_edge(client, route, body, largest):
    for size, status in ((largest, 200), (largest + 1, 422)):
        response = await client.post(f"/{route}", json={"user_id": "u", **body(size)})
        assert response.status_code == status, response.text


async def test_a_history_longer_than_the_limit_is_cut_to_the_newest(client, event, services):
    for place in range(8):
        await client.post("/events", json=event(f"m{place}", event_id=f"e{place}"))
    document = (await client.get("/users/u/session")).json()
    assert [one["item_id"] for one in document["history"]] == [f"m{place}" for place in range(3, 8)]
    assert (await client.post("/recommend", json={"user_id": "u"})).status_code == 200


async def test_a_body_that_never_ends_is_408(client, monkeypatch):
    monkeypatch.setattr("exporters.bodies._BODY_SECONDS", 0.02)

    async def trickle():
        yield b'{"user_id":'
        await asyncio.sleep(5)

    _problem(await client.post("/recommend", content=trickle()), 408, "too_slow")


async def test_a_server_that_knows_nothing_yet_says_so_instead_of_an_empty_list(empty_services, client_of):
    async with client_of(empty_services) as client:
        assert (await client.post("/recommend", json={"user_id": "u"})).json()["reason"] == "empty_catalogue"
        empty_services.not_ready = lambda: ["The broker has not been reached yet."]
        refused = await client.post("/recommend", json={"user_id": "u"})
        assert "not been reached" in _problem(refused, 503, "not_ready")["detail"]


async def test_a_store_that_is_gone_is_503_for_its_session_and_a_flagged_list(client, services, monkeypatch):
    from exporters.watched_store import WatchedStore

    class Gone:
        remote = True

        def read(self, user_id, now_ms):
            raise ConnectionError("refused")

    monkeypatch.setattr(services, "store", WatchedStore(Gone(), failures=1))
    _problem(await client.get("/users/u/session"), 503, "store_unavailable")
    document = (await client.post("/recommend", json={"user_id": "u", "count": 2})).json()
    assert (document["fallback"], document["reason"], len(document["items"])) == (True, "store_unavailable", 2)
