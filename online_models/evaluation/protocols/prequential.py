"""Prequential: every event of the stream is first a test and then a lesson."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions, Rows
from online_models.evaluation.protocols.impressions import Impressions, slate_measures
from online_models.evaluation.protocols.measures import (
    CUTOFFS,
    LIST_LENGTH,
    Mask,
    Occurrences,
    Progress,
    Result,
    debiased_hit_rate,
    list_measures,
    make_recommender,
    no_progress,
    ranking_means,
    stability,
)
from online_models.evaluation.protocols.ranking import Seen, catalogue_ranks, top_lists
from online_models.evaluation.protocols.slices import StreamFacts, curve_over_time, part_means
from online_models.evaluation.protocols.split import Part
from online_models.evaluation.protocols.timeline import Timeline
from online_models.recommenders import Factory, Recommender

Refit = Literal["online", "static", "every-10"]
WARM_UP = 0.2
_LISTS = 5_000  # about so many lists are kept, all those of some users, for coverage and stability
_SCORES_AT_ONCE = 4_000_000
_OFFLINE_BATCH = 256
_REFITS = 10


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a stream is walked."""

    warm_up: float = WARM_UP  # share of the events that are learnt before any counts
    refit: Refit = "online"  # "static": fitted on the warm-up alone; "every-10": fitted anew every 10 % of the stream
    repeats: bool = False  # whether what a user has taken may be in their list
    on: Part = "test"  # "validation": walk the warm-up alone, its second half counted
    stop_after_seconds: float = float("inf")  # the walk ends then, and what was tested is reported
    fit_minutes: float | None = None  # of each fit of those who learn epoch by epoch

    def __post_init__(self) -> None:
        """Check the share.

        Raises
        ------
        ValueError
            ``warm_up`` is no share.
        """
        if not 0 < self.warm_up < 1:
            raise ValueError(f"warm_up is {self.warm_up}; give a share between 0 and 1, such as 0.2")

    def stream(self, interactions: Interactions) -> tuple[Interactions, int]:
        """Give the events that are walked, and the number of the first that counts."""
        first = _after_share(interactions, self.warm_up)
        if self.on == "test":
            return interactions, first
        part = interactions.take(slice(0, first))
        return part, _after_share(part, 0.5)


def run_prequential(
    make: Factory,
    interactions: Interactions,
    *,
    seed: int = 0,
    plan: Plan | None = None,
    impressions: Impressions | None = None,
    progress: Progress = no_progress,
) -> Result:
    """Walk the stream: score the full catalogue for each event, then learn it.

    A micro-batch is tested before any of its events is learnt; the history of an event still holds the user's events
    that lie before it in the same micro-batch, as a server that reads sessions at request time would have them.

    Parameters
    ----------
    make
        Builds the recommender.
    interactions
        The stream.
    seed
        Handed to ``make``.
    plan
        Warm-up, refits and the like; None for the usual ones.
    impressions
        Slates that were shown to users of the stream. Each that comes after the warm-up is scored right before the
        first event that is not earlier than it.
    progress
        Told how many more events are done.
    """
    plan = plan or Plan()
    log, first = plan.stream(interactions)
    walk = _Walk(log, first, plan, impressions, progress)
    started = perf_counter()
    if plan.refit == "online":
        done = walk.online(make_recommender(make, log, seed, plan.repeats))
    else:
        done = walk.refitted(make, seed)
    return walk.result(done, perf_counter() - started)


