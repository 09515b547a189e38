"""The event log once more through the same families: historical feature rows for point-in-time joins.

Every event leaves two rows of its user. The first, stamped with the event's time, holds the features as they stood at
the decision; the second, a microsecond later, as they stood afterwards. A join "latest row not later than t" therefore
gives at the moment of an event exactly what the online path computed for it, and at any later moment what a read of
the online store would have given. Several events of a user in one millisecond follow each other by microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow.dataset as ds

from feature_store import families
from feature_store.item_table import ItemTable
from feature_store.row_file import RowFile, item_schema, user_schema
from feature_store.slates import OpenSlates
from feature_store.user_state import ItemInfo, UserState
from feature_store.vectors import user_vector
from streamer.errors import SourceError
from streamer.events import Event

Advance: TypeAlias = Callable[[UserState, Event, int], object]
"""Moves a record to its state after an event and its broker time, all but the families: the worker's session step."""

_SESSION_FIELDS = ("session_id", "session_number", "session_length", "session_started_ms")
_EVENT_FIELDS = (
    *("event_id", "type", "event_time_ms", "user_id", "session_id", "item_id", "action", "value"),
    *("impression_id", "items", "title", "categories", "price", "published_time_ms", "available"),
)
_BATCH_ROWS = 4_096


def read_log(log_dir: Path, order: tuple[str, ...]) -> Iterator[tuple[Event, int]]:
    """Events of the log and their broker times, sorted by the named columns.

    Parameters
    ----------
    log_dir
        Folder of Parquet files, partitioned by event date.
    order
        Columns to sort by.

    Raises
    ------
    SourceError
        If there is no Parquet file.
    """
    if not any(log_dir.glob("**/*.parquet")):
        raise SourceError(f"{log_dir} holds no Parquet files; give the folder of the event log (stores.event_log_dir)")
    columns = list(dict.fromkeys((*_EVENT_FIELDS, "broker_time_ms", *order)))
    log = ds.dataset(log_dir, format="parquet", partitioning="hive").to_table(columns=columns)
    for batch in log.sort_by([(column, "ascending") for column in order]).to_batches(_BATCH_ROWS):
        for row in batch.to_pylist():
            yield Event(**{name: row[name] for name in _EVENT_FIELDS}), row["broker_time_ms"]


def read_catalogue(log_dir: Path) -> dict[str, ItemInfo]:
    """Latest word of the log's catalogue events on each item."""
    order = ("event_time_ms", "partition", "offset")
    found = (item_info(event) for event, _ in read_log(log_dir, order) if event.type == "item")
    return {item.item_id: item for item in found}


def item_info(event: Event) -> ItemInfo:
    """Catalogue entry that an item event carries.

    >>> item_info(Event(event_id="e", type="item", event_time_ms=1, item_id="i", title="Alien")).title
    'Alien'
    """
    return ItemInfo(
        item_id=event.item_id or "",
        title=event.title or "",
        categories=event.categories or [],
        price=event.price,
        published_time_ms=event.published_time_ms,
        available=event.available is not False,
    )


def write_user_rows(log_dir: Path, path: Path, advance: Advance, items: Mapping[str, ItemInfo]) -> int:
    """Replay the log in the order of its offsets, and write the users' feature rows; returns how many events.

    Parameters
    ----------
    log_dir
        The event log.
    path
        Parquet file to write; an older one is replaced when the new one is complete.
    advance
        The worker's session step, e.g. ``lambda s, e, ms: sessions.apply(s, e, ms, settings.sessions)``.
    items
        The catalogue.
    """
    users: dict[str, UserState] = {}
    last_us: dict[str, int] = {}
    count = 0
    with RowFile(path, user_schema()) as file:
        for event, broker_time_ms in read_log(log_dir, ("partition", "offset")):
            if event.user_id is None or event.type == "item":
                continue
            state = users.setdefault(event.user_id, UserState(user_id=event.user_id))
            now_ms = max(event.event_time_ms, state.watermark_ms)
            stamp_us = max(now_ms * 1_000, last_us.get(event.user_id, -1) + 1)
            file.add(_user_row(state, now_ms, stamp_us, event, "before"))
            advance(state, event, broker_time_ms)
            families.update(state, event, items.get(event.item_id or ""))
            file.add(_user_row(state, now_ms, stamp_us + 1, event, "after"))
            last_us[event.user_id] = stamp_us + 1
            count += 1
    return count


def write_item_rows(log_dir: Path, path: Path, impression_window_ms: int = 30_000) -> int:
    """Replay the log in event-time order, and write the items' feature rows; returns how many.

    A slate counts when its window has passed, with the outcomes that the window has seen; a row is stamped with the
    moment in which its content became known, so nothing of the future leaks into a join.

    Parameters
    ----------
    log_dir
        The event log.
    path
        Parquet file to write.
    impression_window_ms
        How long after an impression its interactions count as answers.
    """
    table, slates, last_us = ItemTable(), OpenSlates(impression_window_ms), dict[str, int]()
    count = 0
    with RowFile(path, item_schema()) as file:
        for event, _ in read_log(log_dir, ("event_time_ms", "partition", "offset")):
            for closed in slates.close_before(event.event_time_ms):
                table.observe_slate(closed.item_ids, closed.outcomes, closed.event_time_ms)
            _observe(table, slates, event)
            for state in table.take_changed():
                stamp_us = max(event.event_time_ms * 1_000 + 1, last_us.get(state.item_id, -1) + 1)
                last_us[state.item_id] = stamp_us
                features = table.vectors([state.item_id], event.event_time_ms)[0].tolist()
                file.add([state.item_id, stamp_us, *features])
                count += 1
    return count


def _observe(table: ItemTable, slates: OpenSlates, event: Event) -> None:
    if event.type == "item":
        table.describe(item_info(event))
    elif event.type == "impression":
        slates.open(event.impression_id or event.event_id, event.items or [], event.event_time_ms)
    elif event.item_id is not None:
        table.observe_interaction(event.item_id, event.action, event.event_time_ms)
        slates.answer(event.impression_id, event.item_id)


def _user_row(state: UserState, now_ms: int, stamp_us: int, event: Event, moment: str) -> list[Any]:
    session = [getattr(state, field) for field in _SESSION_FIELDS]
    features = user_vector(state, now_ms)[1:].tolist()  # all but the bias
    return [state.user_id, stamp_us, event.event_id, event.item_id, moment, *session, *features]
