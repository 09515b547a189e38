from __future__ import annotations

import httpx
import msgspec
import pytest

from exporters.answers import TimelineDocument, UserLists
from exporters.services import Services


async def lists(client: httpx.AsyncClient, user_id: str = "u", count: int = 3) -> UserLists:
    answer = await client.get(f"/users/{user_id}/lists", params={"count": count})
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=UserLists)


async def test_every_source_orders_the_candidates_by_itself(client: httpx.AsyncClient, event) -> None:
    await client.post("/events", json=event("m4"))
    found = await lists(client)
    (student,) = found.students
    assert student.name == "student" and student.answers and student.share == 1.0 and student.model_version
    by_source = {source.name: [item.item_id for item in source.items] for source in found.sources}
    assert by_source["transitions"] == ["m5"], "Aliens follows Alien, and nothing else does"
    assert len(by_source["popularity"]) == 3
    assert len(student.items) == 3 and student.items[0].title == "Aliens"


async def test_the_student_s_list_is_what_the_user_gets(client: httpx.AsyncClient, event) -> None:
    await client.post("/events", json=event("m0"))
    served = (await client.post("/recommend", json={"user_id": "u", "count": 3})).json()
    (student,) = (await lists(client)).students
    assert [item.item_id for item in student.items] == [item["item_id"] for item in served["items"]]


async def test_looking_leaves_no_trace(client: httpx.AsyncClient, services: Services) -> None:
    await lists(client)
    assert services.door.impressions == [] and services.board.counts["rankings"] == 0


async def test_without_anything_known_there_is_nothing_to_compare(client_of, empty_services: Services) -> None:
    async with client_of(empty_services) as client:
        found = await lists(client)
        assert [student.items for student in found.students] == [[]] and found.sources == []
        timeline = msgspec.json.decode((await client.get("/timeline")).content, type=TimelineDocument)
        assert timeline == TimelineDocument(quality=[], versions=[], drift=[])


@pytest.mark.parametrize("count", [0, 101, "many"])
async def test_a_count_out_of_bounds_is_refused(client: httpx.AsyncClient, count: object) -> None:
    assert (await client.get("/users/u/lists", params={"count": str(count)})).status_code == 422


async def test_intents_are_told_with_the_reasons_and_only_then(client: httpx.AsyncClient, event) -> None:
    await client.post("/events", json=event("m4"))
    told = (await client.post("/recommend", json={"user_id": "u", "explain": True})).json()
    assert [answer["answer"] for answer in told["intents"]["familiarity"]] == ["new", "kin", "again"]
    assert "intents" not in (await client.post("/recommend", json={"user_id": "u"})).json()