class _Walk:
    """One pass over the stream, with its ranks and clocks."""

    def __init__(
        self, log: Interactions, first: int, plan: Plan, impressions: Impressions | None, progress: Progress
    ) -> None:
        self.log, self.first, self.plan, self.progress = log, first, plan, progress
        self.timeline = Timeline(log)
        self.asked: Mask = log.tested & (np.arange(len(log)) >= first)  # [E]
        self.sampled = _sampled(log, self.asked)  # [E]
        self.numbers = np.arange(len(log))
        self.ranks = np.zeros(len(log), np.int64)
        self.lists: list[Rows] = []
        self.slates = None if impressions is None else _Slates(impressions, log, self.timeline)
        self.score_seconds = self.learn_seconds = self.fit_seconds = 0.0
        self.stop = perf_counter() + plan.stop_after_seconds

    def online(self, recommender: Recommender) -> int:
        """Test and learn in micro-batches; return how many events were walked."""
        for start, stop in _steps(0, len(self.log), recommender.micro_batch):
            part = slice(start, stop)
            histories, lesson = self.timeline.before(part), self.log.take(part)
            asked = self.asked[part]
            if asked.all():
                self._test(recommender, part, histories)
            elif asked.any():
                chosen = np.flatnonzero(asked)
                self._test(recommender, start + chosen, histories.take(chosen))
            if self.slates is not None and start >= self.first:
                self.slates.ask(recommender, start, stop)
            began = perf_counter()
            recommender.learn(lesson, histories)
            ended = perf_counter()
            self.learn_seconds += ended - began
            self.progress(stop - start)
            if ended > self.stop:
                return stop
        return len(self.log)

    def refitted(self, make: Factory, seed: int) -> int:
        """Fit at the end of the warm-up, and again where the plan says so; never learn in between."""
        self.progress(self.first)
        for begin, end in pairwise(self._refit_points()):
            began = perf_counter()
            recommender = make_recommender(make, self.log, seed, self.plan.repeats, self.plan.fit_minutes)
            recommender.fit(self.log.take(slice(0, begin)))
            self.fit_seconds += perf_counter() - began
            for start, stop in _steps(begin, end, _OFFLINE_BATCH):
                events = start + np.flatnonzero(self.asked[start:stop])
                if len(events):
                    self._test(recommender, events, self.timeline.before(events))
                if self.slates is not None:
                    self.slates.ask(recommender, start, stop)
                self.progress(stop - start)
                if perf_counter() > self.stop:
                    return stop
        return len(self.log)

    def _refit_points(self) -> list[int]:
        size = len(self.log)
        inner = [size * step // _REFITS for step in range(1, _REFITS)] if self.plan.refit == "every-10" else []
        return [self.first, *(point for point in inner if point > self.first), size]

    def _test(self, recommender: Recommender, events: slice | Rows, histories: Histories) -> None:
        step = max(1, _SCORES_AT_ONCE // self.log.rows)
        if len(histories) > step:
            every = self.numbers[events]
            for start, stop in _steps(0, len(every), step):
                self._test(recommender, every[start:stop], histories.take(np.arange(start, stop)))
            return
        began = perf_counter()
        scores = recommender.score(histories)  # [B, R]
        self.score_seconds += perf_counter() - began
        seen = Seen.nothing() if self.plan.repeats else self.timeline.seen_before(events)
        self.ranks[events] = catalogue_ranks(scores, self.log.items[events], seen)
        if self.sampled[events].any():
            self._keep_lists(scores, self.numbers[events])

    def _keep_lists(self, scores: NDArray[np.float32], events: Rows) -> None:
        kept = self.sampled[events]
        seen = Seen.nothing() if self.plan.repeats else self.timeline.seen_before(events[kept])
        self.lists.append(top_lists(scores[kept], seen, LIST_LENGTH))

    def result(self, done: int, seconds: float) -> Result:
        """Turn ranks, lists and clocks into metrics."""
        facts = StreamFacts.of(self.log)
        events = np.flatnonzero(self.asked[:done])
        ranks = self.ranks[events]
        metrics = ranking_means(ranks) | part_means(facts, events, ranks)
        metrics |= {f"debiased_hr@{k}": debiased_hit_rate(ranks, facts.item_events[events], k) for k in CUTOFFS}
        metrics |= self._list_metrics(done)
        metrics |= {
            "score_seconds": self.score_seconds,
            "learn_seconds": self.learn_seconds,
            "fit_seconds": self.fit_seconds,
            "harness_seconds": seconds - self.score_seconds - self.learn_seconds - self.fit_seconds,
            "events_per_second": done / max(seconds, 1e-9),
            "tests": float(len(events)),
        }
        if self.slates is not None:
            metrics |= self.slates.measures()
        curve = curve_over_time(self.log, facts, events, ranks) if len(events) else {}
        return Result(metrics=metrics, events=events, ranks=ranks, curve=curve)

    def _list_metrics(self, done: int) -> dict[str, float]:
        if not self.lists:
            return {}
        lists = np.concatenate(self.lists)  # [S, 10]
        events = np.flatnonzero(self.sampled[:done])  # [S]
        counts = Occurrences(self.log.items).before(lists.ravel(), np.repeat(events, LIST_LENGTH)).reshape(lists.shape)
        values = list_measures(lists, counts, self.log.rows, events.astype(np.float64))
        return values | {"stability": stability(lists, self.log.users[events]), "lists": float(len(lists))}


class _Slates:
    """Impressions of a walk, each scored where it lies in the stream."""

    def __init__(self, impressions: Impressions, log: Interactions, timeline: Timeline) -> None:
        self._impressions, self._timeline = impressions, timeline
        self._places = np.searchsorted(log.times_seconds, impressions.times_seconds)  # [I] first event not earlier
        self._kept: list[int] = []
        self._scores: list[NDArray[np.float64]] = []

    def ask(self, recommender: Recommender, start: int, stop: int) -> None:
        """Score the slates that lie before an event of ``start .. stop``."""
        first, last = np.searchsorted(self._places, (start, stop))
        given = self._impressions
        for begin, end in _steps(int(first), int(last), _OFFLINE_BATCH):
            users, times = given.users[begin:end], given.times_seconds[begin:end]
            scores = recommender.score(self._timeline.at(users, self._places[begin:end], times))  # [B, R]
            for row, slate in enumerate(range(begin, end)):
                self._kept.append(slate)
                items = given.items[given.offsets[slate] : given.offsets[slate + 1]]
                self._scores.append(scores[row, items].astype(np.float64))

    def measures(self) -> dict[str, float]:
        """Turn the scores into metrics."""
        return slate_measures(self._impressions, np.array(self._kept, np.int64), self._scores)


def _steps(begin: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, end)) for start in range(begin, end, size))


def _after_share(log: Interactions, share: float) -> int:
    """Find the first event after a share of those that may be tested."""
    testable = np.flatnonzero(log.tested)
    return int(testable[int(len(testable) * share)]) if len(testable) else len(log)


def _sampled(log: Interactions, asked: Mask) -> Mask:
    """Draw users by chance until their tested events are about 5,000; True at those events. [E]."""
    counts = np.bincount(log.users[asked], minlength=log.user_count)
    order = np.random.default_rng(0).permutation(log.user_count)
    before = np.cumsum(counts[order]) - counts[order]
    chosen = np.zeros(log.user_count, bool)
    chosen[order[before < _LISTS]] = True
    result: Mask = asked & chosen[log.users]
    return result
