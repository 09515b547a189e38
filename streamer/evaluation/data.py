"""Data sets and event files as logs of interactions.

>>> dataset = load("simulator", None, limit=50)
>>> dataset.log.rows == len(dataset.item_ids) and len(dataset.log) > 0
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from online_models.evaluation.interactions import Interactions, Rows
from online_models.evaluation.protocols.impressions import Impressions
from online_models.vocabulary import action_row
from streamer.errors import SourceError
from streamer.events import Event
from streamer.sources import NAMES as STREAMS
from streamer.sources import ColumnMap, open_source

FIRST_ITEM = 2
IGNORED_ACTIONS = frozenset({"skip"})  # what a user turned down is no target and no history
# "absolute": seconds since 1970; "relative": seconds since each user's own first event; "order": only the order is real
Clock = Literal["absolute", "relative", "order"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A log with what is to be known of it."""

    name: str
    description: str
    log: Interactions
    item_ids: list[str]  # by row; rows 0 and 1 are empty
    clock: Clock = "absolute"
    cases_given: bool = False  # users are sessions and the tested events are the published test cases
    impressions: Impressions | None = None
    simulated: bool = False


def load(
    name_or_path: str, data_dir: Path | None, limit: int | None = None, columns: ColumnMap | None = None
) -> Dataset:
    """Read a known data set, an event file or the simulator.

    Parameters
    ----------
    name_or_path
        A name (:func:`names`) or the path of an event file.
    data_dir
        Folder with data sets already on disk.
    limit
        At most so many events, the earliest ones.
    columns
        How columns of a file become fields.

    Raises
    ------
    SourceError
        Where there is no such data set or file, it is not on this machine, or it holds no interaction.
    """
    from streamer.evaluation import published

    if name_or_path in published.LOADERS:
        return published.LOADERS[name_or_path](data_dir, limit)
    if name_or_path not in STREAMS and not Path(name_or_path).exists():
        raise SourceError(
            f"there is no data set and no file called {name_or_path!r}; known data sets: {', '.join(names())}"
        )
    source = open_source(name_or_path, data_dir, limit, columns)
    return of_events(source.name, source.description, source.events(), source.items(), simulated=source.simulated)


def names() -> list[str]:
    """Names of the data sets that :func:`load` knows."""
    from streamer.evaluation.published import LOADERS

    return list(dict.fromkeys([*STREAMS, *LOADERS]))


def of_events(
    name: str, description: str, events: Iterable[Event], items: Iterable[Event] = (), *, simulated: bool = False
) -> Dataset:
    """Make a log of events in stream order; the catalogue is every item that somebody took or was shown.

    Raises
    ------
    SourceError
        Where no interaction is among the events.
    """
    taken, slates = _sorted_out(events)
    if not taken:
        raise SourceError(
            f"{name} holds no interaction with another action than {', '.join(IGNORED_ACTIONS)}; "
            "there is nothing to evaluate on"
        )
    shown = (item for slate in slates for item in slate.items or ())
    table = Ids([event.user_id or "" for event in taken], [event.item_id or "" for event in taken], shown)
    log = Interactions(
        users=table.users,
        items=table.items,
        times_seconds=np.array([event.event_time_ms for event in taken], np.float64) / 1_000,
        actions=np.array([action_row(event.action) for event in taken], np.int64),
        values=np.array([np.nan if event.value is None else event.value for event in taken], np.float32),
        tested=np.ones(len(taken), bool),
        rows=len(table.item_ids),
        user_count=table.user_count,
        name=name,
        **catalogue_columns(table.item_ids, items),
    )
    return Dataset(
        name=name,
        description=description,
        log=log,
        item_ids=table.item_ids,
        impressions=_impressions(slates, taken, table),
        simulated=simulated,
    )


class Ids:
    """Numbers for ids: users from 0, items from row 2, in the order of the ids so that a number tells nothing."""

    def __init__(self, users: list[str], items: list[str], more_items: Iterable[str] = ()) -> None:
        names, self.users = np.unique(np.array(users, object).astype(str), return_inverse=True)
        self.user_count = len(names)
        self.user_of = {name: number for number, name in enumerate(names.tolist())}
        known = sorted({*items, *more_items})
        self.item_ids = ["", "", *known]
        self.row_of = {item: row for row, item in enumerate(known, start=FIRST_ITEM)}
        self.items: Rows = np.array([self.row_of[item] for item in items], np.int64)


def catalogue_columns(item_ids: list[str], items: Iterable[Event]) -> dict[str, Any]:
    """Categories, titles and publishing times by row, as :class:`Interactions` takes them."""
    described = {event.item_id: event for event in items}
    entries = [described.get(item_id) for item_id in item_ids]
    category_names = sorted({name for entry in entries if entry for name in entry.categories or ()})
    number = {name: index for index, name in enumerate(category_names)}
    return {
        "item_categories": [
            tuple(number[n] for n in (entry.categories or ()) if entry) if entry else () for entry in entries
        ],
        "category_names": category_names,
        "item_titles": [(entry.title or "") if entry else "" for entry in entries],
        "item_published_seconds": np.array(
            [
                np.nan if entry is None or entry.published_time_ms is None else entry.published_time_ms / 1_000
                for entry in entries
            ]
        ),
    }


def _sorted_out(events: Iterable[Event]) -> tuple[list[Event], list[Event]]:
    """Interactions, and impressions."""
    taken, slates = [], []
    for event in events:
        if event.type == "impression":
            slates.append(event)
        elif event.type == "interaction" and event.action not in IGNORED_ACTIONS:
            taken.append(event)
    return taken, slates


def _impressions(slates: list[Event], taken: list[Event], table: Ids) -> Impressions | None:
    """Slates of users who are in the log, with what was taken of each."""
    clicked = {(event.impression_id, event.item_id) for event in taken if event.impression_id is not None}
    kept = [slate for slate in slates if slate.user_id in table.user_of and slate.items]
    if not kept or not clicked:
        return None
    pairs = [(slate.impression_id, item) for slate in kept for item in slate.items or ()]
    return Impressions(
        offsets=np.concatenate([[0], np.cumsum([len(slate.items or ()) for slate in kept])]).astype(np.int64),
        items=np.array([table.row_of[item] for _, item in pairs], np.int64),
        taken=np.array([pair in clicked for pair in pairs], bool),
        users=np.array([table.user_of[slate.user_id or ""] for slate in kept], np.int64),
        times_seconds=np.array([slate.event_time_ms for slate in kept], np.float64) / 1_000,
    )


Loader = Callable[[Path | None, int | None], Dataset]
