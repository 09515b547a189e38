from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.learner import seeded
from online_models.optim import LazyAdam
from online_models.sequence_fitting import Fitting, evaluate, fit_sequences
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.stochastic_length import short_length
from online_models.zoo.sasrec import SASRec

ROWS = 34


def rings(users: int = 60, length: int = 9) -> Interactions:
    begins = np.random.default_rng(1).integers(0, ROWS - 2, users)
    items = ((begins[:, None] + np.arange(length)) % (ROWS - 2) + 2).ravel()
    number = len(items)
    return Interactions(
        users=np.repeat(np.arange(users), length),
        items=items,
        times_seconds=np.tile(np.arange(length, dtype=np.float64), users),
        actions=np.ones(number, np.int64),
        values=np.full(number, np.nan, np.float32),
        tested=np.ones(number, bool),
        rows=ROWS,
        user_count=users,
    )


def make(rate: float = 1e-2) -> SequenceLearner:
    with seeded(5):
        ranker = SASRec(SASRec.Config(catalog_rows=ROWS, dimension=16, layers=1, dropout=0.1))
    return SequenceLearner(ranker, partial(LazyAdam, lr=rate), negatives=16)


def split() -> tuple[Interactions, Interactions]:
    log = rings()
    newest = log.times_seconds == log.times_seconds.max()
    return log.take(~newest), log.take(newest)


def test_it_learns_until_validation_is_ranked_well_and_keeps_the_best() -> None:
    train, validation = split()
    seen: list[dict[str, float]] = []
    settings = Fitting(epochs=30, batch_positions=64, patience=3, metric="hr@10")
    learner = make()
    fitted = fit_sequences(learner, train, validation=validation, settings=settings, progress=seen.append)
    assert fitted.best["hr@10"] > 0.9, "ten of 32 items would be .31 by chance"
    assert fitted.epochs == len(seen) < 30, "patience ends it"
    assert fitted.best == max(fitted.curve, key=lambda entry: entry["hr@10"])


def test_when_time_is_up_the_epoch_ends_and_what_it_learnt_is_judged() -> None:
    train, validation = split()
    settings = Fitting(epochs=30, batch_positions=64, minutes=1e-9, evaluate_every=10)
    fitted = fit_sequences(make(), train, validation=validation, settings=settings)
    assert fitted.out_of_time
    assert fitted.epochs == len(fitted.curve) == 1, "not an epoch to evaluate after, but the last one"


def test_all_epochs_are_run_without_validation() -> None:
    fitted = fit_sequences(make(), split()[0], settings=Fitting(epochs=2, batch_positions=64))
    assert fitted.epochs == 2 and fitted.curve == [] and fitted.best == {}


def test_no_time_is_one_epoch() -> None:
    assert fit_sequences(make(), split()[0], settings=Fitting(epochs=9, minutes=0.0)).epochs == 1


def test_same_seed_same_weights() -> None:
    one, two = make(), make()
    for learner in (one, two):
        fit_sequences(learner, split()[0], settings=Fitting(epochs=1, batch_positions=64))
    assert (one.ranker.items.weight == two.ranker.items.weight).all()


def test_what_was_seen_is_not_ranked_unless_it_may_repeat() -> None:
    histories, targets = Histories.of([[5, 6]]), np.array([7])

    def score(asked: Histories) -> np.ndarray:
        return np.array([[9, 9, 0, 0, 0, 8, 8, 5]], np.float32)

    assert evaluate(score, histories, targets, repeats=False)["mrr@10"] == 1.0
    assert evaluate(score, histories, targets, repeats=True)["mrr@10"] == 1 / 3


class Watched(SequenceLearner):
    """Notes the lengths of what it learns and of what it is asked about."""

    def __init__(self, ranker: SASRec) -> None:
        super().__init__(ranker, partial(LazyAdam, lr=1e-2), negatives=16)
        self.learnt: list[int] = []
        self.asked: list[int] = []

    def learn_sequences(self, *groups: Sequences) -> dict[str, float]:
        for group in groups:
            self.learnt += group.mask.sum(1).tolist()
        return super().learn_sequences(*groups)

    def score_all(self, histories: Histories, width: int) -> NDArray[np.float32]:
        self.asked += histories.lengths.tolist()
        return super().score_all(histories, width)


def watched(alpha: float) -> Watched:
    with seeded(5):
        learner = Watched(SASRec(SASRec.Config(catalog_rows=ROWS, dimension=8, layers=1, history=24)))
    log = rings(users=40, length=26)
    newest = log.times_seconds == log.times_seconds.max()
    settings = Fitting(epochs=3, batch_positions=256, history=24, length_alpha=alpha)
    fit_sequences(learner, log.take(~newest), validation=log.take(newest), settings=settings)
    return learner


def test_stochastic_length_cuts_what_is_learnt_and_not_what_is_evaluated() -> None:
    learner, short = watched(1.2), short_length(25, 1.2)
    assert set(learner.learnt) == {short, 25}, "cut by the law, or whole"
    assert learner.learnt.count(short) > learner.learnt.count(25) > 0
    assert set(learner.asked) == {25}


def test_without_it_windows_are_whole() -> None:
    assert set(watched(2.0).learnt) == {25}


def test_an_impossible_exponent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is 0.5; it must lie in \[1, 2\]"):
        watched(0.5)
