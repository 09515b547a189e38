from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from exporters.asks import RankAsk, RecommendAsk, SimilarAsk
from streamer.bench.large_catalogue import LargeCatalogue
from streamer.bench.made_up_users import MadeUpUsers, Mix
from streamer.events import Limits, decode

NOW_MS = 1_700_000_000_000
KINDS = {"/recommend": RecommendAsk, "/rank": RankAsk, "/similar": SimilarAsk}


@pytest.fixture
def users() -> MadeUpUsers:
    return MadeUpUsers(LargeCatalogue(items=1_000, group=100), users=60, history=12)


def test_everybody_has_lived_a_history_in_a_few_groups(users: MadeUpUsers) -> None:
    states = list(users.live(NOW_MS))
    assert len({state.user_id for state in states}) == 60
    for state in states:
        assert 4 <= len(state.item_ids) <= 12 and state.event_times_ms == sorted(state.event_times_ms)
        assert state.watermark_ms < NOW_MS and state.families and state.last_event_id
        assert len({int(item_id[1:]) // 100 for item_id in state.item_ids}) <= 3


def test_requests_are_what_the_server_reads_in_the_shares_asked_for(users: MadeUpUsers) -> None:
    asks = users.requests(4_000, Mix(rank=0.1, similar=0.1, events=0.2, log=False), NOW_MS, 5)
    shares = Counter(ask.path for ask in asks)
    assert shares["/events"] == pytest.approx(800, rel=0.2) and shares["/rank"] == pytest.approx(400, rel=0.25)
    for ask in asks[:200]:
        if ask.path == "/events":
            decode(ask.body, Limits())
        else:
            read = msgspec.json.decode(ask.body, type=KINDS[ask.path])
            assert read.count == 20 and not read.log


def test_some_users_ask_far_more_often_than_others(users: MadeUpUsers) -> None:
    asked = Counter(msgspec.json.decode(ask.body)["user_id"] for ask in users.requests(5_000, Mix(events=0), NOW_MS, 5))
    ordered = [count for _, count in asked.most_common()]
    assert ordered[0] > 5 * ordered[20]


def test_an_event_changes_its_users_record(users: MadeUpUsers) -> None:
    before = {state.user_id: list(state.item_ids) for state in users.live(NOW_MS)}
    event = users.next_event(7, NOW_MS)
    state = users.apply(event)
    assert state.last_event_id == event.event_id and state.item_ids[-1] == event.item_id
    assert state.item_ids != before["u7"]
