"""Offline evaluation: fit once on a part of the log, then rank the whole catalogue for the events held out."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np

from online_models.evaluation.interactions import Interactions, Rows
from online_models.evaluation.protocols.measures import (
    CUTOFFS,
    LIST_LENGTH,
    Progress,
    Result,
    debiased_hit_rate,
    list_measures,
    make_recommender,
    no_progress,
    ranking_means,
)
from online_models.evaluation.protocols.ranking import Seen, catalogue_ranks, top_lists
from online_models.evaluation.protocols.timeline import Timeline
from online_models.recommenders import Factory, Recommender
from online_models.sequence_fitting import Fitted

Part = Literal["test", "validation"]
_SCORES_AT_ONCE = 4_000_000  # of a chunk, 16 MB


@dataclass(frozen=True, kw_only=True)
class Split:
    """A log, which of its events are learnt, and which are asked about with all that their user did before."""

    log: Interactions
    train: Rows  # events
    validation: Rows  # events: given to ``fit`` for stopping and for settings
    tests: Rows  # events
    repeats: bool = False  # whether what a user has taken may be in their list


def run_split(
    make: Factory,
    split: Split,
    *,
    seed: int = 0,
    fit_minutes: float | None = None,
    progress: Progress = no_progress,
) -> Result:
    """Fit a recommender on a split's training events and rank the catalogue for its tests.

    Parameters
    ----------
    make
        Builds the recommender.
    split
        Made by :func:`leave_one_out`, :func:`time_split` or :func:`session_split`.
    seed
        Handed to ``make``.
    fit_minutes
        Handed to ``make``: who learns epoch by epoch ends its fit then. The metrics ``fit_epochs`` and
        ``fit_cut_short`` (0 or 1) say of such a one what came of it.
    progress
        Told how many more tests are done.
    """
    recommender = make_recommender(make, split.log, seed, split.repeats, fit_minutes)
    started = perf_counter()
    recommender.fit(split.log.take(split.train), split.log.take(split.validation))
    fitted = perf_counter()
    ranks, lists = _rank(recommender, split, progress)
    score_seconds = perf_counter() - fitted
    return Result(
        metrics=_metrics(split, ranks, lists)
        | {
            "fit_seconds": fitted - started,
            "score_seconds": score_seconds,
            "events_per_second": len(split.train) / max(fitted - started, 1e-9),
            "lists_per_second": len(ranks) / max(score_seconds, 1e-9),
            "tests": float(len(ranks)),
        }
        | _fit_measures(recommender),
        events=split.tests,
        ranks=ranks,
    )


def _fit_measures(recommender: Recommender) -> dict[str, float]:
    fitted = getattr(recommender, "fitted", None)
    if not isinstance(fitted, Fitted):
        return {}
    return {"fit_epochs": float(fitted.epochs), "fit_cut_short": float(fitted.out_of_time)}


def _rank(recommender: Recommender, split: Split, progress: Progress) -> tuple[Rows, Rows]:
    """Ranks [T] and lists [T, 10]."""
    timeline = Timeline(split.log)
    ranks = np.empty(len(split.tests), np.int64)
    lists = np.empty((len(split.tests), LIST_LENGTH), np.int64)
    step = int(np.clip(_SCORES_AT_ONCE // split.log.rows, 1, 512))
    for start in range(0, len(ranks), step):
        events = split.tests[start : start + step]
        scores = recommender.score(timeline.before(events))  # [B, R]
        seen = Seen.nothing() if split.repeats else timeline.seen_before(events)
        ranks[start : start + step] = catalogue_ranks(scores, split.log.items[events], seen)
        lists[start : start + step] = top_lists(scores, seen, LIST_LENGTH)
        progress(len(events))
    return ranks, lists


def _metrics(split: Split, ranks: Rows, lists: Rows) -> dict[str, float]:
    counts = np.bincount(split.log.items[split.train], minlength=split.log.rows)  # [R]
    targets = split.log.items[split.tests]
    debiased = {f"debiased_hr@{k}": debiased_hit_rate(ranks, counts[targets], k) for k in CUTOFFS}
    shown = list_measures(lists, counts[lists], split.log.rows, len(split.train))
    return ranking_means(ranks) | debiased | shown
