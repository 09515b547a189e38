"""Training on a whole log, epoch by epoch, until a later event of each user is ranked no better."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.bucketing import batches, by_user, sequences, windows
from online_models.evaluation.interactions import Histories, Interactions, Rows
from online_models.evaluation.metrics import RankingMetrics, ranks_of
from online_models.sequence_learner import SequenceLearner
from online_models.stochastic_length import shortened

Progress = Callable[[dict[str, float]], None]
Score = Callable[[Histories], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How long and in which portions. It ends at the first of ``epochs``, ``minutes`` and ``patience``.

    When the minutes are over the epoch under way ends too, and what it has learnt is still judged.
    """

    epochs: int = 100
    minutes: float = 60.0
    batch_positions: int = 2_048  # events encoded in a step
    history: int = 50  # events that a state is made of
    length_alpha: float = 2.0  # in [1, 2]: longer windows are cut by stochastic length; 2 keeps them whole
    patience: int = 10  # evaluations without a better one
    evaluate_every: int = 1  # epochs
    metric: str = "ndcg@10"
    validation_users: int = 5_000  # so many are ranked in an evaluation
    repeats: bool = False  # whether an item of the history may come next
    seed: int = 0


@dataclass(kw_only=True)
class Fitted:
    """What came of it: one entry of ``curve`` an evaluation (epoch, seconds, loss, hr@10, ndcg@10, …)."""

    epochs: int = 0
    seconds: float = 0.0
    out_of_time: bool = False
    best: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)


def fit_sequences(
    learner: SequenceLearner,
    interactions: Interactions,
    *,
    validation: Interactions | None = None,
    settings: Fitting | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Train on every event that has one before it; keep the weights that ranked the validation events best.

    Every epoch cuts long histories elsewhere and draws other batches, each of histories of almost one length. With
    ``length_alpha`` below 2 it also draws which events of a long window are learnt; evaluation reads all of them.

    Parameters
    ----------
    learner
        Continues from where it stands.
    interactions
        The log, in stream order.
    validation
        One later event of some users, which decides when to stop; without it all epochs are run.
    settings
        See :class:`Fitting`.
    progress
        Called after each epoch with what there is to show.
    """
    settings = settings or Fitting()
    histories, random = by_user(interactions), np.random.default_rng(settings.seed)
    fitted, started, best_state, since = Fitted(), time.perf_counter(), None, 0
    held_out = None if validation is None else _held_out(histories, validation, settings, random)
    for epoch in range(1, settings.epochs + 1):
        loss, fitted.out_of_time = _epoch(learner, histories, settings, random, started + 60 * settings.minutes)
        shown = {"epoch": float(epoch), "seconds": time.perf_counter() - started, "loss": loss}
        fitted.epochs = epoch
        if held_out is not None and (fitted.out_of_time or epoch % settings.evaluate_every == 0):
            shown |= evaluate(lambda asked: learner.score_all(asked, settings.history), *held_out, settings.repeats)
            fitted.curve.append(shown)
            since += 1
            if shown[settings.metric] > fitted.best.get(settings.metric, -1.0):
                fitted.best, best_state, since = shown, learner.state_dict(), 0
        if progress is not None:
            progress(shown)
        if since >= settings.patience or fitted.out_of_time:
            break
    if best_state is not None:
        learner.load_state_dict(best_state)
    fitted.seconds = time.perf_counter() - started
    return fitted


def evaluate(score: Score, histories: Histories, targets: Rows, repeats: bool) -> dict[str, float]:
    """Rank each target [B] in the whole catalogue after its history, without what the history holds."""
    metrics = RankingMetrics((10,))
    for first in range(0, len(histories), 512):
        places = np.arange(first, min(first + 512, len(histories)))
        asked = histories.take(places)
        scores = score(asked)  # [b, R]
        allowed = np.ones(scores.shape, bool)
        allowed[:, :2] = False
        if not repeats:
            allowed[np.repeat(np.arange(len(asked)), asked.lengths), asked.items] = False
        metrics.update(ranks_of(scores, targets[places], allowed))
    return metrics.means()


def _epoch(
    learner: SequenceLearner, histories: Histories, settings: Fitting, random: np.random.Generator, until: float
) -> tuple[float, bool]:
    """One pass; the mean loss of its steps, and whether the clock had passed ``until`` before its end."""
    cut = windows(histories, settings.history, int(random.integers(settings.history)))
    if settings.length_alpha != 2:
        draws = torch.Generator().manual_seed(int(random.integers(2**31)))
        cut = shortened(cut, settings.history + 1, settings.length_alpha, draws)
    losses: list[float] = []
    for batch in batches(cut.lengths, settings.batch_positions, random):
        plots: dict[str, Any] = learner.learn_sequences(sequences(cut.take(batch), settings.history + 1))
        losses.append(plots.get("loss", np.nan))
        if time.perf_counter() > until:
            break
    return float(np.nanmean(losses)) if losses else float("nan"), time.perf_counter() > until


def _held_out(
    histories: Histories, validation: Interactions, settings: Fitting, random: np.random.Generator
) -> tuple[Histories, Rows]:
    """Histories of the users who are asked about, and what they took next."""
    known = np.flatnonzero(np.isin(validation.users, histories.users))
    if len(known) > settings.validation_users:
        known = np.sort(random.permutation(known)[: settings.validation_users])
    asked = histories.take(np.searchsorted(histories.users, validation.users[known]))
    # asked when the held-out event happens, for who reads the time
    return replace(asked, now_seconds=validation.times_seconds[known]), validation.items[known]
