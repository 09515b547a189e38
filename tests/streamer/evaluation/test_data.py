from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from online_models.vocabulary import action_row
from streamer.errors import SourceError
from streamer.evaluation.data import load, names, of_events
from streamer.events import Event
from streamer.sources import ColumnMap

START_MS = 1_600_000_000_000


def taken(user: str, item: str, second: int, action: str = "click", **fields: object) -> Event:
    time_ms = START_MS + second * 1_000
    return Event(
        event_id=f"{user}{item}{second}",
        type="interaction",
        event_time_ms=time_ms,
        user_id=user,
        item_id=item,
        action=action,
        **fields,
    )


def test_events_become_columns_and_ids_become_rows_from_two() -> None:
    events = [taken("u", "b", 0), taken("t", "a", 1, "like", value=3.0), taken("u", "a", 2)]
    items = [
        Event(
            event_id="i",
            type="item",
            event_time_ms=START_MS,
            item_id="a",
            title="An A",
            categories=["y", "x"],
            published_time_ms=5_000,
        )
    ]
    dataset = of_events("some", "some events", events, items)
    log = dataset.log
    assert dataset.item_ids == ["", "", "a", "b"]
    assert (log.users.tolist(), log.items.tolist()) == ([1, 0, 1], [3, 2, 2])
    assert (log.times_seconds - START_MS / 1_000).tolist() == [0.0, 1.0, 2.0]
    assert log.actions.tolist() == [action_row("click"), action_row("like"), action_row("click")]
    assert log.values[1] == 3.0 and np.isnan(log.values[0])
    assert log.item_titles == ["", "", "An A", ""]
    assert [log.category_names[number] for number in log.item_categories[2]] == ["y", "x"]
    assert log.item_published_seconds is not None and log.item_published_seconds[2] == 5.0
    assert (log.rows, log.user_count) == (4, 2)


def test_what_was_skipped_is_no_event() -> None:
    assert len(of_events("some", "", [taken("u", "a", 0), taken("u", "b", 1, "skip")]).log) == 1


def test_slates_come_with_what_was_taken_of_them() -> None:
    slate = Event(
        event_id="s",
        type="impression",
        event_time_ms=START_MS,
        user_id="u",
        impression_id="s",
        items=["a", "b", "c"],
    )
    unknown = Event(
        event_id="t", type="impression", event_time_ms=START_MS, user_id="v", impression_id="t", items=["a"]
    )
    dataset = of_events("some", "", [slate, unknown, taken("u", "b", 1, impression_id="s")])
    assert dataset.impressions is not None
    assert len(dataset.impressions) == 1  # nothing else is known of the other user
    assert dataset.impressions.items.tolist() == [2, 3, 4]
    assert dataset.impressions.taken.tolist() == [False, True, False]
    assert dataset.log.rows == 5  # what was only shown is in the catalogue


def test_no_interaction_is_an_error() -> None:
    with pytest.raises(SourceError, match="nothing to evaluate on"):
        of_events("some", "", [])


def test_a_file_with_other_column_names(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("uid,sku,event_time_seconds\nu,a,1600000002\nu,b,1600000001\n")
    columns = ColumnMap.parse(["user_id=uid", "item_id=sku"], ["action=click"])
    dataset = load(str(path), None, None, columns)
    assert dataset.log.items.tolist() == [3, 2]  # in order of time
    assert dataset.clock == "absolute"
    assert load(str(path), None, 1, columns).log.items.tolist() == [2]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SourceError, match="diginetica"):
        load("ml-1oo", None)
    assert {"ml-100k", "sports", "diginetica", "simulator"} <= set(names())


def test_the_digest_tells_data_apart(tmp_path: Path) -> None:
    digests = set()
    for name, second in (("a.jsonl", 1), ("b.jsonl", 1), ("c.jsonl", 2)):
        event = {"event_id": "1", "type": "interaction", "user_id": "u", "item_id": "i", "action": "click"}
        (tmp_path / name).write_text(json.dumps(event | {"event_time_ms": START_MS + second}) + "\n")
        digests.add(load(str(tmp_path / name), None).log.digest())
    assert len(digests) == 2
