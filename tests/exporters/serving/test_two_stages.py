"""Encoded sessions that are kept: whatever happens in between, a list is what it would be without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exporters.asks import RankAsk, RecommendAsk, SimilarAsk
from exporters.deltas import Row
from exporters.ranking import RankingPath
from exporters.runtime import LoadedModel
from exporters.services import Services
from exporters.two_stages import EncodedSessions

NOW_MS, ITEMS, DIMENSION = 1_700_000_000_000, 10, 4
_COUNTED = "headwater_serving_session_states_total"


class Stream:
    """Random events, row updates, swaps and passing time, on the parts of one server."""

    def __init__(self, services: Services, versions: list[str], seed: int) -> None:
        self.services, self.versions = services, versions
        self.random = np.random.default_rng(seed)
        self.now_ms, self.step = NOW_MS, 10

    def happen(self) -> None:
        """One of the things that change what a list is made of; nothing in one of five cases."""
        happenings = (self._event, self._vector, self._neighbours, self._swap, lambda: None)
        happenings[self.random.integers(len(happenings))]()
        self.now_ms += int(self.random.choice([0, 0, 1_000]))

    def ask(self) -> RecommendAsk | RankAsk | SimilarAsk:
        user = f"u{self.random.integers(2)}"
        surface = str(self.random.choice(["home", "search"]))
        item_id = f"m{self.random.integers(ITEMS)}"
        asks = (
            RecommendAsk(user_id=user, count=50, surface=surface),
            RankAsk(user_id=user, candidates=[f"m{place}" for place in self.random.permutation(ITEMS)]),
            SimilarAsk(user_id=user, source_item_id=item_id),
            RecommendAsk(user_id=user, count=50, source_item_id=item_id),
        )
        return asks[self.random.integers(len(asks))]

    def _event(self) -> None:
        event = {
            "event_id": f"e{self.step}",
            "user_id": f"u{self.random.integers(2)}",
            "item_id": f"m{self.random.integers(ITEMS)}",
            "action": str(self.random.choice(["view", "click"])),
            "event_time_ms": self.now_ms,
        }
        self.services.store.apply(event, self.now_ms)
        self.step += 1

    def _vector(self) -> None:
        values = self.random.normal(size=DIMENSION).astype("<f4").tobytes()
        self._apply("item_vectors", values=values)

    def _neighbours(self) -> None:
        rows = (2 + self.random.permutation(ITEMS)[:3]).astype("<i4").tobytes()
        self._apply("item_knn", neighbours=rows, weights=self.random.random(3).astype("<f4").tobytes())

    def _apply(self, table: str, **content: bytes) -> None:
        place = int(self.random.integers(ITEMS))
        self.step += 1
        self.services.tables.apply([Row(table=table, item_id=f"m{place}", row=place + 2, step=self.step, **content)])
        rows, vectors, held = self.services.tables.take_changed()
        self.services.index.upsert(rows[held], vectors[held])

    def _swap(self) -> None:
        self.services.host.swap(str(self.random.choice(self.versions)))


def counted(sample, how: str) -> float:
    return sample(_COUNTED, how=how)


@pytest.fixture
def sample():
    from prometheus_client import REGISTRY

    return lambda name, **labels: REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("seed", range(4))
def test_kept_states_change_no_list_bit_for_bit(services, publish_version, sample, seed):
    versions = [services.host.version, publish_version([0.5, 1.0, 2.0], step=2)]
    stream = Stream(services, versions, seed)
    without = replace(services, limits=replace(services.limits, session_states_bytes=0))
    kept, plain = RankingPath(services), RankingPath(without)
    before = counted(sample, "kept")
    for _ in range(100):
        stream.happen()
        ask = stream.ask()
        ours, theirs = kept.rank(ask, stream.now_ms), plain.rank(ask, stream.now_ms)
        assert ours.model_version == theirs.model_version and ours.item_ids == theirs.item_ids
        assert np.array_equal(ours.scores, theirs.scores)
        assert np.array_equal(ours.source_scores, theirs.source_scores)
    assert counted(sample, "kept") > before, "nothing was kept, so nothing was tested"


def test_the_same_request_is_encoded_once_and_a_new_event_encodes_anew(services, event, sample):
    path, ask = RankingPath(services), RecommendAsk(user_id="u", count=5)
    services.store.apply(event("m4"), NOW_MS)
    start = counted(sample, "computed")
    for _ in range(3):
        path.rank(ask, NOW_MS)
    assert counted(sample, "computed") == start + 1
    services.store.apply(event("m0", event_id="e2"), NOW_MS)
    path.rank(ask, NOW_MS)
    assert counted(sample, "computed") == start + 2


def test_rows_that_come_while_a_list_is_made_are_in_all_of_it_or_in_none(services, event):
    """A history read from one batch of rows is never ranked with candidates from the next."""
    services.store.apply(event("m4"), NOW_MS)
    path, ask, model = RankingPath(services), RecommendAsk(user_id="u", count=50), services.host.current

    class Interrupted:
        """The encoder, during whose first run a batch of rows is written."""

        runs = 0

        def run(self, feeds):
            self.runs += 1
            if self.runs == 1:
                values = np.full(DIMENSION, 3, "<f4").tobytes()
                services.tables.apply(
                    [
                        Row(table="item_vectors", item_id=f"m{k}", row=k + 2, step=50, values=values)
                        for k in range(ITEMS)
                    ]
                )
            return model.sessions["encode"].run(feeds)

    encoder = Interrupted()
    sessions = {**model.sessions, "encode": encoder}
    services.host.current = LoadedModel(manifest=model.manifest, sessions=sessions, loaded_ms=model.loaded_ms)
    torn = path.rank(ask, NOW_MS)
    services.host.current = model
    assert encoder.runs == 2
    assert np.array_equal(torn.scores, RankingPath(services).rank(ask, NOW_MS).scores)


def test_a_version_without_halves_answers_as_before(services, event):
    """The registry may hold versions from before the ranker was published in halves."""
    services.store.apply(event("m4"), NOW_MS)
    ask = RecommendAsk(user_id="u", count=50)
    halves = RankingPath(services).rank(ask, NOW_MS)
    model = services.host.current
    whole = {name: graph for name, graph in model.sessions.items() if name != "score"}
    services.host.current = LoadedModel(manifest=model.manifest, sessions=whole, loaded_ms=model.loaded_ms)
    answered = RankingPath(services).rank(ask, NOW_MS)
    assert answered.item_ids == halves.item_ids
    np.testing.assert_allclose(answered.scores, halves.scores, atol=1e-5)


def test_memory_is_bounded_and_what_was_asked_last_stays():
    states = EncodedSessions(20_000)
    for number in range(100):
        states.put((number, 0, b""), {"user_vector": np.ones((1, 256), np.float32)})
        assert states.get((0, 0, b"")) is not None, "it is asked for again and again"
    assert 5 < len(states) < 20 and states.get((1, 0, b"")) is None and states.get((99, 0, b"")) is not None
    states.put((100, 0, b""), {"keys": np.ones((1, 10_000), np.float32)})
    assert len(states) == 0, "a state that is larger than all the room is not kept"
