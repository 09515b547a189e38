"""Every route over a real small ONNX model."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import numpy as np
import pytest

from exporters.catalogue import Item
from exporters.keys import Keys

NOW_MS = 1_700_000_000_000


async def _ask(client, route="recommend", **body):
    response = await client.post(f"/{route}", json={"user_id": "u", **body})
    assert response.status_code == 200, response.text
    return response.json()


def _ids(document):
    return [item["item_id"] for item in document["items"]]


async def test_an_unknown_user_gets_what_is_popular(client):
    document = await _ask(client, count=3)
    assert _ids(document) == ["m9", "m8", "m7"]
    assert document["reason"] == "unknown_user" and not document["fallback"]
    assert document["items"][0]["title"] == "Seven" and document["items"][0]["categories"] == ["Drama"]


async def test_an_event_changes_the_next_list(client, event):
    before = _ids(await _ask(client, count=3))
    assert (await client.post("/events", json=event("m4"))).status_code == 202
    after = _ids(await _ask(client, count=3))
    assert before[0] != "m5" and after[0] == "m5"


async def test_seen_items_stay_out_unless_asked_for(client, event):
    await client.post("/events", json=event("m4"))
    assert "m4" not in _ids(await _ask(client, count=20))
    assert "m4" in _ids(await _ask(client, count=20, exclude_seen=False))


async def test_filters_hold(client, services):
    services.catalogue.put(Item(item_id="m9", title="Seven", categories=("Drama",), available=False))
    assert "m9" not in _ids(await _ask(client, count=20))
    assert "m9" in _ids(await _ask(client, count=20, available=False))
    assert set(_ids(await _ask(client, count=20, categories=["animation"]))) == {"m0", "m1"}
    assert set(_ids(await _ask(client, count=20, allow=["m3", "m4", "m9", "new"]))) == {"m3", "m4", "new"}
    assert "m8" not in _ids(await _ask(client, count=20, deny=["m8"]))
    document = await _ask(client, deny=[f"m{place}" for place in range(10)])
    assert (document["items"], document["reason"]) == ([], "no_candidate_left")


async def test_a_new_item_without_a_row_is_offered(client, services):
    services.catalogue.put(Item(item_id="fresh", title="Fresh", published_time_ms=NOW_MS - 5))
    services.catalogue.put(Item(item_id="later", title="Later", published_time_ms=NOW_MS + 86_400_000))
    ids = _ids(await _ask(client, count=50))
    assert "fresh" in ids and "later" not in ids


async def test_an_empty_catalogue_is_an_empty_list_with_a_reason(empty_services, client_of):
    async with client_of(empty_services) as client:
        for route, more in (("recommend", {}), ("search", {"query": "toy"}), ("similar", {"source_item_id": "m1"})):
            document = await _ask(client, route, **more)
            assert (document["items"], document["reason"]) == ([], "empty_catalogue")
        assert empty_services.door.impressions == []


async def test_rank_orders_what_is_given_and_scores_unknown_items(client, event):
    await client.post("/events", json=event("m0"))
    document = await _ask(client, "rank", candidates=["m3", "m1", "never-heard-of", "m3"])
    assert _ids(document)[0] == "m1" and sorted(_ids(document)) == ["m1", "m3", "never-heard-of"]
    assert _ids(await _ask(client, "rank", candidates=[])) == []
    assert len(_ids(await _ask(client, "rank", candidates=["m3", "m1", "m2"], count=2))) == 2


async def test_search_finds_words_and_follows_the_user(client, event):
    assert set(_ids(await _ask(client, "search", query="STORY"))) == {"m0", "m1", "m2"}
    assert _ids(await _ask(client, "search", query="toy story 2"))[0] == "m1"
    await client.post("/events", json=event("m0"))
    assert _ids(await _ask(client, "search", query="story"))[0] == "m1"
    assert _ids(await _ask(client, "search", query="xyzzy")) == []


async def test_similar_comes_from_the_source_item(client):
    document = await _ask(client, "similar", source_item_id="m4", explain=True)
    assert _ids(document)[0] == "m5" and "m4" not in _ids(document)
    assert document["items"][0]["why"][0]["text"] == "goes with “Alien”"
    assert _ids(await _ask(client, "similar", source_item_id="never-heard-of"))


async def test_explain_takes_the_logit_apart(client, event):
    await client.post("/events", json=event("m4"))
    document = await _ask(client, count=3, explain=True)
    first = document["items"][0]
    assert first["item_id"] == "m5"
    # the model of the tests weighs transitions by 3, item_knn by 1, popularity by 0.5
    assert first["contributions"]["transitions"] == pytest.approx(3.0)
    assert first["contributions"]["item_knn"] == pytest.approx(1.0)
    assert first["why"][0]["text"] == "often follows “Alien”"
    assert first["sources"]["transitions"] == pytest.approx(2.0)
    assert {"item_knn", "transitions", "popularity"} <= set(document["source_names"])
    assert document["state"]["features"]["bias"] == 1.0 and document["state"]["last_event_id"] == "e1"
    totals = [sum(item["contributions"].values()) - item["score"] for item in document["items"]]
    assert totals == pytest.approx([totals[0]] * 3, abs=1e-5)  # all but the encoder's mean


async def test_the_impression_is_published_as_served(client, services, event):
    await client.post("/events", json=event("m4"))
    document = await _ask(client, count=3, surface="home")
    await asyncio.sleep(0)
    (impression,) = services.door.impressions
    assert list(impression["items"]) == _ids(document)
    assert impression["impression_id"] == document["impression_id"]
    assert impression["model_version"] == services.host.version
    assert np.shape(impression["source_scores"]) == (3, 5) and len(impression["context_features"]) == 3
    assert impression["propensities"] == [1.0, 1.0, 1.0] and impression["event_time_ms"] == NOW_MS


async def test_log_false_publishes_nothing(client, services):
    await _ask(client, log=False)
    await asyncio.sleep(0.01)
    assert services.door.impressions == []


async def test_a_request_may_ask_as_of_an_earlier_time(client, services):
    document = await _ask(client, event_time_ms=NOW_MS - 86_400_000 * 5 - 1, count=50)
    await asyncio.sleep(0)
    assert services.door.impressions[0]["event_time_ms"] == NOW_MS - 86_400_000 * 5 - 1
    assert document["items"]


async def test_exploration_draws_lists_and_reports_their_propensities(services, client_of):
    services.limits = replace(services.limits, exploration_temperature=1.0)
    async with client_of(services) as client:
        lists = {tuple(_ids(await _ask(client, count=3))) for _ in range(20)}
    assert len(lists) > 1
    assert all(0 < p <= 1 for impression in services.door.impressions for p in impression["propensities"])


async def test_the_session_shows_an_event_and_the_wait_ends_with_it(client, services, event, monkeypatch):
    read, looked = services.store.read, asyncio.Event()

    def watched(user_id, now_ms):
        looked.set()
        return read(user_id, now_ms)

    monkeypatch.setattr(services.store, "read", watched)
    waiting = asyncio.create_task(client.get("/users/u/session?wait_for_event_id=e7&timeout_ms=5000"))
    await asyncio.wait_for(looked.wait(), 5)
    assert not waiting.done()
    services.store.apply(event("m4", event_id="e7"), NOW_MS - 25)
    document = (await waiting).json()
    assert document["visible"] and document["history"][-1]["title"] == "Alien"
    assert services.board.session_freshness_ms.quantiles()["p50"] == 25


async def test_the_wait_ends_without_the_event(client):
    document = (await client.get("/users/nobody/session?wait_for_event_id=e7&timeout_ms=20")).json()
    assert not document["visible"] and not document["known"] and document["waited_ms"] >= 20


async def test_items_and_models_and_stats(client, services):
    item = (await client.get("/items/m3")).json()
    assert (item["title"], item["has_vector"], item["in_catalogue"]) == ("Heat", True, True)
    assert (await client.get("/models")).json()["serving"] == services.host.version
    services.board.quality = {"hr@10": 0.25}
    await _ask(client)
    stats = (await client.get("/stats")).json()
    assert stats["counts"]["rankings"] == 1 and stats["quality"] == {"hr@10": 0.25}
    assert stats["recent_users"] == ["u"] and stats["ranking_ms"]["p50"] > 0


async def test_health_and_metrics(client, services):
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).json()["model_version"] == services.host.version
    services.not_ready = lambda: ["17 records of headwater.weights are still to be read."]
    response = await client.get("/health/ready")
    assert response.status_code == 503 and "17 records" in response.json()["detail"]
    await _ask(client)
    text = (await client.get("/metrics")).text
    assert 'headwater_http_requests_total{route="/recommend",status="200"}' in text
    assert 'headwater_serving_stage_seconds_bucket{le="0.003",route="recommend",stage="rank"}' in text


async def test_the_key_guards_all_but_the_page_health_and_metrics(services, client_of):
    services.keys = Keys(admin={"operator": "secret"})
    async with client_of(services) as client:
        for path in ("/", "/docs", "/web/app.js", "/health/live", "/health/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200
        for path in ("/stats", "/models", "/items/m1", "/users/u/session"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers={"X-API-Key": "secret"})).status_code == 200
        assert (await client.post("/events", json={}, headers={"X-API-Key": "wrong"})).status_code == 401


async def test_openapi_describes_the_bodies(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    fields = paths["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"user_id", "count", "explain", "deadline_ms", "log"} <= fields.keys()


@pytest.mark.parametrize("name", ["", "docs", "web/app.js", "web/docs.js", "web/style.css", "web/icon.svg"])
async def test_the_page_needs_no_network(client, name):
    text = (await client.get(f"/{name}")).text
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+", text)) - {"http://www.w3.org"}
    assert text and not addresses
