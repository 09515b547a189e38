from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from streamer import events
from streamer.door import Door, DoorReport
from streamer.errors import BrokerError, HeadwaterError
from streamer.events import Event


@dataclass
class World:
    """What happened, in order: ``ask user``, ``wait user event_id``, ``publish event_id``."""

    log: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)  # user -> the list served
    visible_after: float = 0.0
    visible: bool = True
    status: int = 200
    learned: int = 0
    backlogs: list[int] = field(default_factory=list)

    async def send(self, topic: str, value: bytes, key: bytes) -> None:
        """Take what the door publishes, as a producer does."""
        event = events.decode(value)
        assert (topic, key) == ("headwater.events", (event.user_id or "").encode())
        self.log.append(f"publish {event.event_id}")

    async def flush(self) -> None:
        self.log.append("flush")

    async def recommend(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.log.append(f"ask {body['user_id']}")
        self.bodies.append(body)
        listed = [{"item_id": item_id} for item_id in self.lists.get(body["user_id"], [])]
        return web.json_response({"items": listed, "fallback": body["user_id"] == "slow"}, status=self.status)

    async def session(self, request: web.Request) -> web.Response:
        assert int(request.query["timeout_ms"]) > 0
        await asyncio.sleep(self.visible_after)
        self.log.append(f"wait {request.match_info['user']} {request.query['wait_for_event_id']}")
        return web.json_response({"visible": self.visible})

    async def backlog(self, published: int) -> int:
        self.backlogs.append(published)
        self.learned += 3  # it learns while the door waits
        return max(published - self.learned, 0)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def session(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    app = web.Application()
    app.router.add_post("/recommend", world.recommend)
    app.router.add_get("/users/{user}/session", world.session)
    async with TestServer(app) as server, aiohttp.ClientSession(str(server.make_url("/"))) as client:
        yield client


@pytest.fixture
def door(world: World, session: aiohttp.ClientSession) -> Door:
    return Door(world, session, world.backlog, share=0.5, lead=1_000)


def stream(*users_and_items: str) -> list[Event]:
    """``"ada:a"``: ada takes a."""
    return [
        Event(event_id=f"e{number}", type="interaction", user_id=one.split(":")[0], item_id=one.split(":")[1],
              action="click", event_time_ms=1_600_000_000_000 + number)
        for number, one in enumerate(users_and_items)
    ]  # fmt: skip


async def at_once(event: Event) -> None:
    """Never wait for an event's time."""


async def run(door: Door, made: list[Event], *asked: int) -> int:
    seen: list[int] = []
    await door.run(made, set(asked), at_once, lambda: seen.append(1))
    return len(seen)


class TestSample:
    def test_it_is_a_share_of_what_comes_after_the_warm_up(self, door: Door) -> None:
        sample = door.sample(1_000)
        assert len(sample) == 400 and min(sample) >= 200 and max(sample) < 1_000
        assert len(door.sample(1_000, warm_up=0.9)) == 50

    def test_it_is_fixed_by_the_seed(self, world: World, door: Door) -> None:
        other = Door(world, door._session, world.backlog, share=0.5, seed=8)
        assert door.sample(100) == door.sample(100) != other.sample(100)

    @pytest.mark.parametrize(("events", "size"), [(0, 0), (1, 1), (3, 2)])
    def test_small_streams(self, door: Door, events: int, size: int) -> None:
        assert len(door.sample(events)) == size


async def test_it_asks_just_before_the_event_and_after_the_users_previous_one_shows(world: World, door: Door) -> None:
    assert await run(door, stream("ada:a", "ada:b"), 1) == 2
    assert world.log == ["publish e0", "wait ada e0", "ask ada", "publish e1", "flush"]


async def test_a_user_without_a_past_is_asked_about_at_once(world: World, door: Door) -> None:
    await run(door, stream("ada:a"), 0)
    assert world.log == ["ask ada", "publish e0", "flush"]


async def test_the_recorded_events_were_not_caused_by_the_lists(world: World, door: Door) -> None:
    await run(door, stream("ada:a"), 0)
    (body,) = world.bodies
    assert body["log"] is False and body["count"] == 10 and body["event_time_ms"] == 1_600_000_000_000


async def test_users_do_not_wait_for_each_other_but_each_keeps_their_order(world: World, door: Door) -> None:
    world.visible_after = 0.05
    await run(door, stream("ada:a", "ada:b", "bob:a", "ada:c", "bob:b"), 1)
    published = [line for line in world.log if line.startswith("publish")]
    assert published.index("publish e2") < published.index("publish e1"), "bob has overtaken ada"
    assert published.index("publish e1") < published.index("publish e3"), "ada's events stay in order"
    assert len(published) == 5 and world.log[-1] == "flush"


async def test_ranks_are_those_in_the_served_list(world: World, door: Door) -> None:
    world.lists = {"ada": ["a", "b", "c"], "bob": ["x"], "slow": ["y"]}
    await run(door, stream("ada:c", "bob:a", "slow:y", "eve:a"), 0, 1, 2)
    report = door.report
    assert report.ranks == {"e0": 3, "e1": 0, "e2": 1} and report.published == 4 and report.fallbacks == 1
    assert report.quality() == pytest.approx({"hr@10": 2 / 3, "ndcg@10": (1 / 2 + 1) / 3})
    assert len(report.latencies_ms) == 3 and min(report.latencies_ms) > 0


def test_nothing_asked_is_no_quality() -> None:
    assert DoorReport().quality() == {"hr@10": 0.0, "ndcg@10": 0.0}


async def test_a_previous_event_that_never_shows_is_counted(world: World, door: Door) -> None:
    world.visible = False
    await run(door, stream("ada:a", "ada:b"), 1)
    assert door.report.not_visible == 1 and "ask ada" in world.log and len(door.report.waits_ms) == 1


async def test_it_stays_within_its_lead_of_the_learner(world: World, session: aiohttp.ClientSession) -> None:
    door = Door(world, session, world.backlog, lead=4)
    worst = 0

    async def ahead(_: Event) -> None:
        nonlocal worst
        worst = max(worst, door.report.published - world.learned)

    await door.run(stream(*[f"u{number}:a" for number in range(40)]), set(), ahead, lambda: None)
    assert door.report.published == 40 and len(world.backlogs) > 5
    assert worst <= 4 and door.report.most_ahead <= 4


async def test_an_error_of_the_server_ends_the_run_with_its_words(world: World, door: Door) -> None:
    world.status = 503
    with pytest.raises(HeadwaterError, match=r"POST /recommend was answered 503: .*items"):
        await run(door, stream("ada:a"), 0)


async def test_a_server_that_is_gone_is_named(world: World) -> None:
    async with aiohttp.ClientSession("http://127.0.0.1:1") as nowhere:
        with pytest.raises(BrokerError, match="the server does not answer POST /recommend"):
            await run(Door(world, nowhere, world.backlog), stream("ada:a"), 0)
