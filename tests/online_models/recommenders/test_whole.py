from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from online_models.evaluation.interactions import Histories
from online_models.evaluation.protocols import Plan, run_leave_one_out, run_prequential
from online_models.evaluation.protocols.examples import log_of
from online_models.recommenders import Setting
from online_models.recommenders.blend import Blend
from online_models.recommenders.counting import PairRecommender
from online_models.recommenders.pair_store import PairReading, PairRule
from online_models.recommenders.recency import PopularityColumns
from online_models.recommenders.sequential import SequenceRecommender
from online_models.recommenders.whole import RECOMMENDERS, Whole, reciprocal_places


def sources(setting: Setting) -> list:
    pairs = PairRecommender(setting.rows, PairRule(window=3), PairReading(last=2), PairReading(last=1))
    return [PopularityColumns(setting.rows), pairs]


def config(**options: object) -> Whole.Config:
    return Whole.Config(**{"candidates": 8, "step_events": 4, "replayed": 8, "stored": 64, **options})  # type: ignore[arg-type]


def walks(users: int = 12, length: int = 12, items: int = 20) -> object:
    """Every user walks up the catalogue from a place of their own."""
    draw = np.random.default_rng(0)
    starts = draw.integers(items, size=users)
    return log_of([(user, 2 + (int(starts[user]) + step) % items) for step in range(length) for user in range(users)])


def test_a_network_that_has_not_learnt_leaves_the_blend_as_it_is() -> None:
    log = walks()
    silent = config(step_events=10**9)
    whole = run_prequential(lambda setting: Whole(sources(setting), setting, silent), log)
    blend = run_prequential(lambda setting: Blend(sources(setting), setting, silent), log)
    np.testing.assert_array_equal(whole.ranks, blend.ranks)


def test_only_the_candidates_get_another_score() -> None:
    log = walks()
    setting = Setting(rows=log.rows, user_count=log.user_count)
    whole = Whole(sources(setting), setting, config(candidates=5))
    whole.fit(log)
    torch.nn.init.ones_(whole.network.out.weight)
    histories = Histories.of([[2, 3, 4]], now_seconds=[1e6])
    changed = np.flatnonzero(whole.score(histories)[0] != Blend.score(whole, histories)[0])
    assert len(changed) == 5 and not set(changed) & {0, 1, 2, 3, 4}, "neither reserved rows nor what was taken"


def test_many_histories_are_scored_as_each_is_alone() -> None:
    log = walks()
    whole = Whole(sources(Setting(rows=log.rows, user_count=70)), Setting(rows=log.rows, user_count=70), config())
    whole.fit(log)
    many = Histories.of([[2 + user % 20, 2 + (user + 1) % 20] for user in range(70)], now_seconds=[1e6] * 70)
    alone = np.concatenate([whole.score(many.take(np.array([user]))) for user in range(70)])
    np.testing.assert_allclose(whole.score(many), alone, atol=1e-4)


def test_candidates_are_chosen_without_the_target() -> None:
    log = walks()
    setting = Setting(rows=log.rows, user_count=log.user_count)
    found = []
    for target in (5, 15):
        whole = Whole(sources(setting), setting, config(candidates=4, step_events=10**9))
        whole.fit(log)
        asked = replace(log.take(slice(0, 1)), items=np.array([target]))
        whole.learn(asked, Histories.of([[2, 3, 4]], now_seconds=[1e6]))
        found.append(whole.store.newest(1))
    assert torch.equal(found[0].inputs, found[1].inputs) and torch.equal(found[0].rest, found[1].rest)
    assert found[0].targets.item() == 0 and found[1].targets.item() == -1


def test_asking_does_not_change_what_is_learnt() -> None:
    log = walks(users=6)
    results = []
    for ask_twice in (False, True):
        setting = Setting(rows=log.rows, user_count=log.user_count)
        whole = Whole(sources(setting), setting, config())
        history: dict[int, list[int]] = {}
        for place in range(len(log)):
            event = log.take(slice(place, place + 1))
            known = Histories.of([history.setdefault(int(event.users[0]), [])], now_seconds=[float(place)])
            for _ in range(2 * ask_twice):
                whole.score(known)
            whole.learn(event, known)
            history[int(event.users[0])].append(int(event.items[0]))
        results.append(whole.score(Histories.of([[2, 3]], now_seconds=[1e3])))
    np.testing.assert_array_equal(*results)


def test_it_is_fitted_on_a_log_too() -> None:
    result = run_leave_one_out(lambda setting: Whole(sources(setting), setting, config()), walks(users=40, length=8))
    assert result.metrics["hr@5"] > 0.9, "the next item up the catalogue"


def test_the_network_steps_while_the_stream_is_walked() -> None:
    log, made = walks(), []

    def make(setting: Setting) -> Whole:
        made.append(Whole(sources(setting), setting, config()))
        return made[-1]

    result = run_prequential(make, log, plan=Plan(warm_up=0.5))
    assert float(made[0].network.out.weight.detach().abs().sum()) > 0
    assert len(made[0].store) == 64 and result.metrics["hr@5"] > 0.5


def test_each_blend_by_name_reads_a_sequence_model_beside_what_counts() -> None:
    log = walks(users=6, length=6)
    setting = Setting(rows=log.rows, user_count=log.user_count, repeats=True, fit_minutes=0.02)
    for name, make in RECOMMENDERS.items():
        blend = make(setting)
        assert isinstance(blend, Blend) and blend.micro_batch == 1, name
        assert isinstance(blend.sources[-1].source, SequenceRecommender), name  # type: ignore[attr-defined]
        blend.learn(log.take(slice(0, 1)), Histories.of([[2, 3]], now_seconds=[1e6]))
        assert np.isfinite(blend.score(Histories.of([[2, 3], []], now_seconds=[1e6, 1e6]))[:, 2:]).all(), name


def test_places_by_hand() -> None:
    shares = np.array([[0.5, 0.0, 1.0, 0.1], [0.0, 0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(reciprocal_places(shares), [[1 / 2, 0, 1, 1 / 3], [0, 0, 0, 0]], rtol=1e-6)
