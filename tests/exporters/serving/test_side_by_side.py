"""Two students of one server: each answers its own users, with its own graph and tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exporters import metrics
from exporters.assignment import Assignment
from exporters.deltas import Row
from exporters.item_tables import ItemTables
from exporters.registry import Draft, GraphFile, Registry
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.services import Services
from exporters.students import ServedStudent, Students

from .conftest import DIMENSION, ITEM_FEATURES, SOURCES, TABLES, encode_graph, fill, rank_graph

USERS = [f"u{number}" for number in range(40)]


def publish_caser(registry: Registry, step: int = 1) -> str:
    """Publish a version of the second student, which goes by popularity upside down."""
    files = {
        "rank": GraphFile(content=rank_graph([0.0, 0.0, -1.0]), architecture="other", inputs=(), outputs=("logits",)),
        "encode": GraphFile(content=encode_graph(), architecture="other", inputs=(), outputs=("user_vector",)),
    }
    return registry.publish(Draft(name="caser", graphs=files, step=step)).version


@pytest.fixture
def both(services: Services, registry: Registry) -> Services:
    """The usual student and a second one that has no version yet, half of the users each."""
    tables, index = ItemTables(16, DIMENSION, ITEM_FEATURES, TABLES, 12), VectorIndex(DIMENSION)
    fill(tables, index)
    caser = ServedStudent(host=ModelHost(registry=registry, name="caser"), tables=tables, index=index)
    shares = Assignment({"student": 0.5, "caser": 0.5})
    return replace(services, students=Students([services.students.first, caser], shares))


async def ask(client, user: str, **body) -> dict:
    response = await client.post("/recommend", json={"user_id": user, "exclude_seen": False, **body})
    assert response.status_code == 200, response.text
    return response.json()


def stood_in() -> float:
    return metrics.STOOD_IN.labels("caser", "student")._value.get()


async def test_each_student_answers_its_own_users_with_its_own_model(both, registry, client_of) -> None:
    version = publish_caser(registry)
    both.students["caser"].host.start()
    async with client_of(both) as client:
        answers = {user: await ask(client, user) for user in USERS}
        again = {user: await ask(client, user) for user in USERS}
    by_student = {answer["student"]: answer for answer in answers.values()}
    assert set(by_student) == {"student", "caser"}
    assert by_student["caser"]["model_version"] == f"caser:{version}"
    assert by_student["student"]["model_version"] == both.host.version
    first = {name: [item["item_id"] for item in answer["items"]] for name, answer in by_student.items()}
    assert first["student"] == first["caser"][::-1], "the one's best is the other's worst"
    assert {user: answer["student"] for user, answer in answers.items()} == {
        user: answer["student"] for user, answer in again.items()
    }
    door = both.door.impressions
    assert {impression["model_version"] for impression in door} == {both.host.version, f"caser:{version}"}


async def test_a_late_student_takes_over_its_users_with_its_first_version(both, registry, client_of) -> None:
    before = stood_in()
    async with client_of(both) as client:
        early = {user: (await ask(client, user))["student"] for user in USERS}
        assert set(early.values()) == {"student"}
        own = {user for user in USERS if both.students.assignment.of(user) == "caser"}
        assert stood_in() - before == len(own)
        shown = (await client.get("/metrics")).text
        assert 'headwater_serving_student_ready{model="caser"} 0.0' in shown
        publish_caser(registry)
        both.students["caser"].host.start()
        late = {user: (await ask(client, user))["student"] for user in USERS}
        shown = (await client.get("/metrics")).text
    assert {user for user, name in late.items() if name == "caser"} == own, "and nobody else's"
    assert stood_in() - before == len(own), "no more"
    assert 'headwater_serving_student_ready{model="caser"} 1.0' in shown
    assert 'headwater_serving_student_share{model="caser"} 0.5' in shown


async def test_lists_and_outcomes_are_counted_by_student(both, registry, client_of, event) -> None:
    publish_caser(registry)
    both.students["caser"].host.start()
    user = next(user for user in USERS if both.students.assignment.of(user) == "caser")

    def clicks(name: str) -> float:
        return metrics.OUTCOMES.labels(name, "click")._value.get()

    lists = metrics.LISTS.labels("caser", "recommend")._value.get()
    before = clicks("caser"), clicks("student")
    async with client_of(both) as client:
        document = await ask(client, user)
        told = event("m1", user, "c1", impression_id=document["impression_id"])
        await client.post("/events", json=[told, event("m2", user, "c2"), event("m3", user, "c3", impression_id="?")])
        await client.post("/events", json=event("m4", user, "c4", model_version=both.host.version))
        await client.post("/events", json=event("m4", user, "c5", model_version="made-up:1"))
    assert metrics.LISTS.labels("caser", "recommend")._value.get() - lists == 1
    assert (clicks("caser") - before[0], clicks("student") - before[1]) == (1, 1), (
        "what tells nothing counts for nobody"
    )


async def test_actions_that_clients_make_up_share_one_label(both, client_of, event) -> None:
    before = metrics.OUTCOMES.labels("student", "other")._value.get()
    async with client_of(both) as client:
        for number in range(3):
            odd = event("m1", "u", f"o{number}", action=f"made-up-{number}", model_version=both.host.version)
            await client.post("/events", json=odd)
    assert metrics.OUTCOMES.labels("student", "other")._value.get() - before == 3


async def test_rows_of_one_student_leave_the_other_alone(both) -> None:
    row = Row(
        table="item_vectors", item_id="m1", row=3, step=9, model="caser", values=np.ones(DIMENSION, "<f4").tobytes()
    )
    before = both.tables.vectors.copy()
    assert both.students["caser"].tables.apply([row]) == 1
    assert (both.tables.vectors == before).all() and (both.students["caser"].tables.vectors[3] == 1).all()


async def test_models_lists_every_student_and_rollback_takes_a_name(both, registry, client_of) -> None:
    publish_caser(registry)
    both.students["caser"].host.start()
    asked = []

    async def rollback(name: str, version: str | None) -> str:
        asked.append((name, version))
        return "000001-00000000"

    async with client_of(replace(both, rollback=rollback)) as client:
        students = (await client.get("/models")).json()["students"]
        assert {name: told["share"] for name, told in students.items()} == {"student": 0.5, "caser": 0.5}
        assert students["caser"]["serving"] == both.students["caser"].host.version
        assert (await client.post("/models/rollback", json={"name": "caser"})).json()["name"] == "caser"
        assert (await client.post("/models/rollback", json={})).status_code == 200
        unknown = await client.post("/models/rollback", json={"name": "nobody"})
    assert asked == [("caser", None), ("student", None)]
    assert unknown.status_code == 404 and "student, caser" in unknown.json()["detail"]


async def test_the_second_student_explains_its_lists_too(both, registry, client_of) -> None:
    publish_caser(registry)
    both.students["caser"].host.start()
    user = next(user for user in USERS if both.students.assignment.of(user) == "caser")
    async with client_of(both) as client:
        document = await ask(client, user, explain=True)
    assert document["source_names"] == list(SOURCES)
    popularity = [item["contributions"]["popularity"] for item in document["items"]]
    assert popularity[0] > popularity[-1]
