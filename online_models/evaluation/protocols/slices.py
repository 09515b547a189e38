"""Parts of a stream that are reported apart, and the curve over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Interactions, Rows
from online_models.evaluation.metrics import hit, ndcg
from online_models.evaluation.protocols.measures import CUTOFFS, Mask, Occurrences, ranking_means
from online_models.evaluation.protocols.sessions import SESSION_GAP_SECONDS
from online_models.evaluation.protocols.timeline import Timeline

NEW_ITEM_EVENTS = 10
NEW_USER_EVENTS = 5
TIME_SLICES = 10


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """What is known of each event of a stream before it happens. All [E]."""

    untied: Mask  # the user's previous event bears another time, or there is none
    in_session: Rows  # events of the user before it in the same session
    user_events: Rows  # events of the user before it
    item_events: Rows  # events on the same item before it

    @classmethod
    def of(cls, log: Interactions) -> StreamFacts:
        """Look a log over; events that are not tested have no date of their own, so they tie with nothing.

        Examples
        --------
        >>> from online_models.evaluation.protocols.examples import log_of
        >>> facts = StreamFacts.of(log_of([(0, 2), (0, 2), (0, 4)], times_seconds=[0., 0., 9.]))
        >>> facts.untied.tolist(), facts.in_session.tolist(), facts.item_events.tolist()
        ([True, False, True], [0, 1, 2], [0, 1, 0])
        """
        dated = np.flatnonzero(log.tested)
        part = log.take(dated)
        timeline = Timeline(part)
        previous = timeline.previous()
        untied, in_session = np.zeros(len(log), bool), np.zeros(len(log), np.int64)
        untied[dated] = (previous < 0) | (part.times_seconds[previous] != part.times_seconds)
        in_session[dated] = timeline.in_session(SESSION_GAP_SECONDS)
        return cls(
            untied=untied,
            in_session=in_session,
            user_events=Timeline(log).earlier,
            item_events=Occurrences(log.items).before(log.items, np.arange(len(log))),
        )

    def parts(self, events: Rows) -> dict[str, Mask]:
        """Which of the events belong to each part, by the suffix of its metrics. Each [T]."""
        session = self.in_session[events]
        return {
            "session_0": session == 0,
            "session_1": session == 1,
            "session_2_5": (session >= 2) & (session <= 5),
            "session_over_5": session > 5,
            "new_items": self.item_events[events] <= NEW_ITEM_EVENTS,
            "new_users": self.user_events[events] < NEW_USER_EVENTS,
        }


def part_means(facts: StreamFacts, events: Rows, ranks: Rows) -> dict[str, float]:
    """Metrics of every part at 10, of the untied events at every cut-off, and how many events each part has."""
    untied = facts.untied[events]  # [T]
    values = ranking_means(ranks[untied], CUTOFFS, "_untied") | {"tests_untied": float(untied.sum())}
    for name, mask in facts.parts(events).items():
        values |= ranking_means(ranks[mask], (10,), f"_{name}") | {f"tests_{name}": float(mask.sum())}
    return values


def curve_over_time(
    log: Interactions, facts: StreamFacts, events: Rows, ranks: Rows, slices: int = TIME_SLICES
) -> dict[str, list[float]]:
    """Metrics in slices with equally many tested events: a list of ``slices`` numbers each.

    ``share_of_stream`` and ``until_seconds`` say where each slice ends.
    """
    values: dict[str, list[float]] = {name: [] for name in ("hr@10", "ndcg@10", "hr@10_untied", "ndcg@10_untied")}
    values |= {"share_of_stream": [], "until_seconds": []}
    for part in np.array_split(np.arange(len(events)), min(slices, len(events))):
        untied = part[facts.untied[events[part]]]
        for suffix, chosen in (("", part), ("_untied", untied)):
            values[f"hr@10{suffix}"].append(_mean(hit(ranks[chosen], 10)))
            values[f"ndcg@10{suffix}"].append(_mean(ndcg(ranks[chosen], 10)))
        values["share_of_stream"].append((int(events[part[-1]]) + 1) / len(log))
        values["until_seconds"].append(float(log.times_seconds[events[part[-1]]]))
    return values


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
