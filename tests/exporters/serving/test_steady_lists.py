"""Hysteresis and its metric through the real route."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import REGISTRY

from exporters.deltas import Row


async def listed(client, **body) -> list[str]:
    response = await client.post("/recommend", json={"user_id": "u", "count": 4, **body})
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]


def popular(services, weights: dict[str, float]) -> None:
    """Say anew what is popular: with an empty history that alone makes the scores, half a weight over the largest."""
    rows = np.array([int(item[1:]) + 2 for item in weights])
    lists = {"neighbours": rows.astype("<i4").tobytes(), "weights": np.array(list(weights.values()), "<f4").tobytes()}
    services.tables.apply([Row(table="popularity", item_id="*", row=0, step=2, **lists)])


BEFORE = {"m9": 1.0, "m8": 0.9, "m7": 0.8, "m6": 0.7, "m5": 0.6}
A_LITTLE = {"m9": 1.0, "m8": 0.80, "m7": 0.85, "m6": 0.7, "m5": 0.6}  # m7 passes m8 by 0.025
MUCH = {"m9": 1.0, "m8": 0.6, "m7": 0.95, "m6": 0.5, "m5": 0.85}


async def test_a_small_change_leaves_the_list_and_a_large_one_does_not(client, services) -> None:
    services.limits = replace(services.limits, stability_margin=0.1)
    popular(services, BEFORE)
    first = await listed(client)
    assert first == ["m9", "m8", "m7", "m6"]
    popular(services, A_LITTLE)
    assert await listed(client) == first
    popular(services, MUCH)
    assert await listed(client) == ["m9", "m7", "m5", "m8"]


async def test_it_is_off_where_exact_lists_are_wanted(client, services) -> None:
    assert services.limits.stability_margin == 0
    popular(services, BEFORE)
    await listed(client)
    popular(services, A_LITTLE)
    assert await listed(client) == ["m9", "m7", "m8", "m6"]


async def test_a_list_that_nobody_is_shown_neither_holds_nor_is_held(client, services) -> None:
    services.limits = replace(services.limits, stability_margin=0.1)
    popular(services, BEFORE)
    await listed(client, log=False)
    popular(services, A_LITTLE)
    assert await listed(client, log=False) == ["m9", "m7", "m8", "m6"]


async def test_users_do_not_hold_each_others_lists(client, services) -> None:
    services.limits = replace(services.limits, stability_margin=0.1)
    popular(services, BEFORE)
    await listed(client)
    popular(services, A_LITTLE)
    assert await listed(client, user_id="v") == ["m9", "m7", "m8", "m6"]


async def test_an_item_that_was_taken_leaves_the_list(client, services, event) -> None:
    services.limits = replace(services.limits, stability_margin=10.0)
    popular(services, BEFORE)
    assert "m8" in await listed(client)
    await client.post("/events", json=event("m8"))
    assert "m8" not in await listed(client)


async def test_the_overlap_is_reported(client, services) -> None:
    before = REGISTRY.get_sample_value("headwater_serving_list_overlap_count") or 0
    popular(services, BEFORE)
    await listed(client)
    assert (await client.get("/stats")).json()["list_overlap"]["mean"] is None, "one list overlaps with nothing"
    await listed(client)
    popular(services, MUCH)
    await listed(client)
    overlap = (await client.get("/stats")).json()["list_overlap"]
    assert overlap["count"] == 2 and 0.5 < overlap["mean"] < 1
    assert REGISTRY.get_sample_value("headwater_serving_list_overlap_count") == pytest.approx(before + 2)


async def test_similar_items_are_asked_for_in_the_words_of_their_source(client, services, monkeypatch) -> None:
    from online_models.vocabulary import query_tokens

    asked, kind = [], type(services.host.current.sessions["rank"])
    run = kind.run
    monkeypatch.setattr(kind, "run", lambda self, feeds: (asked.append(feeds["query"]), run(self, feeds))[1])
    await client.post("/similar", json={"user_id": "u", "source_item_id": "m0", "log": False})
    assert asked[-1][0].tolist() == query_tokens("Toy Story").tolist()
    await client.post("/recommend", json={"user_id": "u", "log": False})
    assert not asked[-1].any()
