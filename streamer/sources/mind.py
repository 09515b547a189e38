"""MIND: impressions of news with real negatives.

Each line of ``behaviors`` becomes an impression (the slate in its order) and one click for each clicked item, which
names its ``impression_id``; a click lies one second after the impression, the next one another second later. A user's
undated history comes first: an hour apart, ending a day before the stream begins, with surface ``history``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from streamer.events import Event
from streamer.sources.base import CatalogueEntry, item_event
from streamer.sources.location import locate

_HOUR_MS = 3_600_000
_FOLDERS = ("mind-sample", "mind", "MINDsmall_train", "MINDlarge_train")


@dataclass(frozen=True)
class MindSource:
    """Impressions, clicks and histories of MIND."""

    behaviors: pd.DataFrame  # id, user, history, slate, time_ms; in order of time, index is the line
    news: pd.DataFrame  # id, category, subcategory, title
    limit: int | None = None
    name: str = "mind"
    description: str = "MIND: news impressions with clicks and real negatives, categories, titles (Microsoft)"
    simulated: bool = False

    @cached_property
    def event_count(self) -> int:
        """Histories, impressions and clicks."""
        clicks = int(self.behaviors.slate.str.count(r"-1(?!\d)").sum())
        everything = clicks + len(self.behaviors) + sum(len(items) for _, items in self._histories())
        return everything if self.limit is None else min(self.limit, everything)

    def items(self) -> Iterator[Event]:
        """Everything that is shown or was read, each from its first impression on (histories: from the start).

        Of what the news file does not describe only the id is known.
        """
        read = dict.fromkeys((item for _, items in self._histories() for item in items), self._start_ms)
        known_ms = self._first_shown_ms() | read
        described = {row.id: row for row in self.news.itertuples()}
        for item_id, time_ms in sorted(known_ms.items(), key=lambda pair: pair[1]):
            yield item_event(self.name, _entry(item_id, described.get(item_id)), time_ms)

    def events(self) -> Iterator[Event]:
        """Histories first, then impressions and clicks in order of time."""
        return islice(self._every_event(), self.limit)

    def _every_event(self) -> Iterator[Event]:
        yield from sorted(self._history_events(), key=lambda event: event.event_time_ms)
        pending: list[Event] = []
        for row in self.behaviors.itertuples():
            due = [event for event in pending if event.event_time_ms <= row.time_ms]
            pending = [event for event in pending if event.event_time_ms > row.time_ms]
            yield from due
            impression, clicks = _impression(self.name, row)
            yield impression
            pending = sorted(pending + clicks, key=lambda event: event.event_time_ms)
        yield from pending

    def _history_events(self) -> Iterator[Event]:
        last_ms = self._first_impression_ms - 24 * _HOUR_MS
        for user_id, items in self._histories():
            for index, item_id in enumerate(items):
                yield Event(
                    event_id=f"{self.name}:history:{user_id}:{index}",
                    type="interaction",
                    event_time_ms=last_ms - (len(items) - 1 - index) * _HOUR_MS,
                    user_id=user_id,
                    item_id=item_id,
                    action="click",
                    surface="history",
                    extra={"undated": True},
                )

    def _histories(self) -> Iterator[tuple[str, list[str]]]:
        first = self.behaviors.drop_duplicates("user")
        for user_id, history in zip(first.user, first.history, strict=True):
            yield user_id, history.split()

    def _first_shown_ms(self) -> dict[str, int]:
        shown: dict[str, int] = {}
        for slate, time_ms in zip(self.behaviors.slate, self.behaviors.time_ms, strict=True):
            for candidate in slate.split():
                shown.setdefault(candidate.partition("-")[0], time_ms)
        return shown

    @property
    def _first_impression_ms(self) -> int:
        return int(self.behaviors.time_ms.iloc[0])

    @cached_property
    def _start_ms(self) -> int:
        longest = max((len(items) for _, items in self._histories()), default=0)
        return self._first_impression_ms - (24 + max(longest - 1, 0)) * _HOUR_MS


def _entry(item_id: str, row: Any) -> CatalogueEntry:
    if row is None:
        return CatalogueEntry(item_id=item_id)
    return CatalogueEntry(item_id=item_id, title=row.title, categories=[row.category, row.subcategory])


def _impression(name: str, row: Any) -> tuple[Event, list[Event]]:
    candidates = [candidate.partition("-") for candidate in row.slate.split()]
    impression_id = f"{name}:{row.id}"
    impression = Event(
        event_id=impression_id,
        type="impression",
        event_time_ms=row.time_ms,
        user_id=row.user,
        impression_id=impression_id,
        surface="home",
        items=list(dict.fromkeys(item_id for item_id, _, _ in candidates)),
    )
    clicked = dict.fromkeys(item_id for item_id, _, label in candidates if label == "1")
    clicks = [_click(impression, item_id, number) for number, item_id in enumerate(clicked, start=1)]
    return impression, clicks


def _click(impression: Event, item_id: str, number: int) -> Event:
    return Event(
        event_id=f"{impression.event_id}:click:{item_id}",
        type="interaction",
        event_time_ms=impression.event_time_ms + number * 1_000,
        user_id=impression.user_id,
        item_id=item_id,
        action="click",
        surface="home",
        impression_id=impression.impression_id,
    )


def open_mind(data_dir: Path | None, limit: int | None = None) -> MindSource:
    """Read ``behaviors`` and ``news``, as published or gzipped."""
    choices = [f"{folder}/behaviors.tsv{suffix}" for folder in _FOLDERS for suffix in ("", ".gz")]
    path = locate("mind", data_dir, *choices)
    behaviors = pd.read_csv(path, sep="\t", header=None, names=["id", "user", "time", "history", "slate"], quoting=3)
    behaviors["history"] = behaviors.history.fillna("")
    moments = pd.to_datetime(behaviors.time, format="%m/%d/%Y %I:%M:%S %p", utc=True)
    behaviors["time_ms"] = moments.astype("datetime64[ms, UTC]").astype("int64")
    columns = ["id", "category", "subcategory", "title"]
    news = pd.read_csv(
        path.with_name(path.name.replace("behaviors", "news")),
        sep="\t",
        header=None,
        usecols=range(4),
        names=columns,
        quoting=3,
        dtype=str,
        keep_default_na=False,
    )
    return MindSource(behaviors=behaviors.sort_values("time_ms", kind="stable"), news=news, limit=limit)
