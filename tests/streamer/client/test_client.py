"""The client against the real application, and against transports that fail."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing

import httpx
import msgspec
import pytest

from exporters import asks
from exporters.catalogue import Catalogue, Item
from exporters.item_tables import ItemTables
from exporters.keys import Keys
from exporters.rate_limit import Rate
from exporters.registry import Registry
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.server import build_app
from exporters.services import Services
from exporters.twins import MemoryDoor, MemorySessions
from streamer.client import AnswerError, AsyncClient, Client, Problem, Retries, Unreachable, calls

AT_ONCE = Retries(attempts=4, first_seconds=0.0)


@pytest.fixture
def services(tmp_path):
    store, catalogue = MemorySessions(3), Catalogue()
    for name in ("Alien", "Aliens", "Heat"):
        catalogue.put(Item(item_id=name.lower(), title=name, published_time_ms=1_600_000_000_000))
    tables = ItemTables(16, 4, 2, ("item_knn", "transitions", "popularity"), 12)
    host = ModelHost(registry=Registry(tmp_path))
    return Services(
        store=store, door=MemoryDoor(store), host=host, tables=tables, index=VectorIndex(4), catalogue=catalogue
    )


@pytest.fixture
def app(services):
    return build_app(services)


@pytest.fixture
async def client(app):
    async with AsyncClient("http://server", transport=httpx.ASGITransport(app), retries=AT_ONCE) as opened:
        yield opened


def _answering(*responses):
    """A transport that gives one answer after the other, and what was sent to it."""
    left, sent = list(responses), []

    def handle(request):
        sent.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.MockTransport(handle), sent


def _ok(**members):
    whole = {"accepted": 1, "rejected": 0, "event_ids": ["e"], "reasons": {}, "errors": []}
    return httpx.Response(202, json=whole | members)


def _busy(status=503, **headers):
    document = {"type": "urn:x", "title": "t", "status": status, "reason": "not_ready", "detail": "d"}
    return httpx.Response(status, json=document, headers=headers)


async def test_every_call_reaches_its_route_and_its_answer_is_typed(client, services):
    ranking = await client.recommend("ada", count=2, deny=["heat"], explain=True)
    assert {item.item_id for item in ranking.items} == {"alien", "aliens"} and ranking.impression_id, ranking.reason
    assert {item.item_id for item in (await client.rank("ada", ["heat", "alien"])).items} == {"heat", "alien"}
    assert (await client.search("heat")).items[0].title == "Heat"
    assert (await client.similar("alien", query="aliens")).candidates == 0, "nothing goes with it yet"
    event = {"type": "interaction", "user_id": "ada", "item_id": "heat", "action": "click"}
    accepted = await client.publish([event, {**event, "event_id": "mine"}])
    assert accepted.accepted == 2 and accepted.event_ids[1] == "mine" and len(accepted.event_ids[0]) == 32
    session = await client.session("ada", wait_for_event_id="mine")
    assert session.visible and [past.item_id for past in session.history] == ["heat", "heat"]
    assert (await client.item("heat")).title == "Heat"
    assert (await client.models()).students["student"].share == 1.0
    assert (await client.live()).status == "live" and (await client.ready()).status == "ready"
    for call in (client.rollback(version="1"), client.reload()):
        with pytest.raises(Problem, match="409"):
            await call


async def test_ids_with_odd_letters_arrive_whole(client, services):
    services.catalogue.put(Item(item_id="a/b?c#d é", title="Odd"))
    assert (await client.item("a/b?c#d é")).item_id == "a/b?c#d é"
    assert (await client.session("u/v w")).user_id == "u/v w"


async def test_keys_and_problems_come_through(services):
    services.keys, services.rate.rate = Keys(use={"shop": "shop-key"}), Rate(per_second=0.01, burst=1)
    transport = httpx.ASGITransport(build_app(services))
    async with AsyncClient("http://server", transport=transport, retries=AT_ONCE) as stranger:
        with pytest.raises(Problem) as caught:
            await stranger.models()
        assert (caught.value.status, caught.value.reason) == (401, "api_key") and caught.value.request_id
    async with AsyncClient("http://server", api_key="shop-key", transport=transport, retries=AT_ONCE) as shop:
        await shop.models()
        with pytest.raises(Problem) as caught:
            await shop.models()
        assert caught.value.reason == "rate_limited" and caught.value.retry_after_seconds == 100


def test_503_is_tried_again_with_the_same_event_ids():
    transport, sent = _answering(_busy(), httpx.ConnectError("refused"), httpx.ReadError("cut"), _ok())
    with Client("http://server", transport=transport, retries=AT_ONCE) as client:
        assert client.publish({"type": "interaction"}).accepted == 1
    bodies = {request.content for request in sent}
    assert len(sent) == 4 and len(bodies) == 1 and b"event_id" in bodies.pop()


def test_events_that_the_broker_did_not_take_are_sent_again():
    left = _ok(accepted=1, rejected=1, reasons={"broker_unavailable": 1})
    transport, sent = _answering(left, _ok(accepted=2))
    with Client("http://server", transport=transport, retries=AT_ONCE) as client:
        assert client.publish([{"a": 1}, {"a": 2}]).accepted == 2
    assert sent[0].content == sent[1].content


@pytest.mark.parametrize("answer", [_busy(422), _busy(401), _busy(500), httpx.Response(200, json=[])])
def test_what_would_fail_again_is_not_sent_again(answer):
    transport, sent = _answering(answer)
    with Client("http://server", transport=transport, retries=AT_ONCE) as client, pytest.raises((Problem, AnswerError)):
        client.models()
    assert len(sent) == 1


def test_a_rollback_that_may_have_arrived_is_not_sent_again():
    transport, sent = _answering(httpx.ReadTimeout("slow"))
    with Client("http://server", transport=transport, retries=AT_ONCE) as client, pytest.raises(Unreachable):
        client.rollback()
    assert len(sent) == 1


def test_it_gives_up_after_its_attempts_and_where_the_wait_is_too_long():
    transport, sent = _answering(*[httpx.ConnectError("refused")] * 4)
    with Client("http://server", transport=transport, retries=AT_ONCE) as client, pytest.raises(Unreachable):
        client.live()
    assert len(sent) == 4
    transport, sent = _answering(_busy(429, **{"Retry-After": "60"}))
    with Client("http://server", transport=transport) as client, pytest.raises(Problem):
        client.live()
    assert len(sent) == 1


def test_pauses_grow_but_stay_bounded_and_obey_the_server():
    retries = Retries(attempts=10, first_seconds=0.1, most_seconds=2.0)
    failure = Unreachable("x", repeatable=True)
    longest = [max(retries.pause_seconds(attempt, failure) for _ in range(200)) for attempt in range(1, 9)]
    assert longest[0] <= 0.1 and 0.3 < longest[2] <= 0.4 and max(longest) <= 2.0
    failure.retry_after_seconds = 1.0
    assert retries.pause_seconds(1, failure) == 1.0
    assert retries.pause_seconds(10, failure) is None


def test_a_proxys_error_page_is_no_problem_document():
    transport, sent = _answering(httpx.Response(502, text="<html>"), httpx.Response(404, text="<html>"))
    with (
        Client("http://server", transport=transport, retries=AT_ONCE) as client,
        pytest.raises(AnswerError, match="404"),
    ):
        client.live()
    assert len(sent) == 2, "502 passes, 404 does not"


METHODS = {
    "recommend": (("u",), asks.RecommendAsk, calls.ListFields),
    "rank": (("u", ["a"]), asks.RankAsk, calls.ListFields),
    "search": (("q",), asks.SearchAsk, calls.SearchFields),
    "similar": (("i",), asks.SimilarAsk, calls.SimilarFields),
}
OTHERS = [
    calls.publish({}), calls.item("i"), calls.session("u", "e", 1), calls.models(), calls.rollback(None, None),
    calls.reload(), calls.live(), calls.ready(),
]  # fmt: skip


def _described(app, call):
    """The operation of the OpenAPI that a call means."""
    path = call.path.split("?")[0].split("/")
    for pattern, methods in app.openapi()["paths"].items():
        parts = pattern.split("/")
        fits = len(parts) == len(path) and all(a == b or a.startswith("{") for a, b in zip(parts, path, strict=True))
        if fits and call.method.lower() in methods:
            return methods[call.method.lower()]
    raise AssertionError(f"the API has no {call.method} {call.path}")


@pytest.mark.parametrize("call", [*OTHERS, *(calls.ranking(name, {}) for name in METHODS)], ids=lambda call: call.path)
def test_every_route_and_answer_of_the_client_is_in_the_openapi(app, call):
    responses = _described(app, call)["responses"]
    (good,) = (response for status, response in responses.items() if status.startswith("2"))
    name = good["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert name == call.answer.__name__
    schema = app.openapi()["components"]["schemas"][name]
    fields = msgspec.structs.fields(call.answer)
    assert {field.encode_name for field in fields} == schema["properties"].keys()
    assert {field.encode_name for field in fields if field.required} == set(schema.get("required", ()))


@pytest.mark.parametrize("name", METHODS)
def test_a_rankings_fields_are_those_of_the_openapi(app, name):
    _, ask, fields = METHODS[name]
    schema = _described(app, calls.ranking(name, {}))["requestBody"]["content"]["application/json"]["schema"]
    given = set(inspect.signature(getattr(Client, name)).parameters) - {"self", "fields"}
    assert given | set(typing.get_type_hints(fields)) == schema["properties"].keys()
    assert set(schema["required"]) <= given
    assert {field.name for field in msgspec.structs.fields(ask)} == schema["properties"].keys()


def test_both_clients_offer_the_same():
    def offered(kind):
        public = {name: method for name, method in vars(kind).items() if not name.startswith("_")}
        return {name: list(inspect.signature(method).parameters.items()) for name, method in public.items()}

    one, other = offered(Client), offered(AsyncClient)
    assert one.keys() == other.keys()
    for name in one:
        assert [str(parameter) for _, parameter in one[name]] == [str(parameter) for _, parameter in other[name]], name


def test_the_client_needs_no_model_code():
    code = (
        "import sys, streamer.client; heavy = {'torch', 'onnxruntime', 'numpy', 'feast', 'faust', 'fastapi'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
