from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.interactions import Interactions
from online_models.evaluation.protocols import Plan, run_prequential
from online_models.evaluation.protocols.examples import log_of
from online_models.evaluation.protocols.impressions import Impressions
from online_models.evaluation.protocols.ranking import MISS
from tests.online_models.evaluation.protocols.spies import SpyMaker

# two users by turns; the last event repeats what user 1 took first
LOG = log_of([(0, 2), (1, 2), (0, 3), (1, 3), (0, 4), (1, 4), (0, 5), (1, 5), (0, 6), (1, 2)])
RANKS = [4, 4, 3, 3, 2, 2, 1, MISS]


@pytest.mark.parametrize("micro_batch", [1, 3, 64])
def test_every_event_after_the_warm_up_is_ranked_whatever_the_micro_batch(micro_batch: int) -> None:
    result = run_prequential(SpyMaker(micro_batch), LOG)
    assert result.events.tolist() == list(range(2, 10))
    assert result.ranks.tolist() == RANKS
    assert result.metrics["hr@5"] == 7 / 8
    assert result.metrics["mrr@10"] == pytest.approx((2 / 4 + 2 / 3 + 2 / 2 + 1) / 8)
    assert result.metrics["tests"] == 8


def test_a_micro_batch_is_tested_before_any_of_it_is_learnt_but_its_events_are_history() -> None:
    make = SpyMaker(micro_batch=3)
    run_prequential(make, LOG)
    calls = make.made[0].calls
    assert [(call[0], call[1]) for call in calls] == [
        ("score", [0]),  # only event 2 of the first micro-batch lies after the warm-up
        ("learn", [2, 2, 3]),
        ("score", [1, 0, 1]),
        ("learn", [3, 4, 4]),
        ("score", [0, 1, 0]),
        ("learn", [5, 5, 6]),
        ("score", [1]),
        ("learn", [2]),
    ]
    # event 5 of user 1 sees event 3, which lies before it in the same micro-batch
    assert calls[2][2] == calls[3][2] == [[2], [2, 3], [2, 3]]


def test_repeats_keep_the_repeated_item_in_the_list() -> None:
    assert run_prequential(SpyMaker(), LOG, plan=Plan(repeats=True)).ranks.tolist() == [4, 4, 3, 3, 2, 2, 1, 5]


def test_ties_count_against_the_model() -> None:
    class Flat(SpyMaker):
        def __call__(self, setting):  # type: ignore[no-untyped-def]
            made = super().__call__(setting)
            made.score = lambda histories: np.zeros((len(histories), setting.rows), np.float32)
            return made

    # all unseen items tie, so the target is the last of them
    assert run_prequential(Flat(), LOG).ranks.tolist() == [4, 4, 3, 3, 2, 2, 1, MISS]
    assert run_prequential(Flat(), LOG, plan=Plan(repeats=True)).ranks.tolist() == [5] * 8


def test_undated_events_are_learnt_and_never_asked_about() -> None:
    tested = np.array([True, True, False, False, True, True, True, True, True, True])
    make = SpyMaker()
    result = run_prequential(make, log_of(_pairs(LOG), tested=tested))
    # a fifth of eight dated events is one: the warm-up ends after event 0
    assert result.events.tolist() == [1, 4, 5, 6, 7, 8, 9]
    assert sum(len(call[1]) for call in make.made[0].calls if call[0] == "learn") == 10


def test_untied_events_bear_another_time_than_the_users_previous_one() -> None:
    times = [0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0]
    metrics = run_prequential(SpyMaker(), log_of(_pairs(LOG), times_seconds=times)).metrics
    # of events 2..9 only 2 and 8 bear the time of their user's previous event
    assert metrics["tests_untied"] == 6
    assert metrics["mrr@10_untied"] == pytest.approx((1 / 4 + 1 / 3 + 1 / 3 + 1 / 2 + 1 / 2) / 6)


def test_parts_and_curve_cover_all_tests() -> None:
    result = run_prequential(SpyMaker(), LOG)
    sessions = ("session_0", "session_1", "session_2_5", "session_over_5")
    assert sum(result.metrics[f"tests_{name}"] for name in sessions) == 8
    assert result.metrics["tests_new_users"] == 8
    assert len(result.curve["hr@10"]) == 8
    assert result.curve["share_of_stream"][-1] == 1.0
    assert np.mean(result.curve["hr@10"]) == pytest.approx(result.metrics["hr@10"])


def test_static_fits_the_warm_up_alone_and_never_learns() -> None:
    make = SpyMaker()
    result = run_prequential(make, LOG, plan=Plan(refit="static"))
    assert [call[0] for call in make.made[0].calls] == ["fit", "score"]
    assert make.made[0].calls[0][1] == [(0, 2), (1, 2)]
    # the histories stay fresh: only the model is old
    assert make.made[0].calls[1][2][-1] == [2, 3, 4, 5]
    assert result.ranks.tolist() == RANKS


def test_every_tenth_fits_anew_on_all_that_came_before() -> None:
    make = SpyMaker()
    run_prequential(make, LOG, plan=Plan(refit="every-10"))
    fits = [spy.calls[0][1] for spy in make.made]
    assert [len(fit) for fit in fits] == [2, 3, 4, 5, 6, 7, 8, 9]


def test_validation_walks_the_warm_up_alone() -> None:
    make = SpyMaker()
    result = run_prequential(make, LOG, plan=Plan(warm_up=0.4, on="validation"))
    assert result.events.tolist() == [2, 3]
    assert sum(len(call[1]) for call in make.made[0].calls if call[0] == "learn") == 4


def test_a_walk_that_runs_out_of_time_reports_what_it_tested() -> None:
    result = run_prequential(SpyMaker(), LOG, plan=Plan(stop_after_seconds=0.0))
    assert len(result.events) == 0
    assert np.isnan(result.metrics["hr@10"])


def test_a_warm_up_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="give a share between 0 and 1"):
        Plan(warm_up=1.0)


def test_slates_are_scored_before_the_events_that_follow_them() -> None:
    slates = Impressions(
        offsets=np.array([0, 2, 5]),
        items=np.array([2, 3, 4, 5, 6]),
        taken=np.array([False, True, True, False, False]),
        users=np.array([0, 1]),
        times_seconds=np.array([4.5, 8.0]),
    )
    make = SpyMaker()
    metrics = run_prequential(make, LOG, impressions=slates).metrics
    # 3 is preferred to 2, but 4 to neither 5 nor 6
    assert metrics["slate_auc"] == 0.5
    assert metrics["slate_ndcg@10"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["impressions"] == 2
    calls = [call for call in make.made[0].calls if call[0] == "score"]
    assert ("score", [0], [[2, 3, 4]]) in calls  # at 4.5 user 0 has taken what came before event 5
    assert ("score", [1], [[2, 3, 4, 5]]) in calls


def _pairs(log: Interactions) -> list[tuple[int, int]]:
    return list(zip(log.users.tolist(), log.items.tolist(), strict=True))
