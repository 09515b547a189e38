"""Deadlines, failures and hot swaps: the list comes anyway."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from exporters.item_tables import ItemTables

NOW_MS = 1_700_000_000_000


async def _ask(client, **body):
    response = await client.post("/recommend", json={"user_id": "u", **body})
    assert response.status_code == 200, response.text
    return response.json()


def _slow(read, seconds):
    def slowly(user_id, now_ms):
        time.sleep(seconds)
        return read(user_id, now_ms)

    return slowly


async def test_past_the_deadline_a_stranger_gets_what_is_popular(client, services, monkeypatch):
    monkeypatch.setattr(services.store, "read", _slow(services.store.read, 0.3))
    document = await _ask(client, deadline_ms=20, count=3)
    assert document["fallback"] and document["reason"] == "deadline"
    assert [item["item_id"] for item in document["items"]] == ["m9", "m8", "m7"]


async def test_past_the_deadline_a_user_gets_the_last_good_list(client, services, event, monkeypatch):
    await client.post("/events", json=event("m4"))
    good = await _ask(client, count=4)
    monkeypatch.setattr(services.store, "read", _slow(services.store.read, 0.3))
    document = await _ask(client, deadline_ms=20, count=4)
    assert document["fallback"]
    assert [item["item_id"] for item in document["items"]] == [item["item_id"] for item in good["items"]]
    filtered = await _ask(client, deadline_ms=20, count=4, deny=[good["items"][0]["item_id"]])
    assert filtered["items"][0]["item_id"] == good["items"][1]["item_id"]


@pytest.mark.parametrize(
    ("route", "more", "first"), [("rank", {"candidates": ["m3", "m1"]}, "m3"), ("search", {"query": "heat"}, "m3")]
)
async def test_every_route_has_its_fallback(client, services, monkeypatch, route, more, first):
    monkeypatch.setattr(services.store, "read", _slow(services.store.read, 0.2))
    document = (await client.post(f"/{route}", json={"user_id": "u", "deadline_ms": 10, **more})).json()
    assert document["fallback"] and document["items"][0]["item_id"] == first


@pytest.mark.parametrize("remote", [True, False])
async def test_a_store_that_fails_does_not_fail_the_list(client, services, monkeypatch, remote):
    services.store.remote = remote

    def broken(user_id, now_ms):
        raise ConnectionError("no store")

    monkeypatch.setattr(services.store, "read", broken)
    document = await _ask(client, count=3)
    assert (document["fallback"], document["reason"], len(document["items"])) == (True, "ranking_failed", 3)


async def test_a_model_that_answers_nan_is_not_served(client, services, monkeypatch, publish_version):
    version = publish_version([float("nan"), 1.0, 1.0], step=2)
    assert services.host.swap(version).swapped
    document = await _ask(client, count=3)
    assert (document["fallback"], document["reason"]) == (True, "ranking_failed")


async def test_tables_of_another_width_do_not_fail_the_list(services, client_of):
    tables = ItemTables(16, 7, 2, ("item_knn", "transitions", "popularity"), 12)
    services = replace(services, tables=tables, students=None)
    async with client_of(services) as client:
        document = await _ask(client)
    assert document["fallback"] and document["items"]


async def test_without_a_model_the_sources_are_added_up(services, client_of, event):
    services.host.current = None
    async with client_of(services) as client:
        await client.post("/events", json=event("m4"))
        document = await _ask(client, count=3, explain=True)
    assert document["items"][0]["item_id"] == "m5" and document["reason"] == "no_model" and document["fallback"]
    assert document["items"][0]["why"][0]["contribution"] == pytest.approx(1.0)


async def test_a_door_that_fails_does_not_fail_the_list(client, services, monkeypatch):
    async def broken(impression):
        raise ConnectionError("no broker")

    monkeypatch.setattr(services.door, "publish_impression", broken)
    assert (await _ask(client))["items"]
    await asyncio.sleep(0.01)


async def test_hot_swaps_under_load_drop_nothing(client, services, publish_version, event):
    """Every answer comes from one whole version: what it names is what ordered it."""
    await client.post("/events", json=event("m4"))
    other = publish_version([0.0, 0.0, 5.0], step=2)
    first = services.host.version
    answers = []

    async def load():
        for _ in range(40):
            answers.append(await _ask(client, count=3, log=False))

    async def swaps():
        for turn in range(12):
            services.host.pinned = False
            services.host.swap(other if turn % 2 == 0 else first)
            await asyncio.sleep(0.005)

    await asyncio.gather(load(), load(), swaps())
    top = {first: "m5", other: "m9"}
    assert not any(answer["fallback"] for answer in answers)
    assert {answer["model_version"] for answer in answers} == {first, other}
    assert all(answer["items"][0]["item_id"] == top[answer["model_version"]] for answer in answers)


async def test_scores_are_the_models_own(client, services, event):
    await client.post("/events", json=event("m4"))
    document = await _ask(client, count=50, explain=True)
    for item in document["items"]:
        own = item["contributions"]
        assert np.isfinite(item["score"]) and {"item_knn", "transitions", "popularity", "session"} <= set(own)
    assert [item["score"] for item in document["items"]] == sorted(
        (i["score"] for i in document["items"]), reverse=True
    )


@pytest.fixture
def near(services):
    """Parts with a store that lies on this machine: it is read where lists are made."""
    services.store.remote = False
    return services


async def test_a_near_store_gives_the_same_list(services, client, event):
    await client.post("/events", json=event("m4"))
    far = await _ask(client, count=4, log=False)
    services.store.remote = False
    near = await _ask(client, count=4, log=False)
    assert near["items"] == far["items"] and not near["fallback"]


async def test_lists_are_made_one_at_a_time_and_what_comes_late_is_answered_from_memory(near, client, monkeypatch):
    running, most, read = [], [], near.store.read

    def watched(user_id, now_ms):
        running.append(user_id)
        most.append(len(running))
        time.sleep(0.03)
        running.pop()
        return read(user_id, now_ms)

    monkeypatch.setattr(near.store, "read", watched)
    answers = await asyncio.gather(*[_ask(client, count=2, deadline_ms=100) for _ in range(12)])
    reasons = [answer["reason"] for answer in answers]
    assert max(most) == 1 and 1 <= reasons.count("deadline") < len(answers), reasons
    assert all(len(answer["items"]) == 2 for answer in answers)


async def test_between_two_lists_other_requests_are_answered(near, client, monkeypatch):
    order, read = [], near.store.read

    def slowly(user_id, now_ms):
        time.sleep(0.02)
        order.append("list")
        return read(user_id, now_ms)

    monkeypatch.setattr(near.store, "read", slowly)

    async def health():
        await asyncio.sleep(0.01)
        await client.get("/health/live")
        order.append("health")

    await asyncio.gather(*[_ask(client, count=2, deadline_ms=5_000) for _ in range(8)], health())
    assert order.index("health") < order.index("list") + 4, order
